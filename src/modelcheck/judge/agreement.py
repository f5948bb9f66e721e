"""Top-1 agreement and what so many samples prove about it (Clopper and Pearson, 1934).

k of n samples agree. One-sided bounds on the true fraction, each at `confidence`:
    lower = BetaInv(1 - confidence; k, n - k + 1)      0 where k = 0
    upper = BetaInv(confidence; k + 1, n - k)          1 where k = n
The bounds are exact: they hold at least as often as promised, however few the samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelcheck.judge.tally import LARGEST_FINITE

Array = npt.NDArray[Any]


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two one-sided bounds (lower, upper) on a fraction; (0, 1) without trials."""
    from scipy.special import betaincinv  # 0.3 s, paid only by who asks

    failures = trials - successes
    lower = float(betaincinv(successes, failures + 1, 1 - confidence)) if successes else 0.0
    upper = float(betaincinv(successes + 1, failures, confidence)) if failures else 1.0
    return lower, upper


def highest_provable(successes: int, trials: int, confidence: float = 0.95) -> float:
    """The highest agreement limit that these samples prove."""
    return clopper_pearson(successes, trials, confidence)[0]


def samples_needed(limit: float, disagreements: int, confidence: float = 0.95) -> int | None:
    """The fewest samples that prove `limit` with so many disagreements among them.

    None for a limit of 1: no number of samples proves that there is no exception.
    """
    if limit >= 1:
        return None

    def proves(samples: int) -> bool:
        return highest_provable(samples - disagreements, samples, confidence) >= limit

    too_few, enough = disagreements, disagreements + 1
    while not proves(enough):
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if proves(middle) else (middle, enough)
    return enough


@dataclass(frozen=True, slots=True)
class AgreementEvidence:
    """On how many samples the top class is the same, and the bounds that this proves."""

    samples: int
    agreements: int
    agreement: float  # 0 without samples
    lower: float  # one-sided, at `confidence`
    upper: float
    confidence: float
    labelled: int  # samples that came with a label
    label_correct_expected: int | None  # None: no sample had a label
    label_correct_actual: int | None


class Agreement:
    """Accumulates the top-1 agreement of one output, in constant memory."""

    def __init__(self, confidence: float = 0.95) -> None:
        self._confidence = confidence
        self._samples = self._agreements = 0
        self._labelled = self._correct_expected = self._correct_actual = 0

    def update(
        self, expected: Array, actual: Array, labels: Sequence[int] | Array | None = None
    ) -> None:
        """Add the rows of one batch: scores (N, C[, 1, 1]) or class indices (N[, 1, ...]).

        A row that is not finite, and every row where the shapes differ, agrees with nothing.
        """
        indices = expected.dtype.kind in "biu"
        wanted = _top_classes(expected, indices)
        given = (
            _top_classes(actual, indices)
            if actual.shape == expected.shape
            else np.full_like(wanted, _NO_CLASS)
        )
        self._samples += len(wanted)
        self._agreements += int(((wanted == given) & (wanted != _NO_CLASS)).sum())
        if labels is not None:
            truth = np.asarray(labels).reshape(-1)
            self._labelled += len(truth)
            self._correct_expected += int((wanted == truth).sum())
            self._correct_actual += int((given == truth).sum())

    def result(self) -> AgreementEvidence:
        """The evidence so far; more samples may follow."""
        lower, upper = clopper_pearson(self._agreements, self._samples, self._confidence)
        return AgreementEvidence(
            samples=self._samples,
            agreements=self._agreements,
            agreement=self._agreements / self._samples if self._samples else 0.0,
            lower=lower,
            upper=upper,
            confidence=self._confidence,
            labelled=self._labelled,
            label_correct_expected=self._correct_expected if self._labelled else None,
            label_correct_actual=self._correct_actual if self._labelled else None,
        )


def is_class_scores(shape: Sequence[int]) -> bool:
    """Whether an output of this shape can hold class scores: (N, C) or (N, C, 1, 1), C >= 2."""
    return len(shape) in (2, 4) and shape[1] >= 2 and all(length == 1 for length in shape[2:])


_NO_CLASS = -(2**62)  # unlike any class index or label, -1 for 'unknown' included


def _top_classes(output: Array, indices: bool) -> npt.NDArray[np.int64]:
    """The class of each row: arg max over axis 1, or the entry itself where it is an index."""
    rows = output.reshape(len(output), math.prod(output.shape[1:])).astype(np.float64)
    finite: Array = np.all(np.abs(rows) <= LARGEST_FINITE, axis=1)
    if indices:
        top = np.where(finite[:, None], rows, _NO_CLASS)[:, 0].astype(np.int64)
    else:
        top = np.argmax(rows, axis=1)
    return np.where(finite, top, _NO_CLASS)
