"""Bounds on the mean of scores in [0, 1], whatever their distribution and however few.

Betting (Waudby-Smith and Ramdas, 2024). Where the mean is at most m, the wealth of a gambler who
bets that it is more,
    W(m) = sum_c w_c prod_i (1 + c (x_i / m - 1))      0 < c <= 1, sum_c w_c = 1
has an expectation of at most 1, so P(W(m) >= 1 / alpha) <= alpha (Markov). W falls as m grows, so
the lower bound is the largest m with W(m) >= 1 / alpha; the upper one is that of 1 - x, mirrored.
It holds at least as often as promised, and does not depend on the order of the samples. Where all
scores are 1, a bound of 0.95 at 95 % takes 67 samples (Clopper and Pearson, for outcomes that are
only 0 or 1, take 59).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

# Half the wealth on the boldest bet, which is right where every score is near 1, the rest evenly.
_BETS = np.array([0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
_LOG_WEIGHTS = np.log(np.array([0.5 / (len(_BETS) - 1)] * (len(_BETS) - 1) + [0.5]))
_STEPS = 40  # of bisection: to 1e-12
_MOST_SAMPLES = 10**9


def mean_bounds(scores: Sequence[float] | Values, confidence: float = 0.95) -> tuple[float, float]:
    """The two one-sided bounds (lower, upper) on the mean of scores in [0, 1]; (0, 1) of none."""
    values = np.asarray(scores, np.float64)
    if not len(values):
        return 0.0, 1.0
    return _lower(values, confidence), 1.0 - _lower(1.0 - values, confidence)


def samples_for_mean(
    scores: Sequence[float] | Values, limit: float, confidence: float = 0.95
) -> int | None:
    """How many samples like these prove that the mean is at least `limit`.

    None where no number does: their own mean is hardly above the limit, or not at all.
    """
    values = np.asarray(scores, np.float64)
    if not len(values):
        return None
    growth = _log_products(*np.unique(values, return_counts=True), limit) / len(values)

    def proves(samples: int) -> bool:
        return _log_sum(_LOG_WEIGHTS + samples * growth) >= -math.log(1 - confidence)

    too_few, enough = 0, 1
    while not proves(enough):
        too_few, enough = enough, 2 * enough
        if enough > _MOST_SAMPLES:
            return None
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if proves(middle) else (middle, enough)
    return enough


def _lower(values: Values, confidence: float) -> float:
    distinct, counts = np.unique(values, return_counts=True)
    low, high = 0.0, float(values.mean())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle <= 0:
            break
        wealth = _log_sum(_LOG_WEIGHTS + _log_products(distinct, counts, middle))
        low, high = (middle, high) if wealth >= -math.log(1 - confidence) else (low, middle)
    return low


def _log_products(distinct: Values, counts: npt.NDArray[np.intp], mean: float) -> Values:
    """log prod_i (1 + c (x_i / mean - 1)) for each bet c; `counts` of each distinct score."""
    with np.errstate(divide="ignore"):  # the boldest bet is lost for good by one score of 0
        logs = np.log1p(_BETS[:, None] * (distinct / mean - 1))
    # Not a matrix product: the threads of BLAS take the cores from the models that run.
    products: Values = np.einsum("ij,j->i", logs, counts.astype(np.float64))
    return products


def _log_sum(logs: Values) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum())) if math.isfinite(top) else top
