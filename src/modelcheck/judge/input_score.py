"""What one input does to a model: its errors and, where there are classes, its flips.

For each output, with x the reference, y what is judged and s = max |x| over the data:
    error = max |x - y| / s                        (s = 0: of scale 1)
    margin = (x[top] - x[second]) / s              how sure the reference is of its class
    lead = (max over others of y - y[top of x]) / s   above 0: another class comes first
The scale is that of the data, so that an input with a tiny output cannot fake an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelcheck.judge.tally import LARGEST_FINITE

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class InputScore:
    """One input, scaled. `error` is what a search makes larger, and that of the output named.

    `total` compares the judged model there with the reference, `drift` with the original there,
    `target` the original there with the reference. Infinite: not finite, missing or misshapen.
    """

    output: str
    error: float
    total: float
    drift: float
    target: float
    margin: float = math.inf  # infinite where nothing holds classes
    lead: float = -math.inf

    @property
    def flipped(self) -> bool:
        """Whether another class comes first than the reference's."""
        return self.lead > 0


@dataclass(frozen=True, slots=True)
class Scales:
    """What errors are parts of, by output.

    `exact`: the drift from the original there counts as well as the total, as in the verdict on
    that claim; but not where the original is farther from the reference than what is judged.
    """

    of: Mapping[str, float]
    exact: bool = False

    def score(self, measured: Measured) -> InputScore:
        """The errors of the output that is worst, and the margins of the row nearest to a flip."""
        worst: InputScore | None = None
        for name, (total, drift, target) in measured.errors.items():
            scale = self.of.get(name) or 1.0
            error = max(total, drift) if self.exact and target <= total else total
            if worst is None or error / scale > worst.error:
                worst = InputScore(
                    name, error / scale, total / scale, drift / scale, target / scale
                )
        assert worst is not None
        margins = [(-math.inf, math.inf)]
        for name, (lead, margin) in measured.margins.items():
            scale = self.of.get(name) or 1.0
            margins.append((lead / scale, margin / scale))
        lead, margin = max(margins, key=lambda pair: pair[0])
        return InputScore(
            worst.output, worst.error, worst.total, worst.drift, worst.target, margin, lead
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """One input, in the units of the outputs: (total, drift, target) and (lead, margin)."""

    errors: Mapping[str, tuple[float, float, float]]
    margins: Mapping[str, tuple[float, float]]


def measure(
    expected: Outputs, original: Outputs, candidate: Outputs | None, classes: Iterable[str] = ()
) -> Measured:
    """Compare what the models made of one input; without a candidate the original is judged.

    `classes` are the outputs (N, C) or (N, C, 1, 1) that hold class scores.
    """
    judged = original if candidate is None else candidate
    errors = {}
    for name, x in expected.items():
        drift = 0.0
        if candidate is not None and name in original:
            drift = _error(original[name], judged.get(name))
        errors[name] = (_error(x, judged.get(name)), drift, _error(x, original.get(name)))
    margins = {}
    for name in classes:
        x, y = expected[name], judged.get(name)
        if y is not None and x.shape == y.shape and np.isfinite(x).all() and np.isfinite(y).all():
            margins[name] = max(map(_lead, x.reshape(x.shape[:2]), y.reshape(x.shape[:2])))
    return Measured(errors, margins)


def _lead(x: Array, y: Array) -> tuple[float, float]:
    """(lead, margin) of one row of class scores."""
    top = int(np.argmax(x))
    wanted, given = np.delete(x.astype(np.float64), top), np.delete(y.astype(np.float64), top)
    return float(given.max() - y[top]), float(x[top] - wanted.max())


def _error(expected: Array, actual: Array | None) -> float:
    """max |Δ| where the reference is finite; infinite where there is no number to compare."""
    if actual is None or actual.shape != expected.shape:
        return math.inf
    x, y = expected.astype(np.float64), actual.astype(np.float64)
    known = np.abs(x) <= LARGEST_FINITE
    if not (np.abs(y[known]) <= LARGEST_FINITE).all():
        return math.inf
    return float(np.abs(x[known] - y[known]).max(initial=0.0))
