"""Tensors that hold other numbers on purpose: permuted or rescaled channels.

A rewrite may change what a layer gives and make up for it in the next. Each of the two is another
function by itself, although nothing is wrong: its effect, measured alone, contradicts outputs that
agree. Such tensors are not the same tensor in both models, and no place to cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelcheck.diagnose.bench import Answers, NotRun
from modelcheck.diagnose.evidence import LayerEvidence, Origin, sqnr_of
from modelcheck.diagnose.measure import compare
from modelcheck.diagnose.study import Study

# Effects that are so many times the noise in the outputs contradict it.
_CONTRADICTS = 100.0
# A tensor that is so much further off than the outputs, in the whole candidate in onnxruntime,
# holds other numbers: so far recovers no error. What is better than the second figure does not.
_FURTHER_OFF_DB, _OTHER_NUMBERS_DB = 20.0, 60.0


def contradicted(layers: Sequence[LayerEvidence], *, transform: float, rounding: float) -> bool:
    """Whether layers that a transform changed would spoil the outputs more than they are.

    `transform`: noise over signal of the candidate's outputs in onnxruntime.
    """
    effects = [y.effect or 0.0 for y in layers if y.origin is Origin.TRANSFORM]
    return max(effects, default=0.0) > _CONTRADICTS * max(transform, rounding)


def other_numbers(study: Study, *, outputs_db: float) -> frozenset[str]:
    """The tensors, as the original calls them, that the candidate computes to something else."""
    below_db = min(_OTHER_NUMBERS_DB, max(0.0, outputs_db - _FURTHER_OFF_DB))
    found = set()
    for piece in study.in_pieces(study.parts):
        values = study.reference_values([part.output for part in piece])
        answers = study.bench.in_reference(study.with_probes(piece), study.candidate_samples())
        if isinstance(answers, NotRun):
            continue
        for i, part in enumerate(piece):
            mine: Answers = [{"output_0": a[f"output_{i}"]} for a in answers]
            evidence = compare(part.output, [v[part.output] for v in values], mine)
            if evidence is not None and sqnr_of(evidence) < below_db:
                found.add(part.output)
    return frozenset(found)
