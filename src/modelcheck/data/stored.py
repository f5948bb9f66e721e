"""Arrays in .npy and .npz files, read row by row. Never unpickled; sizes are checked first."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import struct
import tempfile
import weakref
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import numpy as np

from modelcheck.errors import InvalidInput, OutputNotWritten
from modelcheck.process import Closing
from modelcheck.units import size

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
EMPTY_ZIP_MAGIC = b"PK\x05\x06"

# Deflate reaches 1,000:1 on zeros only; real samples stay below 20:1.
_BOMB_RATIO = 100
_BOMB_BYTES = 256 << 20
_MAX_UNPACKED_BYTES = 32 << 30

_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, TypeError, OverflowError,
    NotImplementedError, RuntimeError, MemoryError, RecursionError,
)  # fmt: skip
_COPY_AGAIN = "Copy or write the file again."


class Rows(Protocol):
    """An array whose rows (axis 0) are read one at a time."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __getitem__(self, index: int) -> np.ndarray: ...


class FileRows:
    """Rows of an array inside an open file, in C order from byte `start`.

    Each row is read into fresh memory when asked for, so nothing is mapped and nothing grows.
    """

    def __init__(self, file: IO[bytes], start: int, header: Header, where: str) -> None:
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self._start = start
        self.shape, self.dtype = header.shape, header.dtype
        self._where = where
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._state = _state(self._descriptor)

    def __getitem__(self, index: int) -> np.ndarray:
        row = np.empty(self.shape[1:], self.dtype)
        left = memoryview(row.reshape(-1).view(np.uint8).data)
        at = self._start + index * self._row_bytes
        while left:
            n = os.preadv(self._descriptor, [left], at)
            if not n:
                break
            left, at = left[n:], at + n
        if left or _state(self._descriptor) != self._state:
            raise InvalidInput(
                "changed during the run", where=self._where, remedy="Run again when it is at rest."
            )
        return row


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of an .npy array says."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def open_npy(path: Path) -> Rows:
    """The one array of an .npy file."""
    with path.open("rb") as file:
        return _rows(file, 0, os.fstat(file.fileno()).st_size, str(path))


class Archive(Closing):
    """The members of an .npz file, by array name. Rows taken from it outlive it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        with contextlib.ExitStack() as opened:
            self._file = opened.enter_context(path.open("rb"))
            try:
                self._zip = opened.enter_context(zipfile.ZipFile(self._file))
            except _DAMAGED as error:
                raise InvalidInput(
                    f"is damaged or truncated: {_first_line(error)}",
                    where=str(path),
                    remedy=_COPY_AGAIN,
                ) from error
            for member in self._zip.infolist():
                self._add(member)
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    def _add(self, member: zipfile.ZipInfo) -> None:
        # orig_filename: zipfile cuts names at a NUL and turns backslashes round.
        raw = member.orig_filename
        if raw.startswith("/") or "\\" in raw or "\0" in raw or ".." in PurePosixPath(raw).parts:
            raise InvalidInput(
                f"member {raw!r} points outside the archive", where=str(self.path),
                remedy="Write the file again with numpy.savez.",
            )  # fmt: skip
        name = raw.removesuffix(".npy")
        if name in self._members:
            raise InvalidInput(
                f"array '{name}' is there twice", where=str(self.path), remedy=_COPY_AGAIN
            )
        self._members[name] = member

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def rows(self, name: str) -> Rows:
        """The array of this name; a compressed one is first unpacked into a nameless file."""
        member = self._members[name]
        where = f"{self.path}, array '{name}'"
        try:
            if member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 0x1:
                start = self._payload(member)
                return _rows(self._file, start, start + member.file_size, where)
            return self._unpacked(member, where)
        except InvalidInput:
            raise
        except _DAMAGED as error:
            raise InvalidInput(
                f"is damaged: {_first_line(error)}", where=where, remedy=_COPY_AGAIN
            ) from error

    def _payload(self, member: zipfile.ZipInfo) -> int:
        """The file position of a stored member's bytes, from its local header."""
        head = os.pread(self._file.fileno(), 30, member.header_offset)
        if head[:4] != ZIP_MAGIC:
            raise zipfile.BadZipFile("a member is not where the directory says")
        name_bytes, extra_bytes = struct.unpack("<HH", head[26:30])
        return member.header_offset + 30 + int(name_bytes) + int(extra_bytes)

    def _unpacked(self, member: zipfile.ZipInfo, where: str) -> Rows:
        packed, unpacked = max(member.compress_size, 1), member.file_size
        bomb = unpacked > _BOMB_BYTES and unpacked / packed > _BOMB_RATIO
        if bomb or unpacked > _MAX_UNPACKED_BYTES:
            raise InvalidInput(
                f"would unpack from {size(packed)} to {size(unpacked)}, like a zip bomb",
                where=where,
                remedy="If the data are real, write them uncompressed with numpy.savez.",
            )
        with self._zip.open(member) as stream:  # its header first: no room for what is refused
            _read_header(stream, where)
        with tempfile.TemporaryFile() as file:
            try:
                with self._zip.open(member) as stream:
                    shutil.copyfileobj(stream, file, 1 << 20)
                file.flush()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise zipfile.BadZipFile(str(error)) from error
                raise OutputNotWritten(
                    f"the temporary folder has no room to unpack {size(unpacked)}", where=where,
                    remedy="Set TMPDIR to a larger folder, or write it uncompressed: numpy.savez.",
                ) from error  # fmt: skip
            return _rows(file, 0, file.tell(), where)


def _rows(file: IO[bytes], start: int, end: int, where: str) -> Rows:
    end = min(end, os.fstat(file.fileno()).st_size)
    file.seek(start)
    header = _read_header(file, where)
    payload = file.tell()
    if header.nbytes > end - payload:
        raise InvalidInput(
            f"promises {size(header.nbytes)} of values, but holds {size(max(end - payload, 0))}",
            where=where, remedy=_COPY_AGAIN,
        )  # fmt: skip
    if header.fortran and len(header.shape) > 1 and header.nbytes:
        # A row is scattered all over the file: let the system find its pieces.
        return np.memmap(file, header.dtype, "r", payload, header.shape, "F")
    return FileRows(file, payload, header, where)


def _read_header(stream: IO[bytes], where: str) -> Header:
    try:
        magic = stream.read(len(NPY_MAGIC))
        if magic != NPY_MAGIC:
            raise InvalidInput(
                "is no .npy array (a pickled object, or another kind of file)", where=where,
                remedy="Write it with numpy.save or numpy.savez, as a numeric array.",
            )  # fmt: skip
        version = stream.read(2)
        read = {
            b"\1\0": np.lib.format.read_array_header_1_0,
            b"\2\0": np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"format version {list(version)}")
        shape, fortran, dtype = read(stream)
    except _DAMAGED as error:
        raise InvalidInput(
            f"has a damaged .npy header: {_first_line(error)}", where=where, remedy=_COPY_AGAIN
        ) from error
    if dtype.hasobject:
        raise InvalidInput(
            "holds Python objects, which are never unpickled", where=where,
            remedy="Save numbers: all samples of one shape, in a float32 array for example.",
        )  # fmt: skip
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.shape:
        raise InvalidInput(
            f"holds {dtype}, which is no number that can be used", where=where,
            remedy="Save inputs as float32 or what the model takes, labels as int64.",
        )  # fmt: skip
    if any(isinstance(d, bool) or d < 0 for d in shape):
        raise InvalidInput(f"has the impossible shape {shape}", where=where, remedy=_COPY_AGAIN)
    return Header(tuple(shape), bool(fortran), dtype)


def _state(descriptor: int) -> tuple[int, int]:
    stat = os.fstat(descriptor)
    return stat.st_size, stat.st_mtime_ns


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
