"""Tensors: dims, element type and data agree, whatever form the data have."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx

from modelcheck.errors import InvalidInput, Unsupported, printable
from modelcheck.model import wire

_T = onnx.TensorProto

ITEM_BYTES: dict[int, int] = {
    _T.FLOAT: 4, _T.DOUBLE: 8, _T.FLOAT16: 2, _T.BOOL: 1,
    _T.INT8: 1, _T.INT16: 2, _T.INT32: 4, _T.INT64: 8,
    _T.UINT8: 1, _T.UINT16: 2, _T.UINT32: 4, _T.UINT64: 8,
}  # fmt: skip

# Which typed field holds which element types (onnx.proto).
_TYPED = {
    "float_data": {_T.FLOAT},
    "double_data": {_T.DOUBLE},
    "int64_data": {_T.INT64},
    "uint64_data": {_T.UINT32, _T.UINT64},
    "int32_data": {_T.FLOAT16, _T.BOOL, _T.INT8, _T.INT16, _T.INT32, _T.UINT8, _T.UINT16},
    "string_data": {_T.STRING},
}

# What NumPy, onnxruntime and cv2 can count; a size of zero does not excuse the other dims.
_MAX_BYTES = 2**63 - 1
MAX_RANK = 32
_EXPORT_AGAIN = "Export the model again."
_COPY_AGAIN = "Copy or download the model again, or export it again."


def check_element_type(data_type: int, place: str) -> None:
    """Raise unless this is an element type that every stage of the house can hold."""
    if data_type in ITEM_BYTES:
        return
    if data_type == _T.UNDEFINED:
        raise InvalidInput("has no element type", where=place, remedy=_EXPORT_AGAIN)
    try:
        name = _T.DataType.Name(data_type).lower()
    except ValueError:
        raise InvalidInput(
            f"has the unknown element type {data_type}", where=place, remedy=_EXPORT_AGAIN
        ) from None
    raise Unsupported(
        f"has element type {name}, which cv2.dnn cannot run", where=place,
        remedy="Export the model in float32 (float16 and the integers of 8 to 64 bits also work).",
    )  # fmt: skip


def check_dims(dims: Sequence[int], item_bytes: int, place: str) -> None:
    """Raise when a shape cannot be one: negative, too many dims, or too large to count."""
    if any(d < 0 for d in dims):
        raise InvalidInput(
            f"has the negative dim {min(dims)} in {_shown(dims)}", where=place,
            remedy=_EXPORT_AGAIN,
        )  # fmt: skip
    if len(dims) > MAX_RANK:
        raise Unsupported(
            f"has {len(dims)} dims; cv2.dnn takes at most {MAX_RANK}", where=place,
            remedy="Reshape it to fewer dims.",
        )  # fmt: skip
    if math.prod(d for d in dims if d) * item_bytes > _MAX_BYTES:
        raise InvalidInput(
            f"has a shape too large to count: {_shown(dims)}", where=place, remedy=_EXPORT_AGAIN
        )


def byte_size(tensor: onnx.TensorProto, place: str) -> int:
    """The bytes that the data must have by dims and element type. Raises if these are wrong."""
    if tensor.data_type == _T.STRING:
        raise InvalidInput(
            "holds strings", where=place, remedy="Weights must be numbers; remove the text part."
        )
    check_element_type(tensor.data_type, place)
    item_bytes = ITEM_BYTES[tensor.data_type]
    check_dims(tensor.dims, item_bytes, place)
    return int(math.prod(tensor.dims)) * item_bytes


def check_tensor(
    tensor: onnx.TensorProto, place: str, *, payload: int | None = None, deferred: bool = False
) -> None:
    """Raise unless the tensor holds exactly the data that its shape asks for.

    `payload` is the size in bytes of raw data that were taken out of the message; `deferred`
    accepts a large tensor without data (a skeleton's).
    """
    expected = byte_size(tensor, place)
    if tensor.HasField("segment"):
        raise Unsupported(
            "is stored in segments", where=place, remedy="Save the model with onnx.save."
        )
    if tensor.data_location == _T.EXTERNAL:
        raise InvalidInput(
            "has its data in another file", where=place,
            remedy="Load the model from its path, beside its data file.",
        )  # fmt: skip
    typed = [name for name in _TYPED if len(getattr(tensor, name))]
    raw = payload is not None or tensor.HasField("raw_data")
    if raw + len(typed) > 1:
        names = [*typed, "raw_data"] if raw else typed
        raise InvalidInput(
            f"has both {' and '.join(names)}", where=place,
            remedy="Export the model again; only one of the two can be meant.",
        )  # fmt: skip
    if typed and tensor.data_type not in _TYPED[typed[0]]:
        raise InvalidInput(
            f"has {typed[0]}, but its element type is {_T.DataType.Name(tensor.data_type).lower()}",
            where=place, remedy=_EXPORT_AGAIN,
        )  # fmt: skip
    if not raw and not typed and deferred and expected >= wire.INLINE_BYTES:
        return
    if typed:
        actual = len(getattr(tensor, typed[0])) * ITEM_BYTES[tensor.data_type]
    else:
        actual = payload if payload is not None else len(tensor.raw_data)
    if actual != expected:
        found = "no data" if not actual else f"{actual:,} bytes of data"
        raise InvalidInput(
            f"has {found}, but its shape {_shown(tensor.dims)} takes {expected:,}",
            where=place, remedy=_COPY_AGAIN,
        )  # fmt: skip


def check_sparse(tensor: onnx.SparseTensorProto, place: str) -> None:
    """Raise: InvalidInput when it is wrong, Unsupported otherwise."""
    check_tensor(tensor.values, f"{place}, values")
    check_tensor(tensor.indices, f"{place}, indices")
    check_dims(tensor.dims, ITEM_BYTES[tensor.values.data_type], place)
    count = math.prod(tensor.values.dims)
    if tensor.indices.data_type != _T.INT64 or len(tensor.values.dims) != 1:
        raise InvalidInput(
            "is sparse, with values or indices of the wrong kind", where=place, remedy=_EXPORT_AGAIN
        )
    indices = onnx.numpy_helper.to_array(tensor.indices)
    if indices.shape == (count,):
        limits = [math.prod(tensor.dims)]
        columns = [indices]
    elif indices.shape == (count, len(tensor.dims)):
        limits = list(tensor.dims)
        columns = list(indices.T)
    else:
        raise InvalidInput(
            f"is sparse with {count} values, but indices of shape {list(indices.shape)}",
            where=place, remedy=_EXPORT_AGAIN,
        )  # fmt: skip
    for limit, column in zip(limits, columns, strict=True):
        if column.size and (column.min() < 0 or column.max() >= limit):
            raise InvalidInput(
                f"is sparse, with an index outside its shape {_shown(tensor.dims)}", where=place,
                remedy=_EXPORT_AGAIN,
            )  # fmt: skip
    raise Unsupported("is sparse", where=place, remedy="Store it as a dense initializer.")


def check_value_type(value: onnx.ValueInfoProto, place: str, *, boundary: bool) -> None:
    """Raise when a value's declared type is wrong; at a graph's `boundary` also when it is missing.

    A dim of -1 is how some exporters write a free one.
    """
    kind = value.type.WhichOneof("value")
    if kind == "tensor_type":
        tensor_type = value.type.tensor_type
        if boundary or tensor_type.elem_type:
            check_element_type(tensor_type.elem_type, place)
        dims = [d.dim_value for d in tensor_type.shape.dim if d.WhichOneof("value") == "dim_value"]
        check_dims([d for d in dims if d != -1], ITEM_BYTES.get(tensor_type.elem_type, 1), place)
    elif kind is None and boundary:
        raise InvalidInput("has no type", where=place, remedy=_EXPORT_AGAIN)
    elif kind is not None and (boundary or kind in ("map_type", "opaque_type")):
        raise Unsupported(
            f"is a {kind.removesuffix('_type')}; only tensors enter and leave a network",
            where=place, remedy="Export the network alone, without what prepares or decodes it.",
        )  # fmt: skip


def _shown(dims: Sequence[int]) -> str:
    return printable(str(list(dims)))
