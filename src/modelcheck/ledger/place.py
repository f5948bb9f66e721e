"""Where the ledger is: `.modelcheck/ledger.db` in the working folder, unless somebody says."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

FOLDER = ".modelcheck"
VARIABLE = "MODELCHECK_LEDGER"
LEDGER_NAME = "ledger.db"
_IGNORE_ALL = "# Made by modelcheck: the history of verdicts on this machine.\n*\n"


def ledger_path(named: Path | None = None, *, folder: Path | None = None) -> Path | None:
    """The path that is named, else that of MODELCHECK_LEDGER (none if it is ''), else the usual.

    `folder` is the working folder, if not the current one.
    """
    if named is not None:
        return named
    variable = os.environ.get(VARIABLE)
    if variable is not None:
        return Path(variable).expanduser() if variable else None
    return (folder or Path()) / FOLDER / LEDGER_NAME


def make_folder(path: Path) -> None:
    """The folder of a ledger; one of our own name is kept out of git. Raises OSError."""
    folder = path.parent
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        if folder.name == FOLDER:
            (folder / ".gitignore").write_text(_IGNORE_ALL, encoding="utf-8")
