"""Weights that are computed when they are read and let go when they are written.

A pruned 1 GB model need not hold 1 GB of pruned weights: each tensor is computed from its source
(often a page of a mapped file) while it is hashed or saved, and forgotten before the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import onnx_ir as ir


def deferred(compute: Callable[[], np.ndarray], *, like: ir.TensorProtocol) -> ir.LazyTensor:
    """A tensor of the dtype and shape of `like`, computed anew at each reading.

    `compute` must be pure: every call returns equal values, whatever happened in between.
    """

    def read_only() -> ir.TensorProtocol:
        array = compute()
        array.flags.writeable = False
        return ir.Tensor(array, dtype=like.dtype)

    return ir.LazyTensor(read_only, like.dtype, ir.Shape(like.shape.numpy()), name=like.name)


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

    def tensors(self) -> Iterable[ir.TensorProtocol]:
        """The tensors behind the arrays: dtype, shape and nbytes without computing anything."""
        return self._tensors.values()

    def at_least(self, n_bytes: int) -> Weights:
        """Only the weights of this size or more."""
        return Weights({k: t for k, t in self._tensors.items() if t.nbytes >= n_bytes})
