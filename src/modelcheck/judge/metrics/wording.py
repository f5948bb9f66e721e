"""The message of a metric's check, and its figures in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from modelcheck import units
from modelcheck.judge.metrics.figures import Figure, outcome_of
from modelcheck.judge.metrics.spec import MetricSpec
from modelcheck.judge.metrics.table import Asks
from modelcheck.judge.outcome import Blame, Outcome

if TYPE_CHECKING:
    from modelcheck.judge.metrics.judgement import MetricCase, MetricEvidence


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


def metric_message(
    case: MetricCase, evidence: MetricEvidence, outcome: Outcome, blame: Blame, doubt: str
) -> str:
    """One paragraph: the figure against its limit, what stands behind it, what to do."""
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
    """As a policy would say it; '' where no limit, or none that says anything, would pass."""
    if total.provable is None:
        return ""
    digits = 2 if spec.facts.unit == "dB" else 4
    text = (_up if spec.lower_is_better else _down)(total.provable, digits)
    highest = math.inf if spec.facts.asks is Asks.SHARE else spec.facts.highest
    return f"{spec.facts.limit}={text}" if 0 < float(text) < highest else ""


def _is_plain(spec: MetricSpec) -> bool:
    return spec.asks is Asks.MEAN and spec.facts.unit != "%"


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
