"""What can be done to a sample: shifts, contrast and noise, each a small value.

An edit acts on one input x (batch axis first), whose elements may move by at most `reach`, a
part of the range of their channel:
    shift     x + a * reach         everywhere, in one channel, or in a region down to one element
    contrast  x + a * (x - mean)    the mean of each channel
    noise     x + a * reach * s     s = +1 or -1, drawn once for each block of `cell` neighbours
with -1 <= a <= 1. The same edit of the same sample is always the same input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Region = tuple[tuple[int, int], ...]  # (start, stop) along each axis beside batch and channel
_FEW_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Shift:
    """Brighter or darker: everywhere, in one channel, or in a region."""

    input: str
    amount: float
    channel: int | None = None
    region: Region = ()  # (): everywhere

    def apply(self, values: Array, reach: Array) -> None:
        """Change `values` in place."""
        here = place(values.shape, self.channel, self.region)
        values[here] += self.amount * np.broadcast_to(reach, values.shape)[here]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Every channel away from its mean, or towards it."""

    input: str
    amount: float

    def apply(self, values: Array, reach: Array) -> None:
        """Change `values` in place."""
        _, *inner = _axes(values.shape)
        values += self.amount * (values - values.mean(axis=tuple(inner), keepdims=True))


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of blocks that are `cell` elements wide: 1 is white, more is smooth."""

    input: str
    amount: float
    cell: int
    seed: int

    def apply(self, values: Array, reach: Array) -> None:
        """Change `values` in place."""
        _, *inner = _axes(values.shape)
        coarse = [-(-n // self.cell) if i in inner else n for i, n in enumerate(values.shape)]
        signs = np.random.default_rng([self.seed, self.cell]).integers(0, 2, coarse, np.int8)
        for axis in inner if self.cell > 1 else ():
            signs = signs.repeat(self.cell, axis).take(range(values.shape[axis]), axis)
        values += self.amount * reach * (2 * signs - 1)


Edit = Shift | Contrast | Noise


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Where the channels of an input are, each with a range of its own; None: one range for all.

    Images may hold them first or last; a row of features is one channel a feature.
    """
    if len(shape) == 2:
        return 1
    if len(shape) == 4:
        return 3 if shape[3] <= _FEW_CHANNELS < shape[1] else 1
    return None


def place(shape: tuple[int, ...], channel: int | None, region: Region) -> tuple[slice, ...]:
    """The index of one channel (None: all) and a region (empty: everywhere)."""
    channels, *inner = _axes(shape)
    index = [slice(None)] * len(shape)
    if channel is not None and channels is not None:
        index[channels] = slice(channel, channel + 1)
    for axis, (start, stop) in zip(inner, region, strict=False):
        index[axis] = slice(start, stop)
    return tuple(index)


def inner_sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The lengths of the axes beside batch and channel."""
    _, *inner = _axes(shape)
    return tuple(shape[axis] for axis in inner)


def _axes(shape: tuple[int, ...]) -> tuple[int | None, *tuple[int, ...]]:
    """The axis of the channels, and all others but the first, which is the batch."""
    channels = channel_axis(shape)
    return (channels, *(axis for axis in range(1, len(shape)) if axis != channels))
