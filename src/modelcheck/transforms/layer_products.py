"""A layer as products of matrices: its weight by rows, and its input by what each row meets.

Conv      weight (out, in/group, ...) -> (groups, out/group, K),   K = in/group · kernel size
          input (n, in, ...) -> patches (groups, positions, K), padding's zeros among them
MatMul    weight (in, out) -> (1, out, in)      input (..., in) -> (1, positions, in)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.lib.stride_tricks import sliding_window_view

from modelcheck.model.same_padding import same_padding
from modelcheck.transforms.graph import Slot

PRODUCTS = frozenset({"Conv", "MatMul"})


def rows_of(slot: Slot, weight: np.ndarray) -> np.ndarray:
    """The weight by rows: (groups, rows, K)."""
    if slot.node.op_type == "MatMul":
        return weight.T[None]
    return weight.reshape(slot.groups, weight.shape[0] // slot.groups, -1)


def weight_of(slot: Slot, rows: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """What `rows_of` was made from."""
    return np.ascontiguousarray(rows[0].T) if slot.node.op_type == "MatMul" else rows.reshape(shape)


def patches(
    slot: Slot, x: np.ndarray, shape: Sequence[int], most: int, random: np.random.Generator
) -> np.ndarray:
    """What the rows of a weight of this shape meet at some positions: (groups, positions, K).

    No more than `most` positions, drawn from all.
    """
    if slot.node.op_type == "MatMul":
        flat = x.reshape(-1, x.shape[-1])
        return np.asarray(flat[_drawn(len(flat), most, random)][None])
    windows = _windows(slot.node, x, list(shape[2:]))
    n = len(shape) - 2
    places = (windows.shape[0], *windows.shape[2 : 2 + n])
    at = np.unravel_index(_drawn(math.prod(places), most, random), places)
    index: list[Any] = [at[0], slice(None), *at[1:]]
    seen = windows[tuple(index)]
    grouped: np.ndarray = seen.reshape(len(seen), slot.groups, -1)
    return np.ascontiguousarray(grouped.transpose(1, 0, 2))


def _drawn(count: int, most: int, random: np.random.Generator) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    return np.sort(random.choice(count, most, replace=False))


def _windows(node: ir.Node, x: np.ndarray, kernel: list[int]) -> np.ndarray:
    """(n, in, output size ..., kernel ...), a view of the padded input."""
    n = len(kernel)
    strides = list(node.attributes.get_ints("strides") or [1] * n)
    dilations = list(node.attributes.get_ints("dilations") or [1] * n)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *_pads(node, x.shape[2:], reach, strides)])
    windows = sliding_window_view(padded, reach, axis=tuple(range(2, 2 + n)))
    places = [slice(None, None, s) for s in strides]
    inside = [slice(None, None, d) for d in dilations]
    return np.asarray(windows[(slice(None), slice(None), *places, *inside)])


def _pads(
    node: ir.Node, size: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Before and after, along each axis."""
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    n = len(size)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return same_padding(size, reach, strides, lower=auto == "SAME_LOWER")
    given = (
        list(node.attributes.get_ints("pads") or [0] * 2 * n) if auto != "VALID" else [0] * 2 * n
    )
    return list(zip(given[:n], given[n:], strict=True))
