"""Where the weights lie inside an ONNX file, found without copying them.

Protobuf's own parser copies every weight, twice over for a file that it reads itself. A gate that
edits a 1 GB model in little more than 1 GB must not do that, so this walks the wire format just
deep enough to tell weights from graph:

    ModelProto.graph = 7,  GraphProto.initializer = 5,  TensorProto.raw_data = 9

`split` returns the file without its large raw_data (a skeleton that protobuf then parses in
kilobytes) and the place of each payload. `join` is its inverse and streams to a file. Fields of a
protobuf message may stand in any order, so both keep a file's meaning.

Source: protobuf encoding specification; onnx.proto3 of ONNX 1.23.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from modelcheck.errors import InvalidInput
from modelcheck.model.deferred import Weights

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Below this a payload stays in the skeleton: finding it costs more than copying it.
INLINE_BYTES = 1024
PLACEHOLDER = "modelcheck:payload"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: its number, wire type, and the span of its content."""

    number: int
    wire_type: int
    start: int  # of the tag
    content: int
    end: int


@dataclass(frozen=True, slots=True)
class Split:
    """A model file taken apart. `payloads[i]` is the raw_data of the i-th initializer, if large."""

    skeleton: bytes
    payloads: Mapping[int, memoryview]


def split(data: memoryview) -> Split:
    """Separate the large payloads of top-level initializers from everything else.

    Raises InvalidInput when the bytes are not a protobuf message, or end early.
    """
    skeleton = bytearray()
    payloads: dict[int, memoryview] = {}
    index = 0
    for field in fields(data, 0, len(data)):
        if field.number != _GRAPH or field.wire_type != _BYTES:
            skeleton += data[field.start : field.end]
            continue
        graph = bytearray()
        for part in fields(data, field.content, field.end):
            if part.number == _INITIALIZER and part.wire_type == _BYTES:
                tensor, payload = _split_tensor(data, part)
                graph += _tag(_INITIALIZER, _BYTES) + _varint(len(tensor)) + tensor
                if payload is not None:
                    payloads[index] = payload
                index += 1
            else:
                graph += data[part.start : part.end]
        skeleton += _tag(_GRAPH, _BYTES) + _varint(len(graph)) + graph
    return Split(bytes(skeleton), payloads)


def join(
    skeleton: onnx.ModelProto,
    payloads: Weights,
    write: Callable[[bytes | memoryview], object],
) -> None:
    """Write a model whose initializers named in `payloads` carry no data in the skeleton."""
    outer = onnx.ModelProto()
    outer.CopyFrom(skeleton)
    graph = outer.graph
    large = [t for t in graph.initializer if t.name in payloads]
    small = [t for t in graph.initializer if t.name not in payloads]
    del graph.initializer[:]
    graph.initializer.extend(small)
    # Sizes come from the skeleton: a deferred payload is computed only while it is written.
    sizes = [_payload_bytes(t) for t in large]
    heads = [_initializer_head(t, size) for t, size in zip(large, sizes, strict=True)]
    graph_bytes = graph.SerializeToString(deterministic=True)
    outer.ClearField("graph")
    length = len(graph_bytes) + sum(map(len, heads)) + sum(sizes)
    write(outer.SerializeToString(deterministic=True))
    write(_tag(_GRAPH, _BYTES) + _varint(length) + graph_bytes)
    for head, tensor in zip(heads, large, strict=True):
        write(head)
        for piece in payloads.pieces(tensor.name):
            write(little_endian(piece))


def little_endian(array: np.ndarray) -> memoryview:
    """The array's bytes as ONNX stores them, without a copy on little-endian machines."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.astype(flat.dtype.newbyteorder("<"), copy=False).view(np.uint8).data


def fields(data: memoryview, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in data[start:end], in order."""
    at = start
    while at < end:
        tag, content = _read_varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _BYTES:
            length, content = _read_varint(data, content, end)
            stop = content + length
        elif wire_type == _VARINT:
            _, stop = _read_varint(data, content, end)
        elif wire_type == _FIXED64:
            stop = content + 8
        elif wire_type == _FIXED32:
            stop = content + 4
        else:
            raise InvalidInput("is not an ONNX model: its bytes are no protobuf message")
        if number == 0:
            raise InvalidInput("is not an ONNX model: its bytes are no protobuf message")
        if stop > end:
            raise InvalidInput(
                f"is truncated: a field at byte {at} ends {stop - end:,} bytes past the end",
                remedy="Copy or download the file again.",
            )
        yield Field(number, wire_type, at, content, stop)
        at = stop


def _split_tensor(data: memoryview, part: Field) -> tuple[bytes | memoryview, memoryview | None]:
    raw = [
        f
        for f in fields(data, part.content, part.end)
        if f.number == _RAW_DATA and f.wire_type == _BYTES
    ]
    # The last one counts where a field is repeated; such files are rare, and protobuf knows.
    if len(raw) != 1 or raw[0].end - raw[0].content < INLINE_BYTES:
        return data[part.content : part.end], None
    payload = data[raw[0].content : raw[0].end]
    # An empty raw_data stays behind, so that "raw_data and float_data both" is still seen.
    marker = _tag(_RAW_DATA, _BYTES) + _varint(0)
    rest = bytes(data[part.content : raw[0].start]) + marker + bytes(data[raw[0].end : part.end])
    return rest, payload


def _payload_bytes(tensor: onnx.TensorProto) -> int:
    """The size that raw_data must have by the tensor's own dims and dtype."""
    itemsize: int = ir.DataType(tensor.data_type).numpy().itemsize
    return int(math.prod(tensor.dims)) * itemsize


def _initializer_head(tensor: onnx.TensorProto, n_bytes: int) -> bytes:
    """Everything of an initializer up to its payload: tags, lengths, name, dims, dtype."""
    body: bytes = tensor.SerializeToString(deterministic=True)
    head = body + _tag(_RAW_DATA, _BYTES) + _varint(n_bytes)
    return _tag(_INITIALIZER, _BYTES) + _varint(len(head) + n_bytes) + head


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
    raise InvalidInput(
        "is not an ONNX model, or is truncated: a number does not end",
        remedy="Copy or download the file again.",
    )
