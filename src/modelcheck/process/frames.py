"""Framed messages between the tool and its child processes: a JSON header, then raw arrays.

Never pickle: what a child sends back is data. Both ends use this file, the workers by loading it
from its path, so it needs only the standard library and numpy, and runs on Python 3.8.

A frame is  <u32 header length> <header: UTF-8 JSON> <array bytes> ...
where header["arrays"] lists [name, dtype, shape] in order and the arrays are C-contiguous.
"""

import json
import struct

import numpy as np

_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 64 << 20
_KINDS = "biuf"  # what a child may send: no objects, no strings


class FrameError(Exception):
    """The other side sent something that is no frame."""


class Closed(FrameError):
    """The other side closed the pipe."""


def write_frame(stream, header, arrays=None):
    """Write one frame and flush it. `arrays` maps names to numpy arrays."""
    arrays = arrays or {}
    payload = [np.ascontiguousarray(a).reshape(np.shape(a)) for a in arrays.values()]
    table = [[name, a.dtype.str, list(a.shape)] for name, a in zip(arrays, payload)]
    text = json.dumps(dict(header, arrays=table)).encode("utf-8", "surrogatepass")
    stream.write(_LENGTH.pack(len(text)) + text)
    for array in payload:
        if array.nbytes:
            stream.write(memoryview(array.reshape(-1)).cast("B"))
    stream.flush()


def read_frame(stream):
    """Read one frame: (header, {name: array}). The arrays own their memory.

    Raises Closed at the end of the stream, FrameError for whatever is no frame, and MemoryError
    for an array that does not fit.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    if length > _MAX_HEADER_BYTES:
        raise FrameError("header of %d bytes" % length)
    text = bytes(_read(stream, length))
    try:
        header = json.loads(text.decode("utf-8", "surrogatepass"))
        arrays = {str(name): _empty(*layout) for name, *layout in header.pop("arrays")}
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise FrameError("header %r: %s" % (text[:80], error)) from None
    except RecursionError:
        raise FrameError("header %r" % text[:80]) from None
    for array in arrays.values():
        if array.nbytes:
            _read_into(stream, memoryview(array.reshape(-1)).cast("B"))
    return header, arrays


def _empty(dtype_text, shape):
    dtype = np.dtype(dtype_text)
    if dtype.kind not in _KINDS:
        raise ValueError("an array of %s" % dtype_text)
    return np.empty(tuple(shape), dtype)


def _read(stream, n):
    buffer = bytearray(n)
    _read_into(stream, memoryview(buffer))
    return buffer


def _read_into(stream, view):
    while len(view):
        n = stream.readinto(view)
        if not n:
            raise Closed("the pipe was closed")
        view = view[n:]
