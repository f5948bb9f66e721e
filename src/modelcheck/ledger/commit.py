"""The commit that a folder is checked out at, read from git's own files: no process is started."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MOST_BYTES = 16 << 20


def commit_of(folder: Path) -> str:
    """The digits of HEAD's commit; '' outside a repository, or before its first commit."""
    try:
        for place in (folder.absolute(), *folder.absolute().parents):
            git = place / ".git"
            if git.is_file():  # a worktree or submodule: 'gitdir: PATH'
                git = place / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            if git.is_dir():
                return _head(git)
    except (OSError, ValueError):
        return ""
    return ""


def _head(git: Path) -> str:
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    name = head.removeprefix("ref:").strip()
    if name == head:
        return _checked(head)
    shared = git / "commondir"  # where a worktree's branches are
    folders = [git, git / shared.read_text(encoding="utf-8").strip()] if shared.is_file() else [git]
    for folder in folders:
        if (folder / name).is_file():
            return _checked((folder / name).read_text(encoding="utf-8").strip())
        packed = folder / "packed-refs"
        if packed.is_file() and packed.stat().st_size <= _MOST_BYTES:
            for line in packed.read_text(encoding="utf-8").splitlines():
                if line.endswith(f" {name}"):
                    return _checked(line.split()[0])
    return ""


def _checked(text: str) -> str:
    return text if _COMMIT.fullmatch(text) else ""
