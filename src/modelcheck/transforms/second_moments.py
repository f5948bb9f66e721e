"""H = E[x·xᵀ] of what a layer's weights meet, on the calibration samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.transforms.base import Activations
from modelcheck.transforms.graph import Slot, constant
from modelcheck.transforms.layer_products import patches

# Moments, and the tensors that a sample brings for them, held at one time.
_HELD_BYTES = 256 << 20
_POSITIONS = 512  # of each sample; neighbours tell little that is new


@dataclass(frozen=True, slots=True)
class Wanted:
    """A layer whose moment is wanted. `central`: about the mean, which its bias makes up for."""

    slot: Slot
    input: str
    input_size: int  # elements, on one sample
    central: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight."""
        tensor = constant(self.slot.weight)
        assert tensor is not None
        return tuple(int(d) for d in tensor.shape.numpy())

    @property
    def size(self) -> tuple[int, int]:
        """(groups, K)"""
        shape = self.shape
        if self.slot.node.op_type == "MatMul":
            return 1, shape[0]
        return self.slot.groups, math.prod(shape[1:])

    @property
    def held_bytes(self) -> int:
        groups, k = self.size
        return 4 * (groups * k * k + self.input_size)


@dataclass
class _Moment:
    """Sums over positions, about the mean of the first sample where the moment shall be central."""

    wanted: Wanted
    _products: np.ndarray = field(init=False)
    _sums: np.ndarray = field(init=False)
    _about: np.ndarray | None = None
    _count: int = 0

    def __post_init__(self) -> None:
        groups, k = self.wanted.size
        self._products = np.zeros((groups, k, k), np.float32)
        self._sums = np.zeros((groups, k))

    def add(self, x: np.ndarray) -> None:
        """x: (groups, positions, K). What is not finite stays so, and is dealt with at the end."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.wanted.central:
                if self._about is None:
                    self._about = x.mean(axis=1, keepdims=True)
                x = x - self._about
            self._products += x.transpose(0, 2, 1) @ x
            self._sums += x.sum(axis=1)
        self._count += x.shape[1]

    def result(self) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            self._products /= np.float32(max(self._count, 1))
            if self.wanted.central:
                mean = (self._sums / max(self._count, 1)).astype(np.float32)
                self._products -= mean[:, :, None] * mean[:, None, :]
        return self._products


def second_moments(
    activations: Activations, model: Model, wanted: Sequence[Wanted], random: np.random.Generator
) -> Iterator[tuple[ir.Value, np.ndarray]]:
    """Each weight with the moment (groups, K, K) of what it meets, summed over its layers.

    A weight whose layers differ in their groups has none. The samples are gone through once for
    as many weights as `_HELD_BYTES` has room for.
    """
    for chunk in _chunks(_by_weight(wanted)):
        moments = {w: _Moment(w) for layers in chunk.values() for w in layers}
        names = list(dict.fromkeys(w.input for w in moments))
        for seen in activations(model, names):
            for w, moment in moments.items():
                moment.add(patches(w.slot, seen[w.input], w.shape, _POSITIONS, random))
        for weight, layers in chunk.items():
            total = moments.pop(layers[0]).result()
            with np.errstate(over="ignore", invalid="ignore"):
                for other in layers[1:]:
                    total += moments.pop(other).result()
            yield weight, total


def _by_weight(wanted: Sequence[Wanted]) -> dict[ir.Value, list[Wanted]]:
    found: dict[ir.Value, list[Wanted]] = {}
    for w in wanted:
        found.setdefault(w.slot.weight, []).append(w)
    return {value: layers for value, layers in found.items() if len({w.size for w in layers}) == 1}


def _chunks(
    weights: Mapping[ir.Value, list[Wanted]],
) -> Iterator[dict[ir.Value, list[Wanted]]]:
    """Weights to measure together, in order."""
    chunk: dict[ir.Value, list[Wanted]] = {}
    held = 0
    for value, layers in weights.items():
        more = sum(w.held_bytes for w in layers)
        if chunk and held + more > _HELD_BYTES:
            yield chunk
            chunk, held = {}, 0
        chunk[value] = layers
        held += more
    if chunk:
        yield chunk
