"""What is asked of each row of the table of known faults.

`right` is the form that the row's remedy names. `like` is a net that looks much the same, and
must neither be matched nor go wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modelcheck.model import Model

Make = Callable[[], Model]
# OpenCV and onnxruntime may round a number that lies between two steps to either of them.
INT8_ERROR, FLOAT_ERROR = 0.03, 1e-4


@dataclass(frozen=True)
class Case:
    """Nets of one row. `least` is the smallest error that counts as wrong: half of what was seen.

    `right` None: the remedy is another engine, or nothing that a net could show.
    """

    shows: Make
    right: Make | None
    like: Make
    least: float = 0.3
    x: Callable[[Model], np.ndarray] | None = None  # None: normal numbers


def normal(model: Model) -> np.ndarray:
    """Numbers for the net's input, of which the largest are near 3."""
    (spec,) = model.signature.inputs
    shape = [size or 2 for size in spec.shape or ()]
    random = np.random.default_rng(1)
    if spec.dtype.kind == "f":
        return random.standard_normal(shape).astype(spec.dtype)
    return random.integers(0, 100, shape).astype(spec.dtype)


def full(value: float) -> Callable[[Model], np.ndarray]:
    """One number everywhere but in the first place."""

    def make(model: Model) -> np.ndarray:
        (spec,) = model.signature.inputs
        x = np.full([size or 1 for size in spec.shape or ()], value).astype(spec.dtype)
        x.reshape(-1)[0] = 0
        return x

    return make
