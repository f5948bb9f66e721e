"""Who may touch the ledger's files: many at once to read and write, one alone to move them away.

SQLite's own locks order the transactions. They say nothing about renaming, so whoever opens the
ledger holds a shared lock on its folder meanwhile, and whoever moves it away an exclusive one. A
killed process holds nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_PATIENCE_S = 10.0
_PAUSE_S = 0.02


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[None]:
    """While the block runs, nobody moves the files of this folder away."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While the block runs, no other process has the ledger open. Raises BlockingIOError."""
    with _locked(folder, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _take(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise
        except OSError:  # a file system without such locks: only SQLite's own are left
            return
        time.sleep(_PAUSE_S)
