"""How much an output varies from sample to sample: what a constant would miss.

    variation = sum over elements e and samples n of (x_ne - mean_e)^2
With a large offset (boxes, depth, temperatures) the energy of an output says nothing about the
part that answers the input; a candidate that ignores its input has an error of just this size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Variation:
    """Accumulates one output in the memory of two samples.

    Distances are taken from the first sample, so that a large offset costs no digits:
    sum (x - mean)^2 = sum d^2 - (sum d)^2 / n,   d = x - x_first.
    """

    def __init__(self) -> None:
        self._first: Array | None = None
        self._sum: Array = np.zeros(0)
        self._energy = 0.0
        self._samples = 0
        self._followed = True

    def update(self, expected: Array) -> None:
        """Add one sample; once the shape has changed there is no mean to vary from."""
        if self._first is None:
            self._first = expected
            self._sum = np.zeros(expected.shape)
        elif expected.shape != self._first.shape:
            self._followed = False
        if not self._followed:
            return
        with np.errstate(all="ignore"):
            difference = np.subtract(expected, self._first, dtype=np.float64)
            self._sum += difference
            self._energy += _energy(difference)
        self._samples += 1

    def energy(self) -> float | None:
        """The variation; None with fewer than two samples or values that are not finite."""
        if self._samples < 2 or not self._followed:
            return None
        mean_part = _energy(self._sum) / self._samples
        variation = max(0.0, self._energy - mean_part)
        return variation if np.isfinite(variation) else None


def _energy(array: Array) -> float:
    # Not np.vdot: the threads of BLAS spin, and take the cores from the models that run.
    flat = array.reshape(-1)
    return float(np.einsum("i,i->", flat, flat))
