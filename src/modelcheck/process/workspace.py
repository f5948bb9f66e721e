"""A private folder for one run. Removed at its end; leftovers of killed runs are swept."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_PREFIX = "modelcheck-run-"


def private_folder() -> Path:
    """A fresh folder that only this user can read. Its name carries the owner's process id."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


class Workspace:
    """A private folder as a context manager."""

    def __init__(self) -> None:
        _sweep()
        self.path = private_folder()

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _sweep() -> None:
    """Remove folders whose process no longer lives: SIGKILL leaves no time to do so."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
