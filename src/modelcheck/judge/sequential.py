"""Is the candidate at least X times as fast? A sequential test that may stop at any time.

A block i gives d_i = log(original / candidate). With s_i = sign(d_i - log X), bet on s:
    wealth = mean over lambda of prod (1 + lambda s_i),   lambda in {.1, .2, ..., .9, .92}
If P(d > log X | past) <= 1/2, wealth is a supermartingale from 1, so it ever reaches 1/alpha
with probability alpha at most (Ville, 1939), whenever one stops and however the noise is
distributed or correlated. Wealth >= 1/alpha: faster than X (pass). Its mirror (for -s) >=
1/beta: slower than X (fail).

Only the numbers of wins and losses matter to wealth, so a test is a table: how many wins of n
suffice. The interval asks the same table about every X at once, and thus cannot contradict it.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

Decision = Literal["pass", "fail"]

ALPHA = BETA = 0.01
# One process is off by 5 to 40 % now and then; four make 0.0 to 0.2 % wrong verdicts (GATE.md).
MIN_WORKERS = 4
BLOCKS_PER_WORKER = 4

_LAMBDAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.92)


@dataclass(frozen=True, slots=True)
class Block:
    """One ABBA or BAAB of one worker process: two times of each model, in seconds."""

    worker: int
    original_s: tuple[float, float]
    candidate_s: tuple[float, float]

    def __post_init__(self) -> None:
        if not all(math.isfinite(t) and t > 0 for t in self.original_s + self.candidate_s):
            raise ValueError(f"a time is finite and positive: {self}")

    @property
    def log_ratio(self) -> float:
        """d = log(min of the original's two / min of the candidate's two)."""
        return math.log(min(self.original_s) / min(self.candidate_s))


class SequentialTest:
    """The test at one ratio; a decision, once made, stands."""

    def __init__(self, ratio: float, alpha: float = ALPHA, beta: float = BETA) -> None:
        self._log_ratio = math.log(ratio)
        self._alpha, self._beta = alpha, beta
        self._wins = self._losses = 0
        self.decision: Decision | None = None

    def update(self, d: float, *, may_decide: bool = True) -> None:
        """Add one block; it always counts, but decides only if it may. A tie (s = 0) bets 0."""
        self._wins += d > self._log_ratio
        self._losses += d < self._log_ratio
        if self.decision is not None or not may_decide:
            return
        trials = self._wins + self._losses
        if self._wins >= wins_needed(trials, self._alpha):
            self.decision = "pass"
        elif self._losses >= wins_needed(trials, self._beta):
            self.decision = "fail"


def interval(
    ds: Sequence[float], alpha: float = ALPHA, *, beta: float | None = None, first: int = 1
) -> tuple[float, float]:
    """Every ratio X that these blocks reject on neither side, at no time since block `first`.

    X is rejected as too low after n blocks if it lies below the k-th largest of them, where k
    wins of n suffice; as too high likewise. (0, inf) where nothing is rejected yet. `beta` is
    alpha unless given; the two errors add up, so 0.01 each make 98 %.
    """
    low, high = -math.inf, math.inf
    ordered: list[float] = []
    for n, d in enumerate(ds, start=1):
        insort(ordered, d)
        if n < first:
            continue
        if (k := wins_needed(n, alpha)) <= n:
            low = max(low, ordered[n - k])
        if (k := wins_needed(n, alpha if beta is None else beta)) <= n:
            high = min(high, ordered[k - 1])
    # A machine whose ratio moved for good can reject every X; then show the whole stretch.
    return math.exp(min(low, high)), math.exp(max(low, high))


def first_ready(blocks: Iterable[Block], workers: int) -> int | None:
    """How many blocks it took until each worker had given four; None while one has not.

    Never with fewer than four workers: they would be no evidence.
    """
    given: Counter[int] = Counter()
    complete = 0
    for n, block in enumerate(blocks, start=1):
        given[block.worker] += 1
        complete += given[block.worker] == BLOCKS_PER_WORKER
        if complete >= max(workers, MIN_WORKERS):
            return n
    return None


def ready(blocks: Iterable[Block], workers: int) -> bool:
    """Whether these blocks may decide anything."""
    return first_ready(blocks, workers) is not None


@cache
def _wins_table(level: float, share: float, lambdas: tuple[float, ...]) -> list[int]:
    """Fewest sufficient wins by number of trials; grown on demand by `wins_needed`."""
    return [1]  # of no trials, none suffices


def wins_needed(
    trials: int, level: float, share: float = 0.5, lambdas: tuple[float, ...] = _LAMBDAS
) -> int:
    """The fewest wins of so many trials that reject at `level`; trials + 1 where none do.

    What they reject is that a trial is won with probability `share` at most. One more trial
    needs the same number of wins or one more, which makes a table cheap.
    """
    table = _wins_table(level, share, lambdas)
    while len(table) <= trials:
        wins, losses = table[-1], len(table) - table[-1]
        enough = _log_wealth(wins, losses, share, lambdas) >= -math.log(level)
        table.append(wins if enough else wins + 1)
    return table[trials]


def _log_wealth(wins: int, losses: int, share: float, lambdas: tuple[float, ...]) -> float:
    """log mean over lambda of (1 + lambda (1 - q) / q)^wins (1 - lambda)^losses, q the share.

    A fair bet at the share: q lambda (1 - q) / q = (1 - q) lambda. At a half, as above.
    """
    odds = (1 - share) / share
    logs = [wins * math.log1p(odds * x) + losses * math.log1p(-x) for x in lambdas]
    largest = max(logs)
    return largest + math.log(sum(math.exp(x - largest) for x in logs) / len(logs))
