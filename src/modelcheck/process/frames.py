"""Framed messages between the tool and its child processes: a JSON header, then raw arrays.

Never pickle: what a child sends back is data. Both ends use this file, the workers by loading it
from its path, so it needs only the standard library and numpy, and runs on Python 3.8.

A frame is  <u32 header length> <header: UTF-8 JSON> <array bytes> ...
where header["arrays"] lists [name, dtype, shape] in order and the arrays are C-contiguous. Where
header["shared"] says so, the array bytes lie in shared memory instead: a pipe takes several times
as long for an image, as the kernel copies it twice, page by page.
"""

import json
import math
import mmap
import os
import struct

import numpy as np

_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 64 << 20
_KINDS = "biuf"  # what a child may send: no objects, no strings
_LEAST_SHARED_BYTES = 32 << 10  # fewer are as quick through the pipe
_MOST_SHARED_BYTES = 64 << 20  # it stays for as long as the process


class FrameError(Exception):
    """The other side sent something that is no frame."""


class Closed(FrameError):
    """The other side closed the pipe."""


class SharedMemory:
    """Memory that both processes map, for the arrays of one frame at a time.

    Each direction has one of its own. Only its writer makes it larger, and nobody smaller: who
    made the descriptor has sealed it against that.
    """

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self._map = None

    def room(self, n_bytes):
        """Room for the writer; None where the arrays had better go through the pipe."""
        if not _LEAST_SHARED_BYTES <= n_bytes <= _MOST_SHARED_BYTES:
            return None
        try:
            if os.fstat(self._descriptor).st_size < n_bytes:
                os.ftruncate(self._descriptor, 1 << (n_bytes - 1).bit_length())
            return self._mapped(mmap.PROT_READ | mmap.PROT_WRITE)
        except (OSError, ValueError):  # a limit on memory or files
            return None

    def content(self, n_bytes):
        """What the writer has put there."""
        if n_bytes == 0:
            return memoryview(b"")
        try:
            if os.fstat(self._descriptor).st_size >= n_bytes:
                return self._mapped(mmap.PROT_READ)
        except OSError as error:
            raise MemoryError("shared memory: %s" % error) from None
        raise FrameError("%d bytes are not in the shared memory" % n_bytes)

    def close(self):
        if self._map is not None:
            self._map.close()
            self._map = None

    def _mapped(self, protection):
        size = os.fstat(self._descriptor).st_size
        if self._map is None or len(self._map) < size:
            self._map = None  # unmapped with the last array that lies in it
            self._map = mmap.mmap(self._descriptor, size, prot=protection)
        return memoryview(self._map)


def write_frame(stream, header, arrays=None, shared=None):
    """Write one frame and flush it. `arrays` maps names to numpy arrays."""
    arrays = arrays or {}
    payload = [np.ascontiguousarray(a).reshape(np.shape(a)) for a in arrays.values()]
    table = [[name, a.dtype.str, list(a.shape)] for name, a in zip(arrays, payload)]
    views = [memoryview(a.reshape(-1)).cast("B") for a in payload if a.nbytes]
    room = shared.room(sum(map(len, views))) if shared is not None else None
    header = dict(header, arrays=table, shared=room is not None)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    if room is not None:
        with room:
            begin = 0
            for view in views:
                room[begin : begin + len(view)] = view
                begin += len(view)
        views = []
    head = _LENGTH.pack(len(text)) + text
    if sum(map(len, views)) < _LEAST_SHARED_BYTES:
        stream.write(b"".join([head, *views]))  # in one go: the reader wakes once
    else:
        stream.write(head)
        for view in views:
            stream.write(view)
    stream.flush()


def read_frame(stream, shared=None, borrows=None):
    """Read one frame: (header, {name: array}). The arrays own their memory.

    Where `borrows(header)` holds they may be read-only views of the shared memory instead, and are
    good until the next frame arrives.
    Raises Closed at the end of the stream, FrameError for whatever is no frame, and MemoryError
    for an array that does not fit.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    if length > _MAX_HEADER_BYTES:
        raise FrameError("header of %d bytes" % length)
    text = bytes(_read(stream, length))
    try:
        header = json.loads(text.decode("utf-8", "surrogatepass"))
        table = header.pop("arrays")
        is_shared = header.pop("shared", False)
        if is_shared and borrows is not None and borrows(header):
            return header, _borrowed(shared, table)
        arrays = {str(name): _empty(*layout) for name, *layout in table}
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise FrameError("header %r: %s" % (text[:80], error)) from None
    except RecursionError:
        raise FrameError("header %r" % text[:80]) from None
    views = [memoryview(a.reshape(-1)).cast("B") for a in arrays.values() if a.nbytes]
    if is_shared:
        _copy_shared(shared, views)
    else:
        for view in views:
            _read_into(stream, view)
    return header, arrays


def _copy_shared(shared, views):
    with _content(shared, sum(map(len, views))) as content:
        begin = 0
        for view in views:
            view[:] = content[begin : begin + len(view)]
            begin += len(view)


def _borrowed(shared, table):
    """The arrays where they lie: a copy of an image takes 0.1 ms."""
    layouts = [(str(name), _dtype(text), tuple(shape)) for name, text, shape in table]
    counts = [math.prod(shape) for _, _, shape in layouts]
    n_bytes = sum(n * dtype.itemsize for n, (_, dtype, _) in zip(counts, layouts))
    content = _content(shared, n_bytes)
    arrays, begin = {}, 0
    for n, (name, dtype, shape) in zip(counts, layouts):
        array = np.frombuffer(content, dtype, n, begin).reshape(shape)
        arrays[name] = array if array.flags.aligned else array.copy()
        begin += n * dtype.itemsize
    return arrays


def _content(shared, n_bytes):
    if shared is None:
        raise FrameError("there is no shared memory")
    return shared.content(n_bytes)


def _empty(dtype_text, shape):
    return np.empty(tuple(shape), _dtype(dtype_text))


def _dtype(text):
    dtype = np.dtype(text)
    if dtype.kind not in _KINDS:
        raise ValueError("an array of %s" % text)
    return dtype


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
