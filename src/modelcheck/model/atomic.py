"""Files that appear whole or not at all, and outputs that only one run writes.

Where the system can, a new file has no name until it is complete (O_TMPFILE), so that even SIGKILL
leaves nothing behind. Otherwise, and for the instant between taking a name and moving it over the
old file, it is called `.modelcheck-*`. Such files, and locks, are held with flock: one that nobody
holds was left by a killed run and is swept by the next.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from modelcheck.errors import OutputNotWritten, UsageError, printable
from modelcheck.model.source import kind_of_file

_PREFIX = ".modelcheck-"
_CHOOSE_ANOTHER = "Choose with -o, --report or --plot a folder that can be written and has room."


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path`, whole, when the block ends without an exception.

    Raises OutputNotWritten; what stood at `path` before is then untouched.
    """
    try:
        with _unfinished(path.parent) as (file, publish):
            yield file
            file.flush()
            os.fsync(file.fileno())
            publish(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise not_written(path, error, _CHOOSE_ANOTHER) from error


def check_output(path: Path, inputs: Iterable[Path] = (), *, force: bool = False) -> None:
    """Raise UsageError when `path` must not be written: before the work, not after it.

    An output is neither an input (under whatever name), nor a folder, a link or a device, and
    replaces a file only by `force`.
    """
    where = printable(str(path), limit=400)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot be an output: {reason}", where=where) from error
    for source in inputs:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), os.stat(source)):
                raise UsageError(
                    f"is the input '{printable(source.name)}' itself; inputs are never touched",
                    where=where, remedy="Choose another name with -o.",
                )  # fmt: skip
    kind = kind_of_file(status)
    if kind is not None:
        raise UsageError(
            f"is {kind}; an output is a plain file", where=where,
            remedy="Choose another name with -o.",
        )  # fmt: skip
    if not force:
        raise UsageError(
            "exists already", where=where,
            remedy="Choose another name with -o, or replace it with --force.",
        )  # fmt: skip


def check_writable(path: Path) -> None:
    """Raise OutputNotWritten now rather than after an hour's work."""
    try:
        with _unfinished(path.parent):
            pass
    except OSError as error:
        raise not_written(path, error, _CHOOSE_ANOTHER) from error


@contextlib.contextmanager
def output_lock(path: Path) -> Iterator[None]:
    """Hold `path` as the output of this run; a second run that wants it gets OutputNotWritten.

    The lock is a hidden file beside the output, gone when the block ends. A killed run's lock does
    not bind: the system lets go of it, and whoever takes it next removes the file.
    """
    token = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    lock = path.parent / f"{_PREFIX}{token}.lock"
    try:
        descriptor = _take_patiently(lock)
    except BlockingIOError as error:
        raise OutputNotWritten(
            "another run is writing it", where=printable(str(path), limit=400),
            remedy="Wait for that run, or choose another name with -o.",
        ) from error  # fmt: skip
    except OSError as error:
        raise not_written(path, error, _CHOOSE_ANOTHER) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # while it is held: nobody else can have taken this very file
        os.close(descriptor)


def not_written(path: Path, error: OSError, remedy: str) -> OutputNotWritten:
    """The error for an output that the system refused."""
    what = "no space is left" if error.errno == errno.ENOSPC else str(error.strerror or error)
    return OutputNotWritten(
        f"could not be written: {what}", where=printable(str(path), limit=400), remedy=remedy
    )


def _take_patiently(lock: Path) -> int:
    """Wait out another run's sweep, which holds what it looks at for an instant."""
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            return _take(lock)
        time.sleep(0.02)
    return _take(lock)


def _take(lock: Path) -> int:
    """Open and hold a lock file that still bears its name once it is held."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(lock, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        if _is_named(descriptor, lock):
            return descriptor
        os.close(descriptor)  # its holder removed it in between: this was the last run's


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[tuple[IO[bytes], Callable[[Path], None]]]:
    """A file in `folder` without a name, and the function that gives it one."""
    _sweep(folder)
    temporary = folder / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(6)}.part"
    descriptor, named = _create(folder, temporary)
    with os.fdopen(descriptor, "wb", buffering=1 << 20) as file:

        def publish(path: Path) -> None:
            if not named:
                # linkat cannot replace a file, so a name is taken first and moved over it.
                _give_name(file.fileno(), temporary)
            os.replace(temporary, path)

        try:
            yield file, publish
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _create(folder: Path, temporary: Path) -> tuple[int, bool]:
    """A new file, held with flock: (descriptor, whether it has the temporary name already)."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # not on every file system; the other way says why not
            descriptor = os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
            _hold(descriptor)
            return descriptor, False
    while True:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666)
        _hold(descriptor)
        if _is_named(descriptor, temporary):
            return descriptor, True
        os.close(descriptor)  # swept between the two calls


def _hold(descriptor: int) -> None:
    # Waits for a sweep to let go. A file system without locks (some network ones) loses only the
    # sweeping of strays.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that bears this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _give_name(descriptor: int, path: Path) -> None:
    """linkat(AT_SYMLINK_FOLLOW), which os.link uses only when it is given a folder's descriptor."""
    links = os.open("/proc/self/fd", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.link(str(descriptor), path, src_dir_fd=links, follow_symlinks=True)
    finally:
        os.close(links)


def _sweep(folder: Path) -> None:
    """Remove what killed runs left: our files that no process holds."""
    with contextlib.suppress(OSError):
        for stray in folder.glob(f"{_PREFIX}*"):
            if stray.suffix in (".part", ".lock"):
                _remove_unheld(stray)


def _remove_unheld(stray: Path) -> None:
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.lstat(stray).st_mode):
            return
        descriptor = os.open(stray, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(descriptor, stray):
                stray.unlink()
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
