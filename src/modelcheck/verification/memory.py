"""What an original gave before: remembered by content, so that asking again costs nothing.

The outputs of the reference and of the original on a target depend on nothing but the model, the
samples, the engine and the machine. They are kept as files named by the digest of all of these;
a candidate is always run. Nothing is kept that did not run to its end, a damaged file counts as
none, and the oldest are removed where all together grow beyond a limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from modelcheck.process import frames
from modelcheck.process.closing import Closing
from modelcheck.process.machine import processor, processor_features

Arrays = Mapping[str, np.ndarray]

_SCHEMA = 2
_MOST_BYTES_OF_ONE = 512 << 20
_MOST_BYTES_OF_ALL = 2 << 30
# What changes the arithmetic of OpenCV or onnxruntime from outside.
_PACKAGES = (
    "modelcheck", "numpy", "onnx", "onnxruntime",
    "opencv-python", "opencv-python-headless", "opencv-contrib-python",  # decode images
)  # fmt: skip
_VARIABLES = ("OPENCV_", "OPENBLAS_", "MKL_", "OMP_", "ORT_", "DNNL_")


class Runs(Protocol):
    """Something that answers one sample after the other."""

    def send(self, arrays: Arrays) -> None: ...

    def receive(self) -> dict[str, np.ndarray]: ...


class Memory:
    """A folder of remembered runs; None where there is none to be had, which costs only time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def of_user() -> Memory | None:
        """The user's cache folder; the variable MODELCHECK_CACHE names another, or with '' none."""
        named = os.environ.get("MODELCHECK_CACHE")
        if named == "":
            return None
        import platformdirs

        try:
            if named is not None:
                return Memory(Path(named).expanduser())
            return Memory(platformdirs.user_cache_path("modelcheck"))
        except RuntimeError:  # there is no such user's home
            return None

    def recall(self, key: str, count: int) -> Recalled | None:
        """The runs of this key, if all `count` of them are there and whole."""
        path = self._folder / f"{key}.runs"
        try:
            stream = path.open("rb")
        except OSError:
            return None
        if not _whole(stream, count):
            stream.close()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the oldest are removed first
        stream.seek(0)
        return Recalled(stream)

    def record(self, key: str, runs: Runs) -> Recording | None:
        """Answers as `runs` does, and keeps what it answered; None where nothing can be kept."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._folder / f"{key}.{secrets.token_hex(6)}.part"
            stream = path.open("xb")
        except OSError:
            return None
        return Recording(self, runs, path, stream)

    def note(self, key: str) -> str | None:
        """The text that was noted under this key, if there is one."""
        path = self._folder / f"{key}.note"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return text

    def write_note(self, key: str, text: str) -> None:
        """Note a small text in place of an earlier one, whole or not at all."""
        part = self._folder / f"{key}.{secrets.token_hex(6)}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(text, encoding="utf-8")
            os.replace(part, part.with_name(f"{key}.note"))
        except OSError:  # costs only time
            with contextlib.suppress(OSError):
                part.unlink()

    def keep(self, part: Path) -> None:
        """Give a finished part its name, and remove the oldest where there is too much."""
        name = part.name.split(".")[0]
        os.replace(part, part.with_name(f"{name}.runs"))
        sizes = []
        for path in (*self._folder.glob("*.runs"), *self._folder.glob("*.note")):
            with contextlib.suppress(OSError):
                found = path.stat()
                sizes.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in sizes)
        for _, size, path in sorted(sizes):
            if total <= _MOST_BYTES_OF_ALL:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


class Recalled(Closing):
    """Answers in the order in which they were once given."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def send(self, arrays: Arrays) -> None:
        """Nothing has to run."""

    def receive(self) -> dict[str, np.ndarray]:
        _, arrays = frames.read_frame(self._stream)
        return dict(arrays)

    def close(self) -> None:
        self._stream.close()


class Recording(Closing):
    """Passes on what runs answer, and writes it down; closing it unfinished leaves nothing."""

    def __init__(self, memory: Memory, runs: Runs, path: Path, stream: IO[bytes]) -> None:
        self._memory, self._runs = memory, runs
        self._path: Path | None = path
        self._file = _Summed(stream)
        self._count = 0

    def send(self, arrays: Arrays) -> None:
        self._runs.send(arrays)

    def receive(self) -> dict[str, np.ndarray]:
        answer = self._runs.receive()
        if self._path is not None:
            try:
                frames.write_frame(self._file, {}, answer)
            except OSError:  # a full disk is no reason to stop
                self.close()
            if self._file.n_bytes > _MOST_BYTES_OF_ONE:
                self.close()
        self._count += 1
        return answer

    def finish(self) -> None:
        """All samples have run: keep them."""
        if self._path is None:
            return
        try:
            self._file.flush()
            end = {"count": self._count, "crc32": self._file.crc32}
            self._file.stream.write(b"\n" + json.dumps(end).encode())
            self._file.stream.close()
            self._memory.keep(self._path)
            self._path = None
        except OSError:
            self.close()

    def close(self) -> None:
        self._file.stream.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._path = None


@dataclass
class _Summed:
    """A stream that sums up what is written to it."""

    stream: IO[bytes]
    crc32: int = 0
    n_bytes: int = 0

    def write(self, data: bytes | memoryview) -> None:
        self.crc32 = zlib.crc32(data, self.crc32)
        self.n_bytes += len(data)
        self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


def _whole(stream: IO[bytes], count: int) -> bool:
    """Whether the file holds what its last line says: so many runs, with this checksum."""
    try:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 200))
        tail = stream.read()
        end = json.loads(tail[tail.rindex(b"\n") + 1 :])
        left = size - (len(tail) - tail.rindex(b"\n"))
        stream.seek(0)
        total = 0
        while left:
            piece = stream.read(min(left, 1 << 20))
            if not piece:
                return False
            total, left = zlib.crc32(piece, total), left - len(piece)
    except (OSError, ValueError):
        return False
    return bool(end == {"count": count, "crc32": total})


def key_of(**facts: Any) -> str:
    """The digest of everything that answers depend on: these facts, and this machine."""
    everything = {
        "facts": facts,
        "schema": _SCHEMA,
        "machine": [platform.machine(), processor(), processor_features(), os.cpu_count()],
        "environment": {k: v for k, v in os.environ.items() if k.startswith(_VARIABLES)},
        "versions": [_version(name) for name in _PACKAGES],
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
