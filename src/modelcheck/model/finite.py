"""No NaN in a network's constants, no infinity where it can only be damage.

NaN in a weight makes every answer NaN, and cv2.dnn's new engine turns that into a finite 3.4e38.
Infinity is at home in masks and in bounds of Clip; in the weights of a Conv, Gemm, MatMul or
BatchNormalization it is an overflow (most often of a float16 conversion).

The largest magnitude of IEEE numbers, taken as integers without their sign, tells in one pass: the
exponent is all ones in infinity, and anything beyond that is NaN. Block by block in cache, so that
a mapped gigabyte is read at memory speed and never copied.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from modelcheck.errors import InvalidInput, printable
from modelcheck.model.model import Model

_BLOCK_BYTES = 256 << 10  # stays in the second-level cache

# (sign off, exponent all ones) for 2, 4 and 8 bytes
_BITS: dict[int, tuple[type[np.unsignedinteger], int, int]] = {
    2: (np.uint16, 0x7FFF, 0x7C00),
    4: (np.uint32, 0x7FFF_FFFF, 0x7F80_0000),
    8: (np.uint64, 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000),
}

_WEIGHT_INPUTS = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (0, 1, 2), "MatMul": (0, 1),
    "BatchNormalization": (1, 2, 3, 4),
}  # fmt: skip
# Operators that hand a weight on: a float16 weight comes through Cast, a quantized one through
# DequantizeLinear.
_PASS_ON = frozenset({
    "Cast", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten",
    "DequantizeLinear",
})  # fmt: skip


def check_finite(model: Model) -> None:
    """Raise InvalidInput for NaN in any constant, or infinity in a weight."""
    where = printable(model.name)
    weights = _weights(model)
    for graph in _graphs(model):
        for name, value in graph.initializers.items():
            if value.const_value is not None and value.const_value.dtype.is_floating_point():
                place = f"{where}, initializer '{printable(name)}'"
                _check(value.const_value.numpy(), place, infinity=value not in weights)
    for node in _nodes(model):
        is_weight = node.op_type == "Constant" and node.outputs[0] in weights
        for attribute in node.attributes.values():
            for array in _arrays(attribute):
                title = printable(node.name or (node.outputs[0].name if node.outputs else "") or "")
                place = f"{where}, {printable(attribute.name)} of '{title}' ({node.op_type})"
                _check(array, place, infinity=not is_weight)


def first_non_finite(array: np.ndarray, *, infinity: bool) -> int | None:
    """The flat index of the first NaN; also of the first infinity when `infinity` is not accepted.

    array: float16, float32 or float64, contiguous; any alignment.
    """
    bits, magnitude, exponent = _BITS[array.dtype.itemsize]
    # As bytes: a payload inside a protobuf file starts anywhere, and NumPy's arithmetic on
    # unaligned arrays is slow, while a copy of a block into an aligned buffer is not.
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    buffer = np.empty(_BLOCK_BYTES // array.dtype.itemsize, bits)
    mask, limit = bits(magnitude), bits(exponent)
    for start in range(0, data.size, _BLOCK_BYTES):
        part = data[start : start + _BLOCK_BYTES]
        block = buffer[: part.size // array.dtype.itemsize]
        block.view(np.uint8)[:] = part
        block &= mask
        largest = block.max()
        if largest > limit or (largest == limit and not infinity):
            bad = block > limit if infinity else block >= limit
            return start // array.dtype.itemsize + int(bad.argmax())
    return None


def _check(array: np.ndarray, place: str, *, infinity: bool) -> None:
    if array.dtype.kind != "f":
        return
    at = first_non_finite(array, infinity=infinity)
    if at is None:
        return
    found = "NaN" if np.isnan(array.reshape(-1)[at]) else "infinity"
    index = [int(i) for i in np.unravel_index(at, array.shape)]
    raise InvalidInput(
        f"holds {found} at {index}", where=place,
        remedy="The training or a conversion (to float16?) overflowed; export it again.",
    )  # fmt: skip


def _graphs(model: Model) -> Iterator[ir.Graph]:
    yield model.graph
    yield from model.graph.subgraphs()
    for function in model.functions.values():
        yield from function.subgraphs()


def _nodes(model: Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _arrays(attribute: ir.Attr) -> Iterator[np.ndarray]:
    """The floating-point numbers of an attribute."""
    if attribute.is_ref():
        return
    if attribute.type == ir.AttributeType.TENSOR:
        yield attribute.as_tensor().numpy()
    elif attribute.type == ir.AttributeType.TENSORS:
        yield from (tensor.numpy() for tensor in attribute.as_tensors())
    elif attribute.type == ir.AttributeType.FLOAT:
        yield np.array(attribute.as_float(), np.float32)
    elif attribute.type == ir.AttributeType.FLOATS:
        yield np.array(attribute.as_floats(), np.float32)


def _weights(model: Model) -> set[ir.Value]:
    """The values that end as weights, together with those they are made of."""
    found: set[ir.Value] = set()
    for node in _nodes(model):
        if node.domain:
            continue
        for index in _WEIGHT_INPUTS.get(node.op_type, ()):
            value = node.inputs[index] if index < len(node.inputs) else None
            while value is not None and value not in found:
                found.add(value)
                maker = value.producer()
                value = maker.inputs[0] if maker and maker.op_type in _PASS_ON else None
    return found
