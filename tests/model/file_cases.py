"""What every refusal has in common."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from modelcheck.errors import ModelcheckError
from modelcheck.model import load


def refused(path: Path, **options) -> ModelcheckError:
    """Load a bad file: the error, after checking that nothing in its folder changed."""
    before = snapshot(path.parent)
    with pytest.raises(ModelcheckError) as caught:
        load(path, **options)
    assert snapshot(path.parent) == before
    text = str(caught.value)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert len(text) < 1000
    return caught.value


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder with its content's hash, or its kind."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            found[str(path.relative_to(folder))] = (
                hashlib.sha256(path.read_bytes()).hexdigest()
                if stat.S_ISREG(mode)
                else str(stat.S_IFMT(mode))
            )
    return found
