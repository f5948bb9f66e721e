"""Weights that are computed when they are read and let go when they are written.

A pruned 1 GB model need not hold 1 GB of pruned weights: each is computed, piece by piece, from
its source (often a page of a mapped file) while it is hashed or saved, and then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import onnx_ir as ir


class DeferredTensor(ir.LazyTensor):
    """A tensor of the dtype and shape of `like`, computed anew at each reading.

    `pieces` gives it as flat arrays, one after the other. It must be pure: every call gives equal
    values, whatever happened in between.
    """

    def __init__(
        self, pieces: Callable[[], Iterator[np.ndarray]], *, like: ir.TensorProtocol
    ) -> None:
        shape = ir.Shape(like.shape.numpy())
        super().__init__(self._whole, like.dtype, shape, name=like.name)
        self.pieces = pieces

    def _whole(self) -> ir.TensorProtocol:
        flat = np.empty(self.size, self.dtype.numpy())
        start = 0
        for piece in self.pieces():
            flat[start : start + piece.size] = piece
            start += piece.size
        array = flat.reshape(self.shape.numpy())
        array.flags.writeable = False
        return ir.Tensor(array, dtype=self.dtype)


def pieces_of(tensor: ir.TensorProtocol) -> Iterator[np.ndarray]:
    """The tensor as flat arrays: a deferred one in pieces, any other in one, without a copy."""
    if isinstance(tensor, DeferredTensor):
        yield from tensor.pieces()
    else:
        yield np.ascontiguousarray(tensor.numpy()).reshape(-1)


class Weights(Mapping[str, np.ndarray]):
    """Read-only arrays by name. A deferred one is computed at each access: do not keep it."""

    def __init__(self, tensors: Mapping[str, ir.TensorProtocol]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name].numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """One weight as flat arrays, of which only one need be alive at a time."""
        return pieces_of(self._tensors[name])

    def tensors(self) -> Iterable[ir.TensorProtocol]:
        """The tensors behind the arrays: dtype, shape and nbytes without computing anything."""
        return self._tensors.values()

    def at_least(self, n_bytes: int) -> Weights:
        """Only the weights of this size or more."""
        return Weights({k: t for k, t in self._tensors.items() if t.nbytes >= n_bytes})
