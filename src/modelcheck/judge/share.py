"""Do at least a share q of all values lie within a bound Y? A test that may stop at any time.

The betting of `sequential`, at another price: a value within Y wins, q of them are to win.
    pass: P(v <= Y) <= q is rejected        fail: P(v > Y) <= 1 - q is rejected
With q = 0.99 and nothing but wins it takes some 450 values to pass at 95 %, with q = 0.5 seven.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from modelcheck.judge.sequential import Decision, wins_needed

ERROR = 0.05  # on either side
# Small ones see 3 % of misses where 1 % are allowed, large ones stop early when all is clean.
_LAMBDAS = (0.01, 0.03, 0.1, 0.3, 0.6, 0.92, 0.99)


def share_decided(
    values: Sequence[float], bound: float, share: float, *, first: int = 1, beta: float = ERROR
) -> Decision | None:
    """The decision by these values, in the order in which they came; none before the `first`."""
    wins = losses = 0
    for n, value in enumerate(values, start=1):
        wins += value <= bound
        losses += value > bound
        if n < first:
            continue
        if wins >= _needed(n, ERROR, share):
            return "pass"
        if losses >= _needed(n, beta, 1 - share):
            return "fail"
    return None


def share_bounds(
    values: Sequence[float], share: float, *, first: int = 1, beta: float = ERROR
) -> tuple[float, float]:
    """Every Y that these values reject on neither side, at no time since the `first`.

    Y passes after n values if it is at least the k-th smallest of them, where k wins of n
    suffice; it fails likewise. (0, inf) while nothing is rejected. So it never contradicts
    `share_decided`, and holds the quantile at level q with 95 % on each side.
    """
    low, high = 0.0, float("inf")
    ordered: list[float] = []
    for n, value in enumerate(values, start=1):
        insort(ordered, value)
        if n < first:
            continue
        if (k := _needed(n, ERROR, share)) <= n:
            high = min(high, ordered[k - 1])
        if (k := _needed(n, beta, 1 - share)) <= n:
            low = max(low, ordered[n - k])
    return min(low, high), max(low, high)


def _needed(n: int, level: float, share: float) -> int:
    return wins_needed(n, level, share, _LAMBDAS)
