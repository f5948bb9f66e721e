"""Quantiles of latencies, and what the runs of several processes prove about them.

Order statistics bound a quantile whatever the distribution. Of n independent times
X(1) <= ... <= X(n), and with q the quantile at level p,
    P(X(l) > q) = P(Bin(n, p) <= l - 1)      P(X(u) < q) <= P(Bin(n, p) >= u)
so [X(l), X(u)] holds q at 95 % where each of the two is at most 2.5 %. With few runs no u does
that, and the interval is open above: it takes 368 independent times to bound p99.

Times of one process are not independent: whole processes differ by 5 to 40 % (GATE.md). So n is
the effective number (Kish, 1965), with N times of G processes:
    n = N / design effect        at least G, at most N
where the design effect is the variance between processes of the part of their times that are
below q, over what it would be if all N times were independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Bounded:
    """An estimate with its interval at 95 % or more; infinite where the evidence sets no bound."""

    value: float
    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


def quantile(processes: Sequence[Sequence[float]], level: float) -> Bounded:
    """The quantile of the times of all processes; each process gave at least one.

    Of several processes no bound rests on one: it holds too when any one of them is left out.
    A single odd process looks like a tail of its own and would bound what it cannot know.
    """
    samples = [np.asarray(p, np.float64) for p in processes]
    found = _quantile(samples, level)
    if len(samples) < 2:
        return found
    others = [_quantile(samples[:i] + samples[i + 1 :], level) for i in range(len(samples))]
    return Bounded(
        found.value,
        min(found.low, *(other.low for other in others)),
        max(found.high, *(other.high for other in others)),
    )


def median_of(values: Sequence[float]) -> Bounded:
    """The median of independent values, such as one of each process. Open with fewer than six."""
    return _median(np.asarray(values, np.float64), CONFIDENCE)


def speedup(ratios: Sequence[float]) -> Bounded:
    """How many times as fast, by one ratio of each pair of processes that took turns."""
    return _exp(median_of([math.log(ratio) for ratio in ratios]))


def unpaired_speedup(before: Sequence[float], now: Sequence[float]) -> Bounded:
    """As `speedup`, by the medians of processes that ran in different sessions.

    Each median has its own interval; that both hold has 95 % where each has 97.5 %.
    """
    confidence = 1 - (1 - CONFIDENCE) / 2
    old, new = (_median(np.log(np.asarray(v, np.float64)), confidence) for v in (before, now))
    return _exp(Bounded(old.value - new.value, old.low - new.high, old.high - new.low))


def runs_needed(level: float) -> int:
    """The fewest independent times that bound the quantile on both sides."""
    tail = (1 - CONFIDENCE) / 2
    return math.ceil(math.log(tail) / math.log(max(level, 1 - level)))


def _quantile(samples: Sequence[npt.NDArray[np.float64]], level: float) -> Bounded:
    times = np.sort(np.concatenate(samples))
    value = float(times[math.ceil(level * len(times)) - 1])
    n = _effective_number(samples, value, level)
    low, high = _ranks(n, level)
    # The l-th of n stands for a place among all N: outwards, so that nothing is claimed too much.
    first = math.floor((low - 1) / n * len(times)) if low else None
    last = math.ceil(high / n * len(times)) - 1 if high <= n else None
    return Bounded(
        value,
        -math.inf if first is None else float(times[first]),
        math.inf if last is None else float(times[last]),
    )


def _median(values: npt.NDArray[np.float64], confidence: float) -> Bounded:
    ordered = np.sort(values)
    low, high = _ranks(len(ordered), 0.5, confidence)
    return Bounded(
        float(np.median(ordered)),
        float(ordered[low - 1]) if low else -math.inf,
        float(ordered[high - 1]) if high <= len(ordered) else math.inf,
    )


def _ranks(n: int, level: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """(l, u) as above, from 1; l = 0 and u = n + 1 where there is no such rank."""
    from scipy.special import bdtr, bdtrc

    tail = (1 - confidence) / 2
    ranks = np.arange(n + 1)
    at_most = bdtr(ranks, n, level)  # P(Bin <= k)
    low = int(np.searchsorted(at_most, tail, side="right"))  # how many k have at most `tail`
    beyond = np.asarray(bdtrc(ranks, n, level)) <= tail  # P(Bin >= k + 1)
    high = int(np.argmax(beyond)) + 1 if beyond[:n].any() else n + 1
    return low, high


def _effective_number(
    samples: Sequence[npt.NDArray[np.float64]], value: float, level: float
) -> int:
    sizes = np.array([len(p) for p in samples], np.float64)
    total, groups = float(sizes.sum()), len(samples)
    if groups < 2:
        return int(total)
    # Equal times, as a coarse clock gives them, count once as below q and once as not.
    counts = [[np.count_nonzero(p <= value) for p in samples],
              [np.count_nonzero(p < value) for p in samples]]  # fmt: skip
    residuals = np.array([below - sizes * sum(below) / total for below in counts])
    between = groups / (groups - 1) * float(np.square(residuals).sum(axis=1).max()) / total**2
    design_effect = max(1.0, between / (level * (1 - level) / total))
    return max(groups, int(total / design_effect))


def _exp(logs: Bounded) -> Bounded:
    """Of logarithms; what is open below is 0."""
    return Bounded(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high))
