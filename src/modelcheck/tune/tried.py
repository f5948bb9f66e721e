"""What was tried so far, and which of it is worth a proof. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from modelcheck.judge.serving import Measure
from modelcheck.tune.settings import ServingLimits, Setting

# A first look tells no smaller differences apart, so they are no reason for a larger pool.
_AS_GOOD = 1.03


class Standing(StrEnum):
    """What is known of a setting's outputs. Only RIGHT ones are ever recommended."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPROVEN = "unproven"  # the samples do not decide
    CANNOT = "cannot run"


@dataclass(frozen=True, slots=True)
class Tried:
    """One setting with a first look at its figures.

    A gain is a ratio to the default, measured just before: what the machine does meanwhile hits
    both. NaN where nothing was measured.
    """

    setting: Setting
    standing: Standing
    why: str = ""
    latency_gain: float = math.nan
    throughput_gain: float = math.nan
    looks: int = 1

    def gain(self, measure: Measure) -> float:
        return self.latency_gain if measure == "latency" else self.throughput_gain

    @property
    def eligible(self) -> bool:
        """Whether it may be recommended, as far as is known."""
        return self.standing is Standing.RIGHT and not math.isnan(self.latency_gain)

    def seen_again(self, latency_gain: float, throughput_gain: float) -> Tried:
        """With another look averaged in."""
        n = self.looks

        def mean(old: float, new: float) -> float:
            return math.exp((n * math.log(old) + math.log(new)) / (n + 1))

        return replace(
            self,
            latency_gain=mean(self.latency_gain, latency_gain),
            throughput_gain=mean(self.throughput_gain, throughput_gain),
            looks=n + 1,
        )


def best_first(tried: Sequence[Tried], measure: Measure) -> list[Tried]:
    """Those that may be recommended, by their gain."""
    return sorted((t for t in tried if t.eligible), key=lambda t: t.gain(measure), reverse=True)


def choose(
    tried: Sequence[Tried],
    measure: Measure,
    limits: ServingLimits = ServingLimits(),  # noqa: B008
    *,
    default_latency_s: float = math.nan,
    default_samples_per_s: float = math.nan,
) -> Tried | None:
    """The one to prove: the best that seems to meet the limits; if none does, the nearest."""
    ranked = best_first(tried, measure)
    if not limits.declared:
        return _simplest(ranked, measure)

    def slack(t: Tried) -> float:
        """How many times better than the limits; less than 1 breaks one."""
        margins = [math.inf]
        if limits.max_latency_s is not None:
            margins.append(limits.max_latency_s * t.latency_gain / default_latency_s)
        if limits.min_samples_per_s is not None:
            rate = default_samples_per_s * t.throughput_gain
            margins.append(rate / limits.min_samples_per_s)
        return min(margins)

    meeting = [t for t in ranked if slack(t) >= 1]
    if meeting:
        return _simplest(meeting, measure)
    return max(ranked, key=slack, default=None)


def finalists(tried: Sequence[Tried], each: int) -> list[Tried]:
    """The best few by either measure, for a second look in another process."""
    chosen = best_first(tried, "latency")[:each] + best_first(tried, "throughput")[:each]
    return list(dict.fromkeys(chosen))


def _simplest(ranked: Sequence[Tried], measure: Measure) -> Tried | None:
    """Of those that are as good as the first, the one that asks least of a deployment."""
    near = [t for t in ranked if t.gain(measure) * _AS_GOOD >= ranked[0].gain(measure)]

    def effort(t: Tried) -> tuple[int, int, int]:
        options = t.setting.options
        switched = (options.winograd is not None) + (options.fusion is not None)
        return t.setting.batch, t.setting.nets, switched

    return min(near, key=effort, default=None)
