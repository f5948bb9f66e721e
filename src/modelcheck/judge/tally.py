"""One sample of one output, reduced to sums: a single pass in blocks that stay in cache.

Each block is widened to float64, so sums are right beyond 150 dB and cannot overflow, while
no whole array is ever copied. A row of a block is one channel (axis 1) of one batch item.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# OpenCV 5.0's default engine turns NaN into about 3.4e38 with isfinite true.
LARGEST_FINITE = 1e30

_BLOCK = 16_384  # float64 elements: three blocks fit a 1 MiB L2 cache


@dataclass(frozen=True, slots=True)
class SampleTally:
    """The sums of one sample.

    An element that is not finite in the reference is counted and left out; one that is not
    finite in actual alone makes the noise and the peak of its channel infinite.
    """

    elements: int
    scale: float  # max |expected|
    actual_energy: float  # sum actual^2
    signal: Array  # sum expected^2, per channel (one entry for rank 0 and 1)
    noise: Array  # sum (expected - actual)^2, per channel
    peak: Array  # max |expected - actual|, per channel
    non_finite: int
    expected_non_finite: int

    @staticmethod
    def empty() -> SampleTally:
        """Nothing seen."""
        nothing = np.zeros(0)
        return SampleTally(0, 0.0, 0.0, nothing, nothing, nothing, 0, 0)

    @property
    def max_abs(self) -> float:
        """Largest absolute difference."""
        return float(self.peak.max(initial=0.0))

    @property
    def noise_to_signal(self) -> float:
        """Orders samples from good to bad.

        An all-zero reference has no SQNR: it counts as 0, since any rounding there would
        otherwise hide every real fault (`max_abs` is what judges it).
        """
        if self.non_finite:
            return math.inf
        signal = float(self.signal.sum())
        return float(self.noise.sum()) / signal if signal > 0 else 0.0


def tally(expected: Array, actual: Array) -> SampleTally:
    """Reduce two arrays of one shape."""
    channels = expected.shape[1] if expected.ndim >= 2 else 1
    if expected.size == 0:
        return SampleTally.empty()
    rows = expected.shape[0] * channels if expected.ndim >= 2 else 1
    x = np.ascontiguousarray(expected).reshape(rows, -1)
    y = np.ascontiguousarray(actual).reshape(rows, -1)
    signal, noise, peak = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    scale = actual_energy = 0.0
    non_finite = expected_non_finite = 0
    with np.errstate(all="ignore"):
        for here in _blocks(rows, x.shape[1]):
            xs, ys = x[here].astype(np.float64), y[here].astype(np.float64)
            top, energy = _largest(xs), float(_row_energy(ys).sum())
            # The energy bounds every element of ys, and NaN fails both comparisons.
            if not (top <= LARGEST_FINITE and energy <= LARGEST_FINITE**2):
                missed, absent = _mark_non_finite(xs, ys)
                non_finite, expected_non_finite = non_finite + missed, expected_non_finite + absent
                top, energy = _largest(xs), float(_row_energy(ys).sum())
            scale = max(scale, top)
            actual_energy += energy
            signal[here[0]] += _row_energy(xs)
            difference = np.subtract(xs, ys, out=xs)
            noise[here[0]] += _row_energy(difference)
            highest = np.abs(difference, out=difference).max(axis=1)
            peak[here[0]] = np.maximum(peak[here[0]], highest)
    by_channel = (-1, channels)
    return SampleTally(
        elements=expected.size,
        scale=scale,
        actual_energy=actual_energy,
        signal=signal.reshape(by_channel).sum(axis=0),
        noise=noise.reshape(by_channel).sum(axis=0),
        peak=peak.reshape(by_channel).max(axis=0),
        non_finite=non_finite,
        expected_non_finite=expected_non_finite,
    )


def _blocks(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Cut a (rows, columns) matrix into pieces of about _BLOCK elements."""
    height, width = max(1, _BLOCK // columns), min(columns, _BLOCK)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield slice(top, top + height), slice(left, left + width)


def _largest(block: Array) -> float:
    return max(float(block.max()), -float(block.min()))


def _row_energy(block: Array) -> Array:
    # Not np.vdot: the threads of BLAS spin, and take the cores from the models that run.
    energy: Array = np.einsum("ij,ij->i", block, block)
    return energy


def _mark_non_finite(expected: Array, actual: Array) -> tuple[int, int]:
    """Count (actual alone, expected), making the former infinite and both zero at the latter."""
    absent = ~(np.abs(expected) <= LARGEST_FINITE)
    missed = ~(np.abs(actual) <= LARGEST_FINITE) & ~absent
    expected[absent] = actual[absent] = 0.0
    actual[missed] = math.inf
    return int(missed.sum()), int(absent.sum())
