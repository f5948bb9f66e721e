"""The inputs that a user would accept as inputs: near a sample, and within what the data hold.

x' = clip(edited x, max(low, x - reach), min(high, x + reach)),   reach = radius * (high - low)

with low and high the least and the largest value of the data, by channel. Whole-number inputs
other than bytes (tokens, indices) stay as they are: between two of them lies nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from modelcheck.worst_inputs.edits import Array, Edit, Region, channel_axis, place

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Variant:
    """A sample and what is done to it; outside the regions of `within` the sample stays."""

    sample: int
    edits: tuple[Edit, ...] = ()
    within: tuple[tuple[str, Region], ...] = ()

    def then(self, edit: Edit) -> Variant:
        """The same with one more edit."""
        return replace(self, edits=(*self.edits, edit))


class Ranges:
    """The least and the largest value of every input by channel, over all samples."""

    def __init__(self) -> None:
        self.low: dict[str, Array] = {}
        self.high: dict[str, Array] = {}

    def update(self, arrays: Arrays) -> None:
        """Add one sample."""
        for name, array in arrays.items():
            if array.dtype.kind != "f" and array.dtype != np.uint8:
                continue
            channels = channel_axis(array.shape)
            axes = tuple(axis for axis in range(array.ndim) if axis != channels)
            low = array.min(axis=axes, keepdims=True).astype(np.float32)
            high = array.max(axis=axes, keepdims=True).astype(np.float32)
            if name not in self.low or self.low[name].shape != low.shape:
                self.low.setdefault(name, low)
                self.high.setdefault(name, high)
                if self.low[name].shape != low.shape:  # a free axis: one range for all
                    self.low[name], low = self.low[name].min(), low.min()
                    self.high[name], high = self.high[name].max(), high.max()
            self.low[name] = np.minimum(self.low[name], low)
            self.high[name] = np.maximum(self.high[name], high)

    def varies(self) -> tuple[str, ...]:
        """The inputs that can be changed at all."""
        return tuple(name for name, low in self.low.items() if (self.high[name] > low).any())

    def contains(self, arrays: Arrays) -> bool:
        """Whether all values lie where those of the data do; rounding is forgiven."""
        for name, low in self.low.items():
            array, slack = arrays[name], 1e-5 * (self.high[name] - low)
            if (array < low - slack).any() or (array > self.high[name] + slack).any():
                return False
        return True


class Neighbourhood:
    """The variants of some samples as arrays."""

    def __init__(self, samples: Mapping[int, Arrays], ranges: Ranges, *, radius: float) -> None:
        self.samples = samples
        self.ranges = ranges
        self.radius = radius
        self._reach = {n: radius * (ranges.high[n] - low) for n, low in ranges.low.items()}
        self._latest: tuple[Variant, dict[str, Array]] | None = None

    def shapes(self, sample: int) -> dict[str, tuple[int, ...]]:
        """The shapes of those inputs of a sample that can be changed."""
        arrays = self.samples[sample]
        return {name: arrays[name].shape for name in self.ranges.varies()}

    def arrays(self, variant: Variant) -> dict[str, Array]:
        """What the models are fed; the arrays are new ones."""
        edited = self._edited(variant)
        return {
            name: self._bounded(name, array, edited.get(name), dict(variant.within).get(name))
            for name, array in self.samples[variant.sample].items()
        }

    def _edited(self, variant: Variant) -> dict[str, Array]:
        """Every edited input before it is bounded; a climb adds one edit to the latest variant."""
        values: dict[str, Array] = {}
        edits = variant.edits
        if self._latest is not None:
            before, known = self._latest
            n = len(before.edits)
            if before.sample == variant.sample and edits[:n] == before.edits:
                values = {name: array.copy() for name, array in known.items()}
                edits = edits[n:]
        for i, edit in enumerate(edits):
            if i == len(edits) - 1:
                known = {name: array.copy() for name, array in values.items()}
                self._latest = (replace(variant, edits=variant.edits[:-1]), known)
            if edit.input not in values:
                source = self.samples[variant.sample][edit.input]
                values[edit.input] = np.array(source, np.float32)
            edit.apply(values[edit.input], self._reach[edit.input])
        return values

    def _bounded(
        self, name: str, source: Array, edited: Array | None, within: Region | None
    ) -> Array:
        if edited is None:
            return source.copy()
        reach = self._reach[name]
        low = np.maximum(self.ranges.low[name], source - reach)
        high = np.minimum(self.ranges.high[name], source + reach)
        values = np.clip(edited, low, high)
        if source.dtype.kind != "f":
            values = np.rint(values)
        if within is None:
            return values.astype(source.dtype)
        result, here = source.copy(), place(source.shape, None, within)
        result[here] = values[here]
        return result
