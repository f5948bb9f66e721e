"""Constants by evaluation: Constant nodes, movements of weights, arithmetic on shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir


def constant_node(node: ir.Node) -> np.ndarray | None:
    for name, attribute in node.attributes.items():
        if name == "value":
            return attribute.as_tensor().numpy()
        if name in ("value_int", "value_ints"):
            return np.array(attribute.value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.array(attribute.value, np.float32)
    return None


def _axes(node: ir.Node, rest: Sequence[np.ndarray | None]) -> tuple[int, ...] | None:
    given = node.attributes.get_ints("axes", None)
    if given is None and rest and rest[0] is not None:
        given = [int(i) for i in rest[0].reshape(-1)]
    return None if given is None else tuple(given)


def _reshape(node: ir.Node, x: np.ndarray, rest: Sequence[np.ndarray | None]) -> np.ndarray:
    target = node.attributes.get_ints("shape", None)
    if target is None:
        if not rest or rest[0] is None:
            raise ValueError("the target shape is not constant")
        target = [int(d) for d in rest[0]]
    if not node.attributes.get_int("allowzero", 0):
        target = [x.shape[i] if d == 0 else d for i, d in enumerate(target)]
    return x.reshape(target)


def _unsqueeze(node: ir.Node, x: np.ndarray, rest: Sequence[np.ndarray | None]) -> np.ndarray:
    axes = _axes(node, rest)
    if axes is None:
        raise ValueError("the axes are not constant")
    return np.expand_dims(x, axes)


def _cast(node: ir.Node, x: np.ndarray, rest: Sequence[np.ndarray | None]) -> np.ndarray:
    return x.astype(ir.DataType(node.attributes["to"].as_int()).numpy())


# Movements and casts of one array: evaluated on demand, for weights of any size.
MOVEMENTS: dict[str, Callable[..., np.ndarray]] = {
    "Identity": lambda node, x, rest: x,
    "Cast": _cast,
    "Transpose": lambda node, x, rest: x.transpose(node.attributes.get_ints("perm", None)),
    "Reshape": _reshape,
    "Squeeze": lambda node, x, rest: np.squeeze(x, _axes(node, rest)),
    "Unsqueeze": _unsqueeze,
}


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # ONNX divides integers like C: towards zero.
    return np.trunc(a / b).astype(a.dtype) if a.dtype.kind in "iu" else np.asarray(a / b)


def _slice(node: ir.Node, arrays: Sequence[np.ndarray | None]) -> np.ndarray:
    x = arrays[0]
    assert x is not None
    names = ("starts", "ends", "axes", "steps")
    parts: list[Sequence[int] | None] = [node.attributes.get_ints(n, None) for n in names]
    for i, array in enumerate(arrays[1:]):
        parts[i] = None if array is None else [int(v) for v in array.reshape(-1)]
    starts, ends, axes, steps = parts
    assert starts is not None
    assert ends is not None
    index = [slice(None)] * x.ndim
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        step = steps[i] if steps else 1
        stop = None if step < 0 and end < -x.shape[axes[i] if axes else i] else end
        index[axes[i] if axes else i] = slice(start, stop, step)
    return x[tuple(index)]


def _product(node: ir.Node, x: np.ndarray, rest: Sequence[np.ndarray | None]) -> np.ndarray:
    axes = _axes(node, rest) or None
    keep = node.attributes.get_int("keepdims", 1)
    noop = node.attributes.get_int("noop_with_empty_axes", 0)
    if axes is None and noop:
        return x
    return np.asarray(np.prod(x, axes, keepdims=bool(keep)))


def _on_first(move: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda node, arrays: move(node, arrays[0], arrays[1:])


ARITHMETIC: dict[str, Callable[..., np.ndarray]] = {
    "Add": lambda node, a: a[0] + a[1],
    "Sub": lambda node, a: a[0] - a[1],
    "Mul": lambda node, a: a[0] * a[1],
    "Div": lambda node, a: _divide(a[0], a[1]),
    "Floor": lambda node, a: np.floor(a[0]),
    "Ceil": lambda node, a: np.ceil(a[0]),
    "Gather": lambda node, a: np.take(a[0], a[1], axis=node.attributes.get_int("axis", 0)),
    "Concat": lambda node, a: np.concatenate(a, axis=node.attributes.get_int("axis")),
    "Slice": _slice,
    "ReduceProd": _on_first(_product),
    "Range": lambda node, a: np.arange(a[0], a[1], a[2]),
    **{op: _on_first(move) for op, move in MOVEMENTS.items()},
}
