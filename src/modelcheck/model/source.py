"""Where a model's bytes come from: files opened safely, and watched for changes."""

from __future__ import annotations

import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from modelcheck.errors import InvalidInput, printable

# Up to this size a file is read: nobody can then kill us (SIGBUS) by truncating it.
READ_BYTES = 64 << 20

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a symbolic link"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was when it was read; `data` are the external data files of a model."""

    path: Path
    device: int
    inode: int
    size: int
    mtime_ns: int
    data: tuple[Source, ...] = ()

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> Source:
        return cls(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def check_unchanged(self) -> None:
        """Raise InvalidInput when this file, or one of its data files, is not what it was."""
        try:
            now = Source.of(self.path, os.stat(self.path))
        except OSError as error:
            raise _changed(self.path, f"is gone: {error.strerror}") from error
        same = (self.device, self.inode, self.size, self.mtime_ns)
        if (now.device, now.inode, now.size, now.mtime_ns) != same:
            raise _changed(self.path, "changed since it was loaded")
        for file in self.data:
            file.check_unchanged()


def kind_of_file(status: os.stat_result) -> str | None:
    """'a folder', 'a named pipe', ...; None for a regular file."""
    if stat.S_ISREG(status.st_mode):
        return None
    return next((kind for test, kind in _KINDS if test(status.st_mode)), "no regular file")


def open_regular(
    path: Path | str, *, folder: int | None = None, follow_symlinks: bool = True
) -> int:
    """A descriptor of a regular file. Nothing else is opened: opening a pipe or device acts.

    `folder` is a descriptor that a relative path starts from. Raises InvalidInput or OSError.
    """
    before = os.stat(path, dir_fd=folder, follow_symlinks=follow_symlinks)
    kind = kind_of_file(before)
    if kind is not None:
        raise InvalidInput(f"is {kind}, not a file")
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    flags |= 0 if follow_symlinks else os.O_NOFOLLOW
    descriptor = os.open(path, flags, dir_fd=folder)
    after = os.fstat(descriptor)
    if not stat.S_ISREG(after.st_mode) or (after.st_dev, after.st_ino) != (
        before.st_dev, before.st_ino,
    ):  # fmt: skip
        os.close(descriptor)
        raise InvalidInput("changed while it was being opened")
    return descriptor


def read(descriptor: int, path: Path) -> tuple[memoryview, Source]:
    """The bytes of an open file, read-only: in memory when small, else mapped."""
    source = Source.of(path, os.fstat(descriptor))
    if source.size > READ_BYTES:
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)), source
    with os.fdopen(os.dup(descriptor), "rb") as file:
        content = file.read(source.size + 1)
    if len(content) != source.size or Source.of(path, os.fstat(descriptor)) != source:
        raise InvalidInput("changed while it was being read", remedy="Try again when it is whole.")
    return memoryview(content), source


def _changed(path: Path, what: str) -> InvalidInput:
    return InvalidInput(
        what,
        where=printable(str(path), limit=400),
        remedy="Run again, and leave the file alone meanwhile.",
    )
