"""The verdict on one metric on one target: the candidate there against the float32 reference.

The original there is scored in the same way, for the blame: where it breaks the limit too, the
target is at fault.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelcheck import units
from modelcheck.judge.metrics.base import Scores
from modelcheck.judge.metrics.figures import Figure, figure_of, holds, needed, outcome_of
from modelcheck.judge.metrics.spec import MetricSpec
from modelcheck.judge.metrics.wording import interval, metric_message
from modelcheck.judge.outcome import Blame, Check, Outcome


@dataclass(frozen=True, slots=True)
class MetricCase:
    """Everything that one verdict may look at. A model alone is its own original.

    `constant`: the scores of a model that gives the outputs of the first sample for every input.
    """

    target: str
    spec: MetricSpec
    outputs: tuple[str, ...]
    total: Scores
    target_drift: Scores
    constant: Scores
    alone: bool = False
    synthetic: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class MetricEvidence:
    """What the verdict stands on."""

    name: str
    kind: str
    outputs: tuple[str, ...]
    limit: str
    confidence: float
    total: Figure
    target_drift: Figure
    constant: Figure  # what a model that ignores its input would get
    samples_needed: int | None  # to prove the limit, where it is undecided


def check_kind(spec: MetricSpec) -> str:
    """'metric boxes'."""
    return f"metric {spec.title}"


def judge_metric(case: MetricCase) -> Check:
    """PASS, FAIL or INCONCLUSIVE, with a message that says what and what to do."""
    spec = case.spec
    total, there = figure_of(spec, case.total), figure_of(spec, case.target_drift)
    outcome = outcome_of(spec, total)
    more = needed(spec, case.total) if outcome is Outcome.INCONCLUSIVE else None
    doubt = _doubt(case, total) if outcome is Outcome.PASS else ""
    if doubt:
        outcome = Outcome.INCONCLUSIVE
    blame = Blame.NONE
    if outcome is Outcome.INCONCLUSIVE:
        blame = Blame.DATA
    elif outcome is Outcome.FAIL:
        wrong_there = case.alone or outcome_of(spec, there) is Outcome.FAIL
        blame = Blame.TARGET if wrong_there else Blame.TRANSFORM
    evidence = MetricEvidence(
        name=spec.title,
        kind=spec.kind,
        outputs=case.outputs,
        limit=spec.describe(),
        confidence=spec.confidence,
        total=total,
        target_drift=there,
        constant=figure_of(spec, case.constant),
        samples_needed=more,
    )
    return Check(
        check_kind(spec),
        case.target,
        outcome,
        metric_message(case, evidence, outcome, blame, doubt),
        blame,
        evidence,
        case.optional,
    )


def _doubt(case: MetricCase, total: Figure) -> str:
    """Why figures that are good enough still prove nothing."""
    if total.unusable:
        return f"the reference itself is not finite in {units.plural(total.unusable, 'sample')}"
    if case.synthetic:
        return "synthetic inputs cannot prove a metric"
    constant = figure_of(case.spec, case.constant)
    if constant.samples and holds(case.spec, constant.value):
        return (
            f"a model that gives one answer for every input would reach "
            f"{interval(case.spec, constant)}: these samples do not tell it apart"
        )
    return ""
