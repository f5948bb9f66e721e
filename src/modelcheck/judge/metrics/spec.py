"""A metric with its limit, as a policy declares it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelcheck import units
from modelcheck.errors import UsageError
from modelcheck.judge.metrics.base import Metric
from modelcheck.judge.metrics.function import Function, FunctionMetric
from modelcheck.judge.metrics.table import FUNCTION, KINDS, Asks, Kind

DEFAULT_SHARE = 0.95
DEFAULT_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One entry of [[metrics]].

    `limit` is a least or a largest value, as the kind has it. `share`: of the samples that must
    meet it each by itself; None: the kind's own question.
    """

    kind: str
    limit: float
    name: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    share: float | None = None
    confidence: float = DEFAULT_CONFIDENCE
    function: Function | None = None

    def __post_init__(self) -> None:
        for key in ("share", "confidence"):
            value = getattr(self, key)
            if value is not None and not 0 < value < 1:
                raise UsageError(
                    f"{value:g} does not lie between 0 and 1", where=key, remedy="E.g. 0.95."
                )
        self._check_limit()
        if self.share is not None and self.facts.asks in (Asks.FRACTION, Asks.CLASSES):
            raise UsageError(
                f"{self.kind} counts samples already, so a share of them makes no sense",
                where="share",
                remedy="Leave it out.",
            )

    @property
    def facts(self) -> Kind:
        return KINDS[self.kind]

    @property
    def title(self) -> str:
        """What it is called where it is judged: its own name, or its kind."""
        return self.name or self.kind

    @property
    def asks(self) -> Asks:
        return Asks.SHARE if self.share is not None else self.facts.asks

    @property
    def share_wanted(self) -> float:
        return DEFAULT_SHARE if self.share is None else self.share

    @property
    def lower_is_better(self) -> bool:
        return self.facts.limit == "max"

    def metric(self) -> Metric:
        """The metric with its options."""
        if self.function is not None:
            return FunctionMetric(self.function)
        assert self.facts.make is not None
        return self.facts.make(**dict(self.options))

    def describe(self) -> str:
        """'PSNR >= 30 dB on >= 95 % of the samples'."""
        sign = "<=" if self.lower_is_better else ">="
        text = f"{self.facts.title} {sign} {self.figure(self.limit)}"
        if self.asks is Asks.SHARE:
            text += f" on >= {100 * self.share_wanted:g} % of the samples"
        return text

    def figure(self, value: float) -> str:
        """A value of this metric, with its unit."""
        if self.facts.unit == "%":
            return f"{100 * value:.4g} %"
        if self.facts.unit == "dB":
            return units.decibels(value)
        return f"{value:.4g} {self.facts.unit}".rstrip()

    def _check_limit(self) -> None:
        limit, facts = self.limit, self.facts
        bounded = facts.asks is not Asks.SHARE
        if not (math.isfinite(limit) and limit > 0) or (bounded and limit > 1):
            wanted = "between 0 and 1" if bounded else "a positive number"
            raise UsageError(f"{limit:g} is not {wanted}", where=facts.limit, remedy="E.g. 0.95.")
        if bounded and limit == 1 and self.share is None:
            reason = (
                "no number of samples proves that there is no exception"
                if facts.limit == "min"
                else "no candidate can break it"
            )
            raise UsageError(
                f"1 decides nothing: {reason}",
                where=facts.limit,
                remedy="Write for example 0.99." if facts.limit == "min" else "E.g. 0.01.",
            )


def of_function(function: Function, limit: float) -> MetricSpec:
    """A callable as a metric, under its own name."""
    name = getattr(function, "__name__", type(function).__name__)
    return MetricSpec(FUNCTION, limit, name=name, function=function)


def checked_together(specs: Iterable[MetricSpec]) -> tuple[MetricSpec, ...]:
    """The metrics of one policy. Raises UsageError where two contradict each other."""
    found: dict[str, MetricSpec] = {}
    for spec in specs:
        other = found.setdefault(spec.title, spec)
        if other is spec:
            continue
        asked = [(s.kind, s.options, s.function) for s in (other, spec)]
        if asked[0] != asked[1]:
            raise UsageError(
                f"two different metrics are called '{spec.title}'",
                where="metrics",
                remedy='Give one of them a name of its own: name = "strict".',
            )
        limits = [f"{s.facts.limit} = {s.limit:g}" for s in (other, spec)]
        raise UsageError(
            f"the metric '{spec.title}' is given twice, with {limits[0]} and {limits[1]}",
            where="metrics",
            remedy="Keep the one that is meant.",
        )
    return tuple(found.values())


def overlaid_metrics(
    specs: tuple[MetricSpec, ...], others: tuple[MetricSpec, ...]
) -> tuple[MetricSpec, ...]:
    """The metrics with those of `others` in place of, or beside, those of the same title."""
    return tuple({s.title: s for s in (*specs, *checked_together(others))}.values())
