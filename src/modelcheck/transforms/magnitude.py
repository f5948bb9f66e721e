"""The smallest magnitudes of weights too large to sort: exact, deterministic, in constant memory.

Without its sign bit, an IEEE float is an unsigned integer that orders as its magnitude does. So
the k-th smallest magnitude is found digit by digit: one histogram of the upper 16 bits over all
elements, then one of the next 16 bits over those in its bin, and so on (two passes for float32).
Of equal magnitudes the first by position count as smaller, so the answer never depends on chance.

Source: radix selection, D. E. Knuth, The Art of Computer Programming 3, section 5.2.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from modelcheck.model.deferred import pieces_of

_CHUNK = 1 << 18  # elements: a chunk and its temporaries stay in the processor's cache
_DIGIT_BITS = 16
_UNSIGNED: dict[int, np.dtype[np.unsignedinteger[Any]]] = {
    2: np.dtype(np.uint16),
    4: np.dtype(np.uint32),
    8: np.dtype(np.uint64),
}


@dataclass(frozen=True, slots=True)
class Cut:
    """What to zero in one tensor: magnitudes below `limit`, and the first `ties` equal to it.

    Magnitudes are the sign-less bits of a float of type `dtype`.
    """

    dtype: np.dtype
    limit: int
    ties: int = 0

    def pieces(self, weight: ir.TensorProtocol) -> Iterator[np.ndarray]:
        """The weight with zeros there, in flat pieces; zeros are +0."""
        unsigned = _UNSIGNED[weight.dtype.numpy().itemsize]
        for chunk, kept in self._kept(weight):
            yield np.multiply(chunk.view(unsigned), kept).view(chunk.dtype)

    def changes(self, weight: ir.TensorProtocol) -> bool:
        """Whether anything but zeros would be zeroed."""
        return any(bool(np.any(chunk[~kept])) for chunk, kept in self._kept(weight))

    def _kept(self, weight: ir.TensorProtocol) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        left = self.ties
        for chunk in _chunks(weight):
            bits = _magnitude_bits(chunk, self.dtype)
            kept = bits >= self.limit
            if left:
                equal = np.flatnonzero(bits == self.limit)[:left]
                kept[equal] = False
                left -= equal.size
            yield chunk, kept


def at_least(amount: float, n: int) -> int:
    """The fewest of n elements that are at least this fraction of them."""
    # The tiny subtraction undoes what binary fractions add: 0.07 · 100 is 7.000000000000001.
    return max(0, math.ceil(amount * n - 1e-9))


def below(weight: ir.TensorProtocol, threshold: float) -> Cut:
    """The cut of all magnitudes less than a threshold."""
    dtype = weight.dtype.numpy()
    with np.errstate(over="ignore"):
        limit = np.array([threshold]).astype(dtype)
    if float(limit[0]) < threshold:  # rounded down: the next number is the first not below
        limit = np.nextafter(limit, np.array([np.inf], dtype))
    return Cut(dtype, int(_magnitude_bits(limit, dtype)[0]))


def smallest(
    weights: Sequence[ir.TensorProtocol],
    count: int,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[Cut]:
    """The cuts that together zero exactly the `count` smallest magnitudes of all `weights`.

    Weights of several dtypes are compared in the widest. Reads each weight a few times, in
    chunks, and keeps none.
    """
    dtype = max((w.dtype.numpy() for w in weights), key=lambda d: d.itemsize)
    if count <= 0:
        return [Cut(dtype, 0) for _ in weights]
    bits = dtype.itemsize * 8 - 1
    limit, rest = 0, count - 1  # the 0-based rank sought among those that share the digits so far
    passes = -(-bits // _DIGIT_BITS)
    for i in range(passes):
        width = min(_DIGIT_BITS, bits)
        bits -= width
        histogram = np.zeros(1 << width, np.int64)
        for n, weight in enumerate(weights):
            histogram += _histogram(weight, dtype, limit, bits, width)
            progress((i + (n + 1) / len(weights)) / (passes + 1))
        ranks = np.cumsum(histogram)
        digit = int(np.searchsorted(ranks, rest, side="right"))
        rest -= int(ranks[digit - 1]) if digit else 0
        limit = limit << width | digit
    whole = Cut(dtype, limit, rest + 1)
    return [whole] if len(weights) == 1 else _shared_ties(weights, whole)


def _histogram(
    weight: ir.TensorProtocol, dtype: np.dtype, prefix: int, shift: int, width: int
) -> np.ndarray:
    """How often each next digit stands after `prefix`."""
    counts = np.zeros(1 << width, np.int64)
    for chunk in _chunks(weight):
        bits = _magnitude_bits(chunk, dtype)
        bits >>= bits.dtype.type(shift)
        if prefix:
            bits = bits[bits >> bits.dtype.type(width) == prefix] & bits.dtype.type(
                (1 << width) - 1
            )
        elif shift + width < dtype.itemsize * 8 - 1:  # later digits after a prefix of zeros
            bits = bits[bits >> bits.dtype.type(width) == 0]
        counts += np.bincount(bits.astype(np.int64), minlength=1 << width)
    return counts


def _shared_ties(weights: Sequence[ir.TensorProtocol], whole: Cut) -> list[Cut]:
    """Hand the ties out in the order of the weights."""
    cuts, left = [], whole.ties
    for weight in weights:
        equal = 0
        if left:
            for chunk in _chunks(weight):
                bits = _magnitude_bits(chunk, whole.dtype)
                equal += int(np.count_nonzero(bits == whole.limit))
        cuts.append(Cut(whole.dtype, whole.limit, min(equal, left)))
        left -= cuts[-1].ties
    return cuts


def _chunks(weight: ir.TensorProtocol) -> Iterator[np.ndarray]:
    for piece in pieces_of(weight):
        for start in range(0, piece.size, _CHUNK):
            yield piece[start : start + _CHUNK]


def _magnitude_bits(chunk: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The sign-less bits of |chunk| in `dtype`, as a new array of unsigned integers."""
    unsigned = _UNSIGNED[dtype.itemsize]
    mask = unsigned.type((1 << (dtype.itemsize * 8 - 1)) - 1)
    bits: np.ndarray = chunk.astype(dtype, copy=False).view(unsigned) & mask
    return bits
