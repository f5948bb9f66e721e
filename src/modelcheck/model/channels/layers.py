"""How channels pass through layers with weights: the axis summed over ends, a new one begins."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelcheck.model.channels.trace import Atoms, Trace
from modelcheck.model.static import Static


def along(layout: Atoms | None, axis: int) -> Atoms | None:
    """The atoms along `axis`, when that is the only axis that carries channels."""
    if layout is None or layout.shape[axis] != layout.size:
        return None
    return layout.reshape(-1)


def on_axis(atoms: Atoms, axis: int, rank: int) -> Atoms:
    """The layout of a value of this rank with `atoms` along `axis`."""
    shape = [1] * rank
    shape[axis] = len(atoms)
    return atoms.reshape(shape)


def conv(node: ir.Node, trace: Trace, static: Static) -> None:
    """Conv: w (out, in/group, k...), b (out,). Groups keep their places, channels within move.

    Depthwise (in = group): output i*m + t belongs to input i, so the input's order is passed on.
    """
    w = static.constant(node.inputs[1])
    layout = trace.layout(node.inputs[0])
    x = along(layout, 1)
    groups = node.attributes.get_int("group", 1)
    if w is None or (layout is not None and (x is None or len(x) != w.shape[1] * groups)):
        trace.pin(node.inputs[0])
        return
    out = _outputs(trace, x, w.shape[0], groups, depthwise=w.shape[1] == 1)
    trace.edit(node, 1, 0, out)
    if x is not None and w.shape[1] > 1:
        trace.edit(node, 1, 1, x.reshape(groups, -1), groups)
    _finish(node, trace, static, out, 1 if w.shape[1] == 1 else groups)
    trace.layouts[node.outputs[0]] = on_axis(out, 1, w.ndim)


def conv_transpose(node: ir.Node, trace: Trace, static: Static) -> None:
    """ConvTranspose: w (in, out/group, k...), b (out,)."""
    w = static.constant(node.inputs[1])
    layout = trace.layout(node.inputs[0])
    x = along(layout, 1)
    groups = node.attributes.get_int("group", 1)
    if w is None or (layout is not None and (x is None or len(x) != w.shape[0])):
        trace.pin(node.inputs[0])
        return
    depthwise = w.shape[0] == groups
    out = _outputs(trace, x, w.shape[1] * groups, groups, depthwise=depthwise)
    if x is not None:
        trace.edit(node, 1, 0, x)
        for block, row in enumerate(x.reshape(groups, -1)):
            if not depthwise:
                trace.mark((id(node), "in", block), row)
    if not depthwise:
        trace.edit(node, 1, 1, out.reshape(groups, -1), groups)
    elif x is None:
        trace.pin_atoms(out)  # its channels are those of an input that cannot move
    _finish(node, trace, static, out, 1 if depthwise else groups)
    trace.layouts[node.outputs[0]] = on_axis(out, 1, w.ndim)


def _outputs(trace: Trace, x: Atoms | None, n: int, groups: int, *, depthwise: bool) -> Atoms:
    """Output atoms of a convolution; those of a depthwise one are tied to its input's."""
    if not depthwise or groups == 1:
        return trace.fresh(n)
    columns = [trace.fresh(groups) for _ in range(n // groups)]
    for column in columns:
        if x is None:
            trace.pin_atoms(column)
        else:
            trace.tie(column, x)
    return np.stack(columns, axis=1).reshape(-1)


def _finish(node: ir.Node, trace: Trace, static: Static, out: Atoms, blocks: int) -> None:
    """The bias, and the marks that keep each output channel within its block."""
    if blocks > 1:
        for block, row in enumerate(out.reshape(blocks, -1)):
            trace.mark((id(node), "out", block), row)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        if static.constant(node.inputs[2]) is None:
            trace.pin(node.inputs[2])
            trace.pin_atoms(out)
        else:
            trace.edit(node, 2, 0, out)


def gemm(node: ir.Node, trace: Trace, static: Static) -> None:
    """Gemm: a' (m, k) times w' (k, n) plus c, each transposed where the node says so."""
    w = static.constant(node.inputs[1])
    layout = trace.layout(node.inputs[0])
    x = along(layout, 0 if node.attributes.get_int("transA", 0) else 1)
    transposed = node.attributes.get_int("transB", 0)
    if w is None or w.ndim != 2 or (layout is not None and x is None):
        _pin_inputs(node, trace)
        return
    k_axis, n_axis = (1, 0) if transposed else (0, 1)
    if x is not None and len(x) != w.shape[k_axis]:
        _pin_inputs(node, trace)
        return
    out = trace.fresh(w.shape[n_axis])
    trace.edit(node, 1, n_axis, out)
    if x is not None:
        trace.edit(node, 1, k_axis, x)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        c = static.constant(node.inputs[2])
        if c is None:
            trace.pin(node.inputs[2])
            trace.pin_atoms(out)
        elif c.ndim and c.shape[-1] == len(out):
            trace.edit(node, 2, c.ndim - 1, out)
    trace.layouts[node.outputs[0]] = on_axis(out, 1, 2)


def matmul(node: ir.Node, trace: Trace, static: Static) -> None:
    """MatMul with a constant matrix on either side; other axes of the activation pass through."""
    arrays = [static.constant(v) for v in node.inputs]
    sides = [i for i, a in enumerate(arrays) if a is not None and a.ndim == 2]
    dims = static.dims(node.inputs[1 - sides[0]]) if len(sides) == 1 else None
    if dims is None or len(dims) < 2:
        _pin_inputs(node, trace)
        return
    side, rank = sides[0], len(dims)
    w = arrays[side]
    assert w is not None
    # x @ w sums over x's last axis and w's first; w @ x over x's last but one and w's last.
    axis, k_axis, n_axis = (rank - 1, 0, 1) if side == 1 else (rank - 2, 1, 0)
    layout = trace.layout(node.inputs[1 - side])
    x = along(layout, axis)
    if layout is not None and x is None and layout.shape[axis] == 1:
        trace.layouts[node.outputs[0]] = trace.follow([layout])
        return
    if layout is not None and (x is None or len(x) != w.shape[k_axis]):
        _pin_inputs(node, trace)
        return
    out = trace.fresh(w.shape[n_axis])
    trace.edit(node, side, n_axis, out)
    if x is not None:
        trace.edit(node, side, k_axis, x)
    trace.layouts[node.outputs[0]] = on_axis(out, axis, rank)


def _pin_inputs(node: ir.Node, trace: Trace) -> None:
    for value in node.inputs:
        trace.pin(value)
