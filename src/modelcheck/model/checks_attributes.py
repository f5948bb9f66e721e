"""Attribute values that crash native code, and targets that ask for terabytes.

cv2 5.0 dies on a stride of 0 that onnx's plain checker lets through, and a Tile with a hostile
constant allocates whatever it says. Only what is constant is judged here; shape inference, in its
child process, sees the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx

from modelcheck.errors import InvalidInput, printable
from modelcheck.model.checks_names import call_id, domain_of
from modelcheck.model.checks_values import Body, Shape

# More elements than this in one tensor are an attack or a mistake: 8 GiB of float32.
MAX_ELEMENTS = 2**31
_INT32_MAX = 2**31 - 1

_AT_LEAST_ONE = frozenset(
    ("strides", "dilations", "kernel_shape", "group", "num_groups", "blocksize")
)
_CONVOLUTIONS = frozenset(("Conv", "ConvTranspose", "ConvInteger", "QLinearConv"))

# Operators whose attribute `axis` counts dims of the first input.
_AXIS = frozenset({
    "Softmax", "LogSoftmax", "Hardmax", "Flatten", "Concat", "Split", "Gather", "GatherElements",
    "ScatterElements", "Scatter", "ArgMax", "ArgMin", "TopK", "LayerNormalization",
    "LpNormalization", "Compress",
})  # fmt: skip
# Operators whose axes are the attribute `axes`, or in later opsets the input of this index.
_AXES_INPUT = {
    "ReduceMax": 1, "ReduceMin": 1, "ReduceMean": 1, "ReduceSum": 1, "ReduceProd": 1,
    "ReduceL1": 1, "ReduceL2": 1, "ReduceLogSum": 1, "ReduceLogSumExp": 1, "ReduceSumSquare": 1,
    "Squeeze": 1, "Slice": 3, "CumSum": 1, "Pad": 3,
}  # fmt: skip


def check_attributes(node: onnx.NodeProto, body: Body) -> None:
    """Raise InvalidInput for a value that no runtime can honour."""
    if domain_of(node) not in ("", "com.microsoft") or call_id(node) in body.functions:
        return
    for attribute in node.attribute:
        if attribute.name in _AT_LEAST_ONE and not attribute.ref_attr_name:
            _check_positive(attribute, node, body)
    if domain_of(node) == "":
        if node.op_type in _CONVOLUTIONS:
            _check_kernel(node, body)
        _check_axes(node, body)
        if node.op_type in _TARGETS:
            _check_target(node, body)


def _check_positive(attribute: onnx.AttributeProto, node: onnx.NodeProto, body: Body) -> None:
    single = attribute.type == onnx.AttributeProto.INT
    values = [attribute.i] if single else list(attribute.ints)
    if any(not 1 <= value <= _INT32_MAX for value in values):
        shown = values[0] if single else values
        raise _invalid(
            node, body, f"has {attribute.name} {printable(str(shown))}; it must be 1 or more"
        )


def _check_kernel(node: onnx.NodeProto, body: Body) -> None:
    """The weight (out, in/group, kh, kw) agrees with kernel_shape and group."""
    at = 3 if node.op_type == "QLinearConv" else 1
    weight = body.shape(node.input[at]) if len(node.input) > at else None
    if weight is None:
        return
    kernel = weight[2:]
    if len(weight) < 3 or 0 in kernel:
        raise _invalid(node, body, f"has a weight of shape {list(weight)}: no kernel")
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            continue
        if attribute.name == "kernel_shape" and not _agree(kernel, attribute.ints):
            raise _invalid(
                node, body,
                f"has kernel_shape {list(attribute.ints)}, but a weight of shape {list(weight)}",
            )  # fmt: skip
        # (out, in/group, ...) for a convolution, (in, out/group, ...) for a transposed one
        channels = weight[0]
        if attribute.name == "group" and channels is not None and channels % attribute.i:
            raise _invalid(
                node,
                body,
                f"has group {attribute.i}, which does not divide its {channels} channels",
            )


def _agree(known: Shape, given: Sequence[int]) -> bool:
    return len(known) == len(given) and all(
        k is None or k == g for k, g in zip(known, given, strict=True)
    )


def _check_axes(node: onnx.NodeProto, body: Body) -> None:
    op_type = node.op_type
    attributes = {a.name: a for a in node.attribute if not a.ref_attr_name}
    if op_type == "Transpose" and "perm" in attributes:
        _check_perm(list(attributes["perm"].ints), node, body)
    elif op_type in _AXIS and "axis" in attributes and node.input:
        extra = 1 if op_type == "Flatten" else 0
        _check_range([attributes["axis"].i], _rank(node.input[0], body), extra, node, body)
    elif op_type in _AXES_INPUT and node.input:
        axes = _axes(node, attributes, _AXES_INPUT[op_type], body)
        _check_range(axes, _rank(node.input[0], body), 0, node, body)
    elif op_type == "Unsqueeze" and node.input:
        axes = _axes(node, attributes, 1, body)
        rank = _rank(node.input[0], body)
        _check_range(axes, None if rank is None else rank + len(axes), 0, node, body)


def _axes(
    node: onnx.NodeProto, attributes: dict[str, onnx.AttributeProto], index: int, body: Body
) -> list[int]:
    if "axes" in attributes:
        return list(attributes["axes"].ints)
    if len(node.input) > index and node.input[index]:
        constant = body.constant(node.input[index])
        if constant is not None and constant.dtype.kind == "i":
            return [int(axis) for axis in constant.reshape(-1)]
    return []


def _check_range(
    axes: Sequence[int], rank: int | None, extra: int, node: onnx.NodeProto, body: Body
) -> None:
    for axis in axes:
        if rank and not -rank <= axis < rank + extra:
            raise _invalid(node, body, f"has axis {axis}, but its input has {rank} dims")


def _check_perm(perm: list[int], node: onnx.NodeProto, body: Body) -> None:
    rank = _rank(node.input[0], body) if node.input else None
    if sorted(perm) != list(range(len(perm))) or (rank is not None and rank != len(perm)):
        dims = f"an input of {rank} dims" if rank is not None else "its dims"
        raise _invalid(node, body, f"has perm {printable(str(perm))}, no order of {dims}")


def _rank(name: str, body: Body) -> int | None:
    shape = body.shape(name)
    return None if shape is None else len(shape)


def _check_target(node: onnx.NodeProto, body: Body) -> None:
    elements = _TARGETS[node.op_type](node, body)
    if elements > MAX_ELEMENTS:
        raise _invalid(
            node, body,
            f"asks for a tensor of {elements:.1e} elements; at most {MAX_ELEMENTS:,} are accepted",
        )  # fmt: skip


def _constant(node: onnx.NodeProto, index: int, body: Body) -> list[float]:
    """The numbers of a constant input; [] when it is absent, computed or not finite."""
    if len(node.input) <= index or not node.input[index]:
        return []
    constant = body.constant(node.input[index])
    if constant is None or constant.dtype.kind not in "iuf":
        return []
    return [float(x) for x in constant.reshape(-1)] if np.isfinite(constant).all() else []


def _known_dims(node: onnx.NodeProto, body: Body) -> list[int]:
    """The dims of the first input, free ones as 1: the least it can be."""
    shape = body.shape(node.input[0]) if node.input else None
    return [1 if d is None else d for d in shape or ()]


def _product(values: Sequence[float]) -> float:
    return math.prod(abs(v) for v in values if v > 0)


def _shape_input(node: onnx.NodeProto, body: Body) -> float:
    attribute = next((a for a in node.attribute if a.name == "shape"), None)
    if attribute is not None:  # Reshape in opset 1
        return _product([float(x) for x in attribute.ints])
    return _product(_constant(node, 0 if node.op_type == "ConstantOfShape" else 1, body))


def _tile(node: onnx.NodeProto, body: Body) -> float:
    return _product(_constant(node, 1, body)) * _product(_known_dims(node, body))


def _resize(node: onnx.NodeProto, body: Body) -> float:
    """Resize(X, roi, scales, sizes) from opset 11, Resize or Upsample (X, scales) before."""
    sizes = _constant(node, 3, body)
    if sizes:
        return _product(sizes)
    late = node.op_type == "Resize" and body.opsets[""] >= 11
    scales = _constant(node, 2 if late else 1, body)
    for attribute in node.attribute:
        if attribute.name == "scales":  # Upsample in opset 7
            scales = list(attribute.floats)
    return _product(scales) * _product(_known_dims(node, body)) if scales else 0.0


def _range_length(node: onnx.NodeProto, body: Body) -> float:
    numbers = [_constant(node, i, body) for i in range(3)]
    if not all(numbers) or not numbers[2][0]:
        return 0.0
    start, limit, delta = (n[0] for n in numbers)
    return max(0.0, (limit - start) / delta)


def _pad(node: onnx.NodeProto, body: Body) -> float:
    pads = _constant(node, 1, body)
    for attribute in node.attribute:
        if attribute.name in ("pads", "paddings"):
            pads = [float(x) for x in attribute.ints]
    dims = _known_dims(node, body)
    if len(pads) != 2 * len(dims):
        return max(pads, default=0.0)
    return _product([d + a + b for d, a, b in zip(dims, pads, pads[len(dims) :], strict=False)])


_TARGETS: dict[str, Callable[[onnx.NodeProto, Body], float]] = {
    "Reshape": _shape_input,
    "Expand": _shape_input,
    "ConstantOfShape": _shape_input,
    "Tile": _tile,
    "Resize": _resize,
    "Upsample": _resize,
    "Range": _range_length,
    "Pad": _pad,
}


def _invalid(node: onnx.NodeProto, body: Body, what: str) -> InvalidInput:
    return InvalidInput(
        what, where=body.place(node), remedy="Correct the attribute, or export the model again."
    )
