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
    """The other side closed the pipe or sent something that is no frame."""


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
    """Read one frame: (header, {name: array}). The arrays own their memory."""
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    if length > _MAX_HEADER_BYTES:
        raise FrameError("header of %d bytes" % length)
    header = json.loads(bytes(_read(stream, length)).decode("utf-8", "surrogatepass"))
    arrays = {}
    for name, dtype_text, shape in header.pop("arrays"):
        dtype = np.dtype(dtype_text)
        if dtype.kind not in _KINDS or any(d < 0 for d in shape):
            raise FrameError("array %r of %s %s" % (name, dtype_text, shape))
        array = np.empty(shape, dtype)
        if array.nbytes:
            _read_into(stream, memoryview(array.reshape(-1)).cast("B"))
        arrays[name] = array
    return header, arrays


def _read(stream, n):
    buffer = bytearray(n)
    _read_into(stream, memoryview(buffer))
    return buffer


def _read_into(stream, view):
    while len(view):
        n = stream.readinto(view)
        if not n:
            raise FrameError("the pipe was closed")
        view = view[n:]
