"""The outputs of whole models, nothing cut: what the layers have to explain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelcheck.diagnose.bench import Arrays
from modelcheck.diagnose.evidence import sqnr_of
from modelcheck.diagnose.study import Study
from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import Comparison, ComparisonEvidence
from modelcheck.verification.equivalence import aligned


@dataclass(frozen=True, slots=True)
class Totals:
    """Outputs against the original in float32: on the target, and of what else there is.

    `refusal` says why the candidate does not run there; `total` is None then.
    """

    total: ComparisonEvidence | None
    transform: ComparisonEvidence | None  # the candidate in onnxruntime
    target: ComparisonEvidence | None  # the original on the target
    refusal: str = ""


def measure_totals(study: Study) -> Totals:
    """Raises Unsupported where the target cannot run the original."""
    bench, names = study.bench, study.outputs
    with bench.loaded(study.original.model):
        expected: list[Arrays] = [bench.run(sample) for sample in study.samples]
    target = _compare(names, expected, bench.whole(study.original.model, names, study.samples))
    if study.alone:
        return Totals(target, None, None)
    renamed = study.candidate_samples()
    with bench.loaded(study.candidate.model):
        there = [bench.run(sample) for sample in renamed]
    transform = _compare(names, expected, there)
    try:
        answers = bench.whole(study.candidate.model, names, renamed)
    except (Unsupported, ContainedFailure) as error:
        return Totals(None, transform, target, error.what)
    return Totals(_compare(names, expected, answers), transform, target)


def worst_db(evidence: ComparisonEvidence | None) -> float:
    """The SQNR of the worst output; infinite where nothing was compared."""
    if evidence is None:
        return math.inf
    return min((sqnr_of(output) for output in evidence.outputs), default=math.inf)


def _compare(
    names: Sequence[str], expected: Sequence[Arrays], actual: Sequence[Arrays]
) -> ComparisonEvidence:
    comparison = Comparison(names)
    for i, (x, y) in enumerate(zip(expected, actual, strict=True)):
        comparison.update(x, aligned({n: y[n] for n in names if n in y}, x), i)
    return comparison.result()
