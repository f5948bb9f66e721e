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
from modelcheck.judge.metrics.table import Asks
from modelcheck.judge.outcome import Blame, Check, Outcome

METRIC = "metric"


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
    return f"{METRIC} {spec.title}"


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
        _message(case, evidence, outcome, blame, doubt),
        blame,
        evidence,
        case.optional,
    )


def estimate(spec: MetricSpec, figure: Figure) -> str:
    """'0.981', '97.0 %'."""
    if not figure.samples:
        return "nothing"
    return f"{figure.value:.3f}" if _is_plain(spec) else f"{100 * figure.value:.1f} %"


def interval(spec: MetricSpec, figure: Figure) -> str:
    """'0.981 [0.953, 0.992]', '97.0 % [92.3, 99.2]'."""
    scale, digits = (1, 3) if _is_plain(spec) else (100, 1)
    low, high = _down(scale * figure.lower, digits), _up(scale * figure.upper, digits)
    return estimate(spec, figure) + (f" [{low}, {high}]" if figure.samples else "")


def _is_plain(spec: MetricSpec) -> bool:
    return spec.asks is Asks.MEAN and spec.facts.unit != "%"


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


def _message(
    case: MetricCase, evidence: MetricEvidence, outcome: Outcome, blame: Blame, doubt: str
) -> str:
    spec, total = case.spec, evidence.total
    where = f"{case.target}, metric {spec.title}"
    if not total.samples:
        what = "no sample says anything"
        if total.silent:
            what += f": neither side finds anything in {units.plural(total.silent, 'sample')}"
        return f"{where}: {what}. Give samples that show what the model is for."
    parts = [_finding(spec, total, outcome), doubt, *_remarks(case, evidence)]
    if outcome is Outcome.FAIL and blame is Blame.TARGET:
        parts.append("The original itself is wrong on this target")
    elif outcome is Outcome.PASS and outcome_of(spec, evidence.target_drift) is Outcome.FAIL:
        parts.append("The candidate repairs the target: the original there is beyond the limit")
    parts.append(_remedy(case, evidence, outcome, blame, doubt))
    sentences = [f"{part[:1].upper()}{part[1:]}" for part in parts[1:] if part]
    return f"{where}: {'. '.join([parts[0], *sentences])}."


def _finding(spec: MetricSpec, total: Figure, outcome: Outcome) -> str:
    """'F1 of boxes 0.9812 [0.9531, 0.9920] >= 0.95'."""
    less = spec.lower_is_better
    signs = {Outcome.PASS: "<=" if less else ">=", Outcome.FAIL: ">" if less else "<"}
    shown = interval(spec, total)
    if spec.asks is Asks.SHARE:
        each = f"{spec.facts.title} {signs[Outcome.PASS]} {spec.figure(spec.limit)}"
        signs = {Outcome.PASS: ">=", Outcome.FAIL: "<"}
        subject, limit = f"{each} on {shown} of the samples", f"{100 * spec.share_wanted:g} %"
        less = False
    elif spec.asks is Asks.CLASSES:
        first = total.classes[0]
        subject = f"{first.flips} of {first.samples} flips in class {first.label}, {shown}"
        limit = spec.figure(spec.limit)
    else:
        subject, limit = f"{spec.facts.title} {shown}", spec.figure(spec.limit)
    if outcome is Outcome.INCONCLUSIVE and outcome_of(spec, total) is not Outcome.PASS:
        return f"{subject} does not decide {'<=' if less else '>='} {limit}"
    return f"{subject} {signs.get(outcome, signs[Outcome.PASS])} {limit}"


def _remarks(case: MetricCase, evidence: MetricEvidence) -> list[str]:
    spec, total = case.spec, evidence.total
    remarks = [units.plural(total.samples, "sample")]
    # Of scores that are only right or wrong, and of those all alike, none is the worst.
    graded = spec.asks in (Asks.MEAN, Asks.SHARE) and not spec.facts.labels
    if graded and total.worst_score is not None and total.worst_score != total.median:
        remarks[0] += f", the worst {total.worst_sample} ({spec.figure(total.worst_score)})"
    flipped = [c for c in total.classes if c.flips]
    if flipped:
        shown = ", ".join(f"{c.label} ({c.flips} of {c.samples})" for c in flipped)
        remarks.append(f"Most flips in class {shown}")
    if total.silent:
        remarks.append(
            f"{units.plural(total.silent, 'sample')} without a finding on either side left out"
        )
    if not case.alone and evidence.target_drift.samples:
        remarks.append(f"the original there: {interval(spec, evidence.target_drift)}")
    return remarks


def _remedy(
    case: MetricCase, evidence: MetricEvidence, outcome: Outcome, blame: Blame, doubt: str
) -> str:
    spec, total = case.spec, evidence.total
    if doubt:
        if total.unusable:
            return "Check the preprocessing"
        return "Give real data" if case.synthetic else "Give samples that differ more"
    proves = _provable(spec, total)
    if outcome is Outcome.PASS:
        return f"the strictest limit that would pass: {proves}" if proves else ""
    if blame is Blame.TARGET:
        return "Judge on another engine or target, or report the difference to OpenCV"
    if outcome is Outcome.FAIL:
        would = f". The strictest limit that would pass: {proves}" if proves else ""
        return f"Use milder steps, or leave layers out{would}"
    so_far = f" (these prove {proves} at most)" if proves else ""
    if evidence.samples_needed is None:
        return f"No number of samples like these proves it{so_far}"
    if spec.asks is Asks.MEAN:
        return f"Give about {evidence.samples_needed:,} samples like these{so_far}"
    of = f" of every class (of {total.class_count} seen)" if spec.asks is Asks.CLASSES else ""
    again = "without a further one that goes wrong"
    return f"Give at least {evidence.samples_needed:,} samples{of} {again}{so_far}"


def _provable(spec: MetricSpec, total: Figure) -> str:
    if total.provable is None:
        return ""
    less = spec.lower_is_better
    digits = 2 if spec.asks is Asks.SHARE and spec.facts.unit == "dB" else 4
    value = (_up if less else _down)(total.provable, digits)
    trivial = float(value) >= spec.facts.highest if less else float(value) <= 0
    return "" if trivial and spec.asks is not Asks.SHARE else f"{spec.facts.limit}={value}"


def _down(value: float, digits: int) -> str:
    """Rounded to the side that claims less."""
    return _rounded(value, digits, -1)


def _up(value: float, digits: int) -> str:
    return _rounded(value, digits, 1)


def _rounded(value: float, digits: int, side: int) -> str:
    text = f"{value:.{digits}f}"
    if side * (float(text) - value) < 0:
        text = f"{float(text) + side * 10.0**-digits:.{digits}f}"
    return text
