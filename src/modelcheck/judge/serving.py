"""Ways to run one model, compared: how long a request takes, how many samples a second it does.

A round lets every setting work for two stretches of time, in a random order and then in the
opposite one. Both questions are those of `speed.py`, with other times in the blocks: the mean
request of a stretch, and the seconds that it took for a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from modelcheck.judge.sequential import (
    ALPHA,
    BETA,
    Block,
    Decision,
    SequentialTest,
    first_ready,
    interval,
)

Measure = Literal["latency", "throughput"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """How one setting did for a while."""

    latency_s: float  # of a request, the mean
    samples_per_s: float

    def seconds(self, measure: Measure) -> float:
        """What is better when it is smaller: of a request, or for a sample."""
        return self.latency_s if measure == "latency" else 1 / self.samples_per_s


@dataclass(frozen=True, slots=True)
class Round:
    """Two stretches of each setting, by its key, in one set of worker processes."""

    worker: int
    stretches: Mapping[str, tuple[Stretch, Stretch]]


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of what was measured, with its 98 % interval (infinite while nothing is known)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Gain:
    """How many times as good as the baseline, and whether it is provably better (1 %)."""

    ratio: float
    low: float
    high: float
    decision: Decision | None

    @property
    def proven(self) -> bool:
        return self.decision == "pass"


def gain(
    rounds: Sequence[Round], baseline: str, setting: str, measure: Measure, *, workers: int
) -> Gain:
    """Is the setting better than the baseline? By the sequential test at a ratio of 1."""
    blocks = [
        Block(r.worker, _times(r, baseline, measure), _times(r, setting, measure)) for r in rounds
    ]
    ds = [block.log_ratio for block in blocks]
    first = first_ready(blocks, workers)
    test = SequentialTest(1.0)
    for n, d in enumerate(ds, start=1):
        test.update(d, may_decide=first is not None and n >= first)
    low, high = (0.0, math.inf) if first is None else interval(ds, ALPHA, first=first)
    return Gain(math.exp(median(ds)) if ds else math.nan, low, high, test.decision)


def figure(rounds: Sequence[Round], setting: str, measure: Measure, *, workers: int) -> Figure:
    """The latency in seconds, or the throughput in samples a second."""
    logs = [_log_seconds(r, setting, measure) for r in rounds]
    first = first_ready(_as_blocks(rounds, setting, measure), workers)
    low, high = (0.0, math.inf) if first is None else interval(logs, ALPHA, first=first)
    value = math.exp(median(logs)) if logs else math.nan
    if measure == "latency":
        return Figure(value, low, high)
    return Figure(1 / value, 1 / high, 1 / low if low else math.inf)


def meets(
    rounds: Sequence[Round],
    setting: str,
    measure: Measure,
    limit: float,
    *,
    workers: int,
    checks: int = 1,
) -> Decision | None:
    """Does it meet a limit: at most so many seconds, or at least so many samples a second?

    The sequential test on the sign of what a round is better than the limit by; `checks` is the
    number of such questions in the run, which a "fail" is corrected for.
    """
    bound = math.log(limit if measure == "latency" else 1 / limit)
    first = first_ready(_as_blocks(rounds, setting, measure), workers)
    test = SequentialTest(1.0, ALPHA, BETA / checks)
    for n, one in enumerate(rounds, start=1):
        d = bound - _log_seconds(one, setting, measure)
        test.update(d, may_decide=first is not None and n >= first)
    return test.decision


def _as_blocks(rounds: Sequence[Round], setting: str, measure: Measure) -> list[Block]:
    return [Block(r.worker, *[_times(r, setting, measure)] * 2) for r in rounds]


def _times(one: Round, setting: str, measure: Measure) -> tuple[float, float]:
    first, second = one.stretches[setting]
    return first.seconds(measure), second.seconds(measure)


def _log_seconds(one: Round, setting: str, measure: Measure) -> float:
    """Of both stretches: a limit is for the usual time, not for the better of two."""
    return sum(math.log(s) for s in _times(one, setting, measure)) / 2
