"""How channels pass through operators that keep them apart: elementwise, norms, pooling."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelcheck.model.channels.layers import along
from modelcheck.model.channels.trace import Atoms, Trace
from modelcheck.model.static import Static, ints


def pin_inputs(node: ir.Node, trace: Trace, static: Static) -> None:
    """What an operator unknown here does with its channels is unknown: they keep their places."""
    for value in node.inputs:
        trace.pin(value)


def unary(node: ir.Node, trace: Trace, static: Static) -> None:
    """One value made of one value, element by element; other inputs are bounds and the like."""
    for value in node.inputs[1:]:
        trace.pin(value)
    layout = trace.layout(node.inputs[0])
    if layout is not None:
        trace.layouts[node.outputs[0]] = trace.follow([layout])


def first_output_only(node: ir.Node, trace: Trace, static: Static) -> None:
    """Unary, unless a second output (a mask, indices, statistics) is used."""
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        pin_inputs(node, trace, static)
    else:
        unary(node, trace, static)


def quantizer(node: ir.Node, trace: Trace, static: Static) -> None:
    """QuantizeLinear and DequantizeLinear with one scale for all channels."""
    dims = [static.dims(v) for v in node.inputs[1:] if v is not None]
    if all(d is not None and set(d) <= {1} for d in dims):
        unary(node, trace, static)
    else:
        pin_inputs(node, trace, static)


def spatial(node: ir.Node, trace: Trace, static: Static) -> None:
    """Windows and resampling over axes 2 and up; batch and channels are kept."""
    layout = trace.layout(node.inputs[0])
    if layout is not None and max(layout.shape[2:], default=1) > 1:
        trace.pin(node.inputs[0])
    else:
        first_output_only(node, trace, static)


def resize(node: ir.Node, trace: Trace, static: Static) -> None:
    """Resize and Upsample, which must not scale or crop the channels."""
    dims, out = static.dims(node.inputs[0]), static.dims(node.outputs[0])
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    grows = dims and out and None not in (dims[1], out[1]) and dims[1] != out[1]
    if grows or mode == "tf_crop_and_resize":
        pin_inputs(node, trace, static)
    else:
        spatial(node, trace, static)


def pad(node: ir.Node, trace: Trace, static: Static) -> None:
    """Pad along axes that carry no channels."""
    layout, pads = trace.layout(node.inputs[0]), ints(node, "pads", 1, static)
    if layout is None:
        return
    given = len(node.inputs) > 3 and node.inputs[3] is not None
    axes = ints(node, "axes", 3, static) if given else list(range(layout.ndim))
    if pads is None or axes is None or len(pads) != 2 * len(axes):
        pin_inputs(node, trace, static)
        return
    for i, axis in enumerate(axes):
        if layout.shape[axis] > 1 and (pads[i] or pads[i + len(axes)]):
            pin_inputs(node, trace, static)
            return
    unary(node, trace, static)


def across(node: ir.Node, trace: Trace, static: Static) -> None:
    """ArgMax, CumSum, LRN and others that mix along one axis, in order: not along channels."""
    layout = trace.layout(node.inputs[0])
    default = {"LRN": 1, "Hardmax": -1, "TopK": -1}.get(node.op_type, 0)
    axis = node.attributes.get_int("axis", default)
    if node.op_type == "CumSum":
        array = static.constant(node.inputs[1])
        axis = 0 if array is None else int(array.reshape(-1)[0])
    if layout is None or layout.shape[axis] > 1 or node.op_type in ("CumSum", "TopK"):
        pin_inputs(node, trace, static)
    elif node.attributes.get_int("keepdims", 1) == 0:
        trace.layouts[node.outputs[0]] = trace.follow([layout]).squeeze(axis)
    else:
        unary(node, trace, static)


def reduce(node: ir.Node, trace: Trace, static: Static) -> None:
    """Reductions are symmetric: over channels they end them, over other axes they keep them."""
    layout, axes = trace.layout(node.inputs[0]), ints(node, "axes", 1, static)
    if layout is None:
        return
    computed = len(node.inputs) > 1 and node.inputs[1] is not None and axes is None
    if not axes and (computed or node.attributes.get_int("noop_with_empty_axes", 0) == 1):
        pin_inputs(node, trace, static)
        return
    gone = {a % layout.ndim for a in axes or range(layout.ndim)}
    ended = [a for a in gone if layout.shape[a] > 1]
    if not ended:
        out = trace.follow([layout])
        keep = node.attributes.get_int("keepdims", 1)
        trace.layouts[node.outputs[0]] = out if keep else out.squeeze(tuple(gone))
    elif max(d for a, d in enumerate(layout.shape) if a not in gone or d == 1) > 1:
        pin_inputs(node, trace, static)  # a grid of channels, summed along one of its axes


def channel_norm(node: ir.Node, trace: Trace, static: Static) -> None:
    """BatchNormalization and InstanceNormalization: parameters of shape (C,) along axis 1."""
    layout = trace.layout(node.inputs[0])
    if layout is None:
        return
    x = along(layout, 1)
    parameters = [static.constant(v) for v in node.inputs[1:]]
    used = any(v.uses() or v.is_graph_output() for v in node.outputs[1:])
    if x is None or used or any(p is None or p.shape != x.shape for p in parameters):
        pin_inputs(node, trace, static)
        return
    for index in range(1, len(node.inputs)):
        trace.edit(node, index, 0, x)
    trace.layouts[node.outputs[0]] = trace.follow([layout])


def layer_norm(node: ir.Node, trace: Trace, static: Static) -> None:
    """LayerNormalization: mean and variance are symmetric, scale and bias broadcast."""
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        pin_inputs(node, trace, static)
    else:
        broadcasting(node, trace, static)


def broadcasting(node: ir.Node, trace: Trace, static: Static) -> None:
    """Elementwise with broadcasting: layouts are tied to each other, constants are reordered."""
    layouts = {i: a for i, v in enumerate(node.inputs) if (a := trace.layout(v)) is not None}
    ranks = [len(d) for v in node.inputs if v is not None and (d := static.dims(v)) is not None]
    if not layouts:
        return
    known = len(ranks) == sum(v is not None for v in node.inputs)
    rank = max(ranks, default=0)
    wide = {i: a.reshape((1,) * (rank - a.ndim) + a.shape) for i, a in layouts.items()}
    shape = next(iter(wide.values())).shape
    if not known or any(a.shape != shape for a in wide.values()):
        pin_inputs(node, trace, static)
        return
    edits = []
    for index, value in enumerate(node.inputs):
        if value is None or index in layouts:
            continue
        axes = _met(static, value, shape)
        constant = static.constant(value)
        one_axis = len(axes) == 1 and max(shape) == np.prod(shape)
        if axes and (
            constant is None or not one_axis or _size(constant, axes[0], rank) != max(shape)
        ):
            pin_inputs(node, trace, static)
            return
        if axes and constant is not None:
            edits.append((index, axes[0] - rank + constant.ndim))
    out = trace.follow(list(wide.values()))
    for index, axis in edits:
        trace.edit(node, index, axis, out.reshape(-1))
    trace.layouts[node.outputs[0]] = out


def _met(static: Static, value: ir.Value, shape: tuple[int, ...]) -> list[int]:
    """The channel axes of `shape` along which an operand without channels is not of size 1."""
    dims = static.dims(value) or ()
    offset = len(shape) - len(dims)
    return [a for a, n in enumerate(shape) if n > 1 and a >= offset and dims[a - offset] != 1]


def _size(constant: Atoms, axis: int, rank: int) -> int:
    return int(constant.shape[axis - rank + constant.ndim])
