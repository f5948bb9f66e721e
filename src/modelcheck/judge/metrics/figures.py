"""Scores become a figure with its two one-sided bounds, and a figure an outcome."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from modelcheck.judge.agreement import clopper_pearson, samples_needed
from modelcheck.judge.metrics.base import Scores
from modelcheck.judge.metrics.bounds import mean_bounds, samples_for_mean
from modelcheck.judge.metrics.spec import MetricSpec
from modelcheck.judge.metrics.table import Asks
from modelcheck.judge.outcome import Outcome

_SHOWN_CLASSES = 5


@dataclass(frozen=True, slots=True)
class ClassFlips:
    """How many samples of one class (that of the reference) went astray."""

    label: int
    samples: int
    flips: int
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Figure:
    """What the samples say. `value`, `lower` and `upper` are what the limit is about: a fraction,
    a mean, or the share of samples that meet the limit each by itself.

    `provable`: the strictest limit that passes with these samples. `classes`: those with most
    flips first. Without samples everything is as bad as can be.
    """

    samples: int
    value: float
    lower: float
    upper: float
    median: float | None
    worst_score: float | None
    worst_sample: int | None
    provable: float | None
    silent: int
    unusable: int
    classes: tuple[ClassFlips, ...] = ()
    class_count: int = 0


def figure_of(spec: MetricSpec, scores: Scores) -> Figure:
    """Reduce the scores of one run by what the limit asks."""
    values = scores.values
    worst = None
    if len(values):
        worst = int(np.argmax(values) if spec.lower_is_better else np.argmin(values))
    classes = _by_class(spec, scores)
    value, lower, upper, provable = _bounded(spec, values, classes)
    return Figure(
        samples=len(values),
        value=value,
        lower=lower,
        upper=upper,
        median=float(np.sort(values)[len(values) // 2]) if len(values) else None,
        worst_score=None if worst is None else float(values[worst]),
        worst_sample=None if worst is None else scores.samples[worst],
        provable=provable,
        silent=scores.silent,
        unusable=scores.unusable,
        classes=tuple(c for c in classes[:_SHOWN_CLASSES] if c.flips or c is classes[0]),
        class_count=len(classes),
    )


def outcome_of(spec: MetricSpec, figure: Figure) -> Outcome:
    """PASS where the bounds prove the limit, FAIL where they exclude it."""
    if not figure.samples:
        return Outcome.INCONCLUSIVE
    if spec.asks is Asks.SHARE:
        return _decided(figure.lower >= spec.share_wanted, figure.upper < spec.share_wanted)
    if spec.lower_is_better:
        return _decided(figure.upper <= spec.limit, figure.lower > spec.limit)
    return _decided(figure.lower >= spec.limit, figure.upper < spec.limit)


def holds(spec: MetricSpec, value: float) -> bool:
    """Whether a figure's value meets the limit, whatever its bounds."""
    if spec.asks is Asks.SHARE:
        return value >= spec.share_wanted
    return value <= spec.limit if spec.lower_is_better else value >= spec.limit


def needed(spec: MetricSpec, scores: Scores) -> int | None:
    """How many samples would prove the limit if they were like these; None: no number would.

    Where outcomes are counted, if no further one goes wrong (of a class, in `flips`).
    """
    values, limit = scores.values, spec.limit
    if spec.asks is Asks.MEAN:
        unit = _unit_scores(spec, values)
        return samples_for_mean(unit, _unit_limit(spec), spec.confidence)
    if spec.asks is Asks.CLASSES:
        flips = max((c.flips for c in _by_class(spec, scores) if c.upper > limit), default=0)
        return samples_needed(1 - limit, flips, spec.confidence)
    wrong = int((~_meets(spec, values)).sum())
    wanted = spec.share_wanted if spec.asks is Asks.SHARE else limit
    return samples_needed(wanted, wrong, spec.confidence)


def _decided(proven: bool, excluded: bool) -> Outcome:
    if proven:
        return Outcome.PASS
    return Outcome.FAIL if excluded else Outcome.INCONCLUSIVE


def _bounded(
    spec: MetricSpec, values: np.ndarray, classes: list[ClassFlips]
) -> tuple[float, float, float, float | None]:
    """(value, lower, upper, provable limit)."""
    if spec.asks is Asks.CLASSES:
        if not classes:
            return 1.0, 0.0, 1.0, None
        worst = max(c.upper for c in classes)
        first = classes[0]
        return first.flips / first.samples, max(c.lower for c in classes), worst, worst
    if spec.asks is Asks.MEAN:
        mean = float(values.mean()) if len(values) else 0.0
        low, high = _mean(spec, values)
        return mean, low, high, high if spec.lower_is_better else low
    met = int(_meets(spec, values).sum())
    share = met / len(values) if len(values) else 0.0
    low, high = clopper_pearson(met, len(values), spec.confidence)
    return share, low, high, low if spec.asks is Asks.FRACTION else _provable_value(spec, values)


def _meets(spec: MetricSpec, values: np.ndarray) -> np.ndarray:
    if spec.asks is Asks.FRACTION:
        return np.asarray(values == 1)
    return np.asarray(values <= spec.limit if spec.lower_is_better else values >= spec.limit)


def _mean(spec: MetricSpec, values: np.ndarray) -> tuple[float, float]:
    """Bounds in the range of the metric; lowest first, whichever is better."""
    low, high = mean_bounds(_unit_scores(spec, values), spec.confidence)
    if spec.lower_is_better:
        low, high = 1 - high, 1 - low
    width = spec.facts.highest - spec.facts.lowest
    return spec.facts.lowest + width * low, spec.facts.lowest + width * high


def _unit_scores(spec: MetricSpec, values: np.ndarray) -> np.ndarray:
    """In [0, 1], more being better."""
    unit = (values - spec.facts.lowest) / (spec.facts.highest - spec.facts.lowest)
    return 1 - unit if spec.lower_is_better else unit


def _unit_limit(spec: MetricSpec) -> float:
    return float(_unit_scores(spec, np.array([spec.limit]))[0])


def _provable_value(spec: MetricSpec, values: np.ndarray) -> float | None:
    """The strictest value that the share of the samples meets, proven: an order statistic."""
    best_first = np.sort(values) if spec.lower_is_better else -np.sort(-values)
    for met in range(1, len(values) + 1):  # the fewest that prove the share
        if clopper_pearson(met, len(values), spec.confidence)[0] >= spec.share_wanted:
            return float(best_first[met - 1])
    return None


def _by_class(spec: MetricSpec, scores: Scores) -> list[ClassFlips]:
    """Most flips first, by what they prove. A FAIL shares its error rate among the classes; a
    PASS wants every class, and needs no correction.
    """
    outcomes = defaultdict(list)
    for value, label in zip(scores.values, scores.groups, strict=True):
        if label is not None:
            outcomes[label].append(value)
    good = 0.0 if spec.lower_is_better else 1.0
    shared = 1 - (1 - spec.confidence) / max(1, len(outcomes))
    found = []
    for label, seen in outcomes.items():
        flips = sum(bool(value != good) for value in seen)
        lower, _ = clopper_pearson(flips, len(seen), shared)
        _, upper = clopper_pearson(flips, len(seen), spec.confidence)
        found.append(ClassFlips(label, len(seen), flips, lower, upper))
    return sorted(found, key=lambda c: (-c.lower, -c.flips / c.samples, -c.upper, c.label))
