"""Which step of the recipe brought the error in: the named layer, after each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelcheck.diagnose.bench import NotRun
from modelcheck.diagnose.evidence import LayerEvidence, Origin, StepEvidence, noise_of, sqnr_of
from modelcheck.diagnose.measure import compare
from modelcheck.diagnose.plan import DiagnosisPlan
from modelcheck.diagnose.study import Study
from modelcheck.diagnose.totals import measure_totals, worst_db

# The step after which this share of the error is there has brought it in.
_SHARE = 0.25


def blame_steps(
    study: Study, plan: DiagnosisPlan, worst: LayerEvidence, *, done: Callable[[int], None]
) -> tuple[tuple[StepEvidence, ...], int | None]:
    """The error after each step, and the number of the guilty one, from 0.

    None where the original has the error already.
    """
    found = []
    for number, (name, model) in enumerate(plan.steps, start=1):
        after = Study(study.bench, plan.original, model, study.samples)
        total = measure_totals(after).total
        outputs_db = worst_db(total) if total else float("-inf")
        found.append(StepEvidence(name, outputs_db, _layer_db(after, worst)))
        done(number)
    if worst.origin is Origin.TARGET:
        return tuple(found), None
    noises = [noise_of(s.outputs_db if s.layer_db is None else s.layer_db) for s in found]
    enough = _SHARE * noises[-1]
    guilty = next((i for i, noise in enumerate(noises) if noise >= enough), None)
    return tuple(found), guilty


def _layer_db(after: Study, worst: LayerEvidence) -> float | None:
    """The own SQNR of the named piece in the model after a step; None where it is not found."""
    known = {p.output: p for p in after.parts}
    same = known.get(worst.part.output)
    if same is None or not all(after.knows(n) for n in worst.part.inputs):
        return None
    part = replace(worst.part, candidate_output=same.candidate_output)
    values = after.reference_values([part.output, *part.inputs])
    answers = after.bench.on_target(after.candidate_part(part), after.feeds(part, values))
    if isinstance(answers, NotRun):
        return None
    evidence = compare(part.output, [v[part.output] for v in values], answers)
    return None if evidence is None else sqnr_of(evidence)
