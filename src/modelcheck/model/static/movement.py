"""Shape rules of the operators that move elements about."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from modelcheck.model.static.dims import Dims, Known, Rule, broadcast, ints, product


def _flatten(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    axis = node.attributes.get_int("axis", 1)
    if x is None:
        return [(None, None)]
    axis += len(x) if axis < 0 else 0
    return [(product(x[:axis]), product(x[axis:]))]


def _reshape(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    target = ints(node, "shape", 1, known)
    if target is None:
        shape_dims = dims[1] if len(dims) > 1 else None
        return [(None,) * shape_dims[0]] if shape_dims and shape_dims[0] is not None else [None]
    out: list[int | None] = []
    for i, d in enumerate(target):
        copy = d == 0 and not node.attributes.get_int("allowzero", 0)
        out.append(x[i] if copy and x is not None else None if copy or d < 0 else d)
    if -1 in target and x is not None:
        at = target.index(-1)
        # Dimensions copied by 0 cancel out, known or not.
        copied = [i for i, d in enumerate(target) if d == 0]
        total = product(d for i, d in enumerate(x) if i not in copied)
        rest = product(d for i, d in enumerate(out) if i != at and i not in copied)
        out[at] = total // rest if total is not None and rest else None
    return [tuple(out)]


def _transpose(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    if x is None:
        return [None]
    perm = node.attributes.get_ints("perm") or range(len(x) - 1, -1, -1)
    return [tuple(x[i] for i in perm)]


def _squeeze(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, axes = dims[0], ints(node, "axes", 1, known)
    if x is None or (axes is None and (len(node.inputs) > 1 or None in x)):
        return [None]
    drop = (
        {a % len(x) for a in axes} if axes is not None else {i for i, d in enumerate(x) if d == 1}
    )
    return [tuple(d for i, d in enumerate(x) if i not in drop)]


def _unsqueeze(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, axes = dims[0], ints(node, "axes", 1, known)
    if x is None or axes is None:
        return [None]
    rank = len(x) + len(axes)
    new = {a % rank for a in axes}
    rest = iter(x)
    return [tuple(1 if i in new else next(rest) for i in range(rank))]


def _concat(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    given = [d for d in dims if d is not None]
    if not given:
        return [None]
    rank = len(given[0])
    axis = node.attributes.get_int("axis", 1) % rank
    out: list[int | None] = []
    for i in range(rank):
        column = [d[i] for d in given]
        if i == axis:
            lengths = [d for d in column if d is not None]
            out.append(sum(lengths) if len(lengths) == len(dims) else None)
        else:
            out.append(next((d for d in column if d is not None), None))
    return [tuple(out)]


def _slice(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    if x is None:
        return [None]
    starts, ends = ints(node, "starts", 1, known), ints(node, "ends", 2, known)
    axes = ints(node, "axes", 3, known)
    steps = ints(node, "steps", 4, known)
    if starts is None or ends is None or (axes is None and len(node.inputs) > 3):
        return [(None,) * len(x)]
    axes = [a % len(x) for a in (axes or range(len(starts)))]
    steps = steps or [1] * len(starts)
    out = list(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x[axis]
        stop = None if step < 0 and size is not None and end < -size else end
        out[axis] = None if size is None else len(range(size)[start:stop:step])
    return [tuple(out)]


def _split(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    if x is None:
        return [None] * len(node.outputs)
    axis = node.attributes.get_int("axis", 0) % len(x)
    lengths: Sequence[int | None] | None = ints(node, "split", 1, known)
    if lengths is None:
        size, n = x[axis], len(node.outputs)
        even = size is not None and len(node.inputs) < 2 and size % n == 0
        lengths = [size // n if even and size is not None else None] * n
    return [(*x[:axis], length, *x[axis + 1 :]) for length in lengths]


def _gather(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, indices = dims[0], dims[1]
    if x is None or indices is None:
        return [None]
    axis = node.attributes.get_int("axis", 0) % len(x)
    return [(*x[:axis], *indices, *x[axis + 1 :])]


def _pad(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, pads = dims[0], ints(node, "pads", 1, known)
    axes = ints(node, "axes", 3, known)
    if x is None:
        return [None]
    if pads is None or (axes is None and len(node.inputs) > 3 and node.inputs[3] is not None):
        return [(None,) * len(x)]
    places = [a % len(x) for a in (axes if axes is not None else range(len(x)))]
    out = list(x)
    for i, axis in enumerate(places):
        size = x[axis]
        out[axis] = None if size is None else size + pads[i] + pads[i + len(places)]
    return [tuple(out)]


def _expand(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    target = known.constant(node.inputs[1])
    return [None if target is None else broadcast([dims[0], tuple(int(t) for t in target)])]


def _of_shape(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    target = known.constant(node.inputs[0])
    return [None if target is None else tuple(int(t) for t in target)]


def _tile(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, repeats = dims[0], known.constant(node.inputs[1])
    if x is None or repeats is None:
        return [None if x is None else (None,) * len(x)]
    return [tuple(None if d is None else d * int(r) for d, r in zip(x, repeats, strict=True))]


def _shape(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    return [None if dims[0] is None else (len(dims[0]),)]


def _constant(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    array = known.constant(node.outputs[0])
    return [None if array is None else array.shape]


def _blocks(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, b = dims[0], node.attributes.get_int("blocksize")
    if x is None or None in x:
        return [None if x is None else (x[0], None, None, None)]
    n, c, h, w = (int(d or 0) for d in x)
    if node.op_type == "DepthToSpace":
        return [(n, c // (b * b), h * b, w * b)]
    return [(n, c * b * b, h // b, w // b)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
