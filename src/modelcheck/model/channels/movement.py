"""How channels pass through operators that move elements about: atoms move alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.model.channels.pointwise import pin_inputs, unary
from modelcheck.model.channels.trace import Atoms, Trace
from modelcheck.model.static import Dims, Static, ints

_MOST_ELEMENTS = 1 << 22  # of an activation whose elements are followed one by one


def identity(node: ir.Node, trace: Trace, static: Static) -> None:
    layout = trace.layout(node.inputs[0])
    if layout is not None:
        trace.layouts[node.outputs[0]] = layout


def nothing(node: ir.Node, trace: Trace, static: Static) -> None:
    """Shape and Size: the order of channels cannot be seen in them."""


def transpose(node: ir.Node, trace: Trace, static: Static) -> None:
    layout = trace.layout(node.inputs[0])
    if layout is not None:
        trace.layouts[node.outputs[0]] = layout.transpose(node.attributes.get_ints("perm", None))


def squeeze(node: ir.Node, trace: Trace, static: Static) -> None:
    layout, out = trace.layout(node.inputs[0]), static.dims(node.outputs[0])
    axes = ints(node, "axes", 1, static)
    if layout is None:
        return
    if axes is None and out is not None:
        dims = static.dims(node.inputs[0]) or ()
        axes = [i for i, d in enumerate(dims) if d == 1]
    if out is None or not axes or len(axes) != layout.ndim - len(out):
        pin_inputs(node, trace, static)
        return
    trace.layouts[node.outputs[0]] = layout.squeeze(tuple(axes))


def unsqueeze(node: ir.Node, trace: Trace, static: Static) -> None:
    layout, axes = trace.layout(node.inputs[0]), ints(node, "axes", 1, static)
    if layout is None:
        return
    if axes is None:
        pin_inputs(node, trace, static)
        return
    trace.layouts[node.outputs[0]] = np.expand_dims(layout, tuple(axes))


def concat(node: ir.Node, trace: Trace, static: Static) -> None:
    """Along the channels: one layout after the other. Along another axis: the layouts are tied."""
    layouts = [trace.layout(v) for v in node.inputs]
    dims = [static.dims(v) for v in node.inputs]
    first = next((a for a in layouts if a is not None), None)
    if first is None:
        return
    axis = node.attributes.get_int("axis", 1) % first.ndim
    lengths = [None if d is None else d[axis] for d in dims]
    parts: list[Atoms] = []
    tied = all(a is not None and a.shape == first.shape and a.shape[axis] == 1 for a in layouts)
    if tied:
        trace.layouts[node.outputs[0]] = trace.follow([a for a in layouts if a is not None])
        return
    for layout, length in zip(layouts, lengths, strict=True):
        if length is None or (layout is not None and layout.shape[axis] != layout.size):
            pin_inputs(node, trace, static)
            return
        if layout is not None:
            parts.append(layout.reshape(-1))
            continue
        fixed = trace.fresh(length)
        trace.pin_atoms(fixed)
        parts.append(fixed)
    shape = [1] * first.ndim
    shape[axis] = -1
    trace.layouts[node.outputs[0]] = np.concatenate(parts).reshape(shape)


def split(node: ir.Node, trace: Trace, static: Static) -> None:
    layout = trace.layout(node.inputs[0])
    if layout is None:
        return
    axis = node.attributes.get_int("axis", 0) % layout.ndim
    if layout.shape[axis] == 1:
        for value in node.outputs:
            trace.layouts[value] = trace.follow([layout])
        return
    dims = [static.dims(v) for v in node.outputs]
    lengths = [d[axis] for d in dims if d is not None and d[axis] is not None]
    if len(lengths) != len(dims) or _repeats(layout):
        pin_inputs(node, trace, static)
        return
    pieces = np.split(layout, np.cumsum([n or 0 for n in lengths])[:-1], axis)
    for value, piece in zip(node.outputs, pieces, strict=True):
        _keep_piece(trace, value, piece)


def slice_(node: ir.Node, trace: Trace, static: Static) -> None:
    layout = trace.layout(node.inputs[0])
    if layout is None:
        return
    starts, ends = ints(node, "starts", 1, static), ints(node, "ends", 2, static)
    axes, steps = ints(node, "axes", 3, static), ints(node, "steps", 4, static)
    computed = any(
        index < len(node.inputs) and node.inputs[index] is not None and found is None
        for index, found in ((1, starts), (2, ends), (3, axes), (4, steps))
    )
    axes = axes if axes is not None else list(range(len(starts or ())))
    cut = [i for i, a in enumerate(axes) if layout.shape[a] > 1]
    if computed or starts is None or ends is None or (cut and _repeats(layout)):
        pin_inputs(node, trace, static)
        return
    index = [slice(None)] * layout.ndim
    for i in cut:
        step = steps[i] if steps else 1
        n = layout.shape[axes[i]]
        index[axes[i]] = slice(starts[i], None if step < 0 and ends[i] < -n else ends[i], step)
    piece = layout[tuple(index)]
    if cut:
        _keep_piece(trace, node.outputs[0], piece)
    else:  # a cut through space alone makes other values of the same channels
        trace.layouts[node.outputs[0]] = trace.follow([piece])


def gather(node: ir.Node, trace: Trace, static: Static) -> None:
    """Constant indices: along the channels atoms are picked, along another axis they stay."""
    layout, indices = trace.layout(node.inputs[0]), static.constant(node.inputs[1])
    trace.pin(node.inputs[1])
    if layout is None:
        return
    axis = node.attributes.get_int("axis", 0) % layout.ndim
    if layout.shape[axis] == 1:
        dims = static.dims(node.inputs[1])
        if dims is None:
            pin_inputs(node, trace, static)
            return
        shape = (*layout.shape[:axis], *[1] * len(dims), *layout.shape[axis + 1 :])
        trace.layouts[node.outputs[0]] = trace.follow([layout]).reshape(shape)
    elif indices is None or _repeats(layout):
        pin_inputs(node, trace, static)
    else:
        _keep_piece(trace, node.outputs[0], np.take(layout, indices, axis))


def tile(node: ir.Node, trace: Trace, static: Static) -> None:
    """Tile and Expand, over axes that carry no channels."""
    layout, out = trace.layout(node.inputs[0]), static.dims(node.outputs[0])
    if layout is None:
        return
    wide = None if out is None else layout.reshape((1,) * (len(out) - layout.ndim) + layout.shape)
    kept = wide is not None and out is not None and all(
        n in (1, d) for n, d in zip(wide.shape, out, strict=True)
    )  # fmt: skip
    if wide is None or not kept:
        pin_inputs(node, trace, static)
        return
    trace.layouts[node.outputs[0]] = trace.follow([wide])


def reshape(node: ir.Node, trace: Trace, static: Static) -> None:
    """Reshape and Flatten, where it is known which element goes where."""
    layout = trace.layout(node.inputs[0])
    if layout is None:
        return
    dims, out = static.dims(node.inputs[0]), static.dims(node.outputs[0])
    # Leading dimensions that are equal by construction, although their size is not known.
    copied = 1 if node.op_type == "Flatten" and node.attributes.get_int("axis", 1) == 1 else 0
    target = ints(node, "shape", 1, static) if node.op_type == "Reshape" else None
    if target is not None and not node.attributes.get_int("allowzero", 0):
        copied = next((i for i, d in enumerate(target) if d != 0), len(target))
    moved = None if dims is None or out is None else _reshaped(layout, dims, out, copied)
    if moved is None:
        pin_inputs(node, trace, static)
    else:
        trace.layouts[node.outputs[0]] = moved


def _reshaped(layout: Atoms, dims: Dims, out: Dims, copied: int) -> Atoms | None:
    """The layout behind a row-major reshape from `dims` to `out`; None when it is not known.

    Equal leading and trailing dimensions keep their axes. What lies between is written out
    element by element, reshaped, and axes along which the atoms do not change collapse to 1.
    """
    head = _equal(dims, out, copied)
    rest = min(len(dims), len(out)) - head
    tail = min(rest, _equal(dims[::-1], out[::-1], 0))
    before, after = dims[head : len(dims) - tail], list(out[head : len(out) - tail])
    channels = layout.shape[head : layout.ndim - tail]
    shape_head, shape_tail = layout.shape[:head], layout.shape[layout.ndim - tail :]
    if max(channels, default=1) == 1:
        return layout.reshape((*shape_head, *[1] * len(after), *shape_tail))
    elements = math.prod(d or 0 for d in before)
    if None in before or elements > _MOST_ELEMENTS:
        return None
    if after.count(None) == 1:
        others = math.prod(d for d in after if d is not None)
        after[after.index(None)] = elements // others if others else 0
    middle = [d for d in after if d is not None]
    if len(middle) != len(after) or math.prod(middle) != elements:
        return None
    full = [n or 0 for n in before]
    moved = np.broadcast_to(layout, (*shape_head, *full, *shape_tail))
    moved = moved.reshape((*shape_head, *middle, *shape_tail))
    for axis in range(head, head + len(middle)):
        one = moved.take([0], axis)
        if np.array_equal(np.broadcast_to(one, moved.shape), moved):
            moved = one
    return moved


def _equal(a: Sequence[int | None], b: Sequence[int | None], copied: int) -> int:
    """How many leading dimensions are equal; the first `copied` are so by construction."""
    n = min(len(a), len(b))
    equal = (i < copied or (a[i] is not None and a[i] == b[i]) for i in range(n))
    return next((i for i, same in enumerate(equal) if not same), n)


def _keep_piece(trace: Trace, value: ir.Value, piece: Atoms) -> None:
    """A selection of channels: they stay within it, be it a single one."""
    trace.mark(("piece", id(value)), piece)
    trace.layouts[value] = piece


def _repeats(layout: Atoms) -> bool:
    """Whether an atom occurs twice: a cut through it would tell its occurrences apart."""
    return len(np.unique(layout)) < layout.size


__all__ = [
    "concat", "gather", "identity", "nothing", "reshape", "slice_", "split", "squeeze", "tile",
    "transpose", "unary", "unsqueeze",
]  # fmt: skip
