"""A private folder for one run. Removed at its end; leftovers of killed runs are swept."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import psutil

from modelcheck.errors import OutputNotWritten
from modelcheck.process.closing import Closing

_PREFIX = "modelcheck-run-"
_OWNER = re.compile(_PREFIX + r"([0-9]{1,9})-")


class Workspace(Closing):
    """A fresh folder that only this user can read, as a context manager.

    Its name carries the owner's process id and its owner holds a lock on it, so that a later run
    knows a leftover from a folder in use.
    """

    def __init__(self) -> None:
        try:
            _sweep(Path(tempfile.gettempdir()))
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        except OSError as error:
            raise OutputNotWritten(
                f"no folder for temporary files can be made: {error.strerror}",
                where=tempfile.tempdir or "TMPDIR",
                remedy="Set TMPDIR to a folder that can be written and has room.",
            ) from error
        self._lock = os.open(self.path, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove the folder. A second call does nothing."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _sweep(parent: Path) -> None:
    """Remove folders whose process no longer lives: SIGKILL leaves no time to do so."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        owner = _OWNER.match(folder.name)
        if owner and not psutil.pid_exists(int(owner[1])) and not _locked(folder):
            shutil.rmtree(folder, ignore_errors=True)


@atexit.register
def _leave_nothing() -> None:
    """Remove every folder of this process, and kill a child that still lives in one.

    A signal's exception can come between any two instructions, also between the making of a
    folder and the line that would have remembered it.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    folders = list(Path(tempfile.gettempdir()).glob(f"{_PREFIX}{os.getpid()}-*"))
    if not folders:
        return
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if Path(child.cwd()) in folders:
                child.kill()
                child.wait(timeout=5)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> bool:
    """Whether a living process owns the folder, perhaps in a container with ids of its own."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
