"""Inputs that broke a candidate before, kept for the next run of the same original.

    .modelcheck/worst/<original>-<candidate>.npz      digests of 16 digits

A file holds inputs by the model's input names, newest first, so --data takes it. All files of an
original are replayed, whichever candidate they broke. One that cannot be read is set aside under
another name, never overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelcheck.data.arrays import open_array_file
from modelcheck.errors import InvalidInput, ModelcheckError, OutputNotWritten, printable
from modelcheck.model import Model
from modelcheck.model.atomic import atomic_write

Arrays = Mapping[str, np.ndarray]
FOLDER = Path(".modelcheck") / "worst"
_MOST = 16  # inputs that are replayed, and that a file holds


@dataclass(frozen=True, slots=True)
class Kept:
    """One input, and what it is in words."""

    arrays: Arrays
    text: str


class KeptInputs:
    """The inputs kept of an original. `notes` say what could not be read or written."""

    def __init__(self, folder: Path | None, original: Model, candidate: Model | None) -> None:
        self.notes: list[str] = []
        self._folder = folder
        self._original = original
        judged = (candidate or original).digest[:16]
        self._name = f"{original.digest[:16]}-{judged}.npz"
        self._own: list[Kept] = []
        self._others: list[Kept] = []
        self._unreadable: set[Path] = set()  # what is damaged and could not be set aside
        if folder is not None:
            for path in _newest_first(folder, f"{original.digest[:16]}-*.npz"):
                (self._own if path.name == self._name else self._others).extend(self._read(path))

    @property
    def inputs(self) -> list[Kept]:
        """What to replay: the inputs of this very pair first."""
        return _distinct([*self._own, *self._others])[:_MOST]

    def keep(self, inputs: Iterable[Kept]) -> Path | None:
        """Add inputs to the file of this pair; the file, or None where none can be written.

        A file holds inputs of one shape: older ones of another give way.
        """
        if self._folder is None:
            return None
        inputs = _distinct([*inputs, *self._own])
        shapes = _shapes(inputs[0].arrays)
        self._own = [kept for kept in inputs if _shapes(kept.arrays) == shapes][:_MOST]
        path = self._folder / self._name
        if path in self._unreadable:
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
                for name in shapes:
                    with archive.open(f"{name}.npy", "w") as member:
                        np.lib.format.write_array(
                            member,
                            np.stack([k.arrays[name] for k in self._own]),
                            allow_pickle=False,
                        )
        except (OSError, OutputNotWritten) as error:
            reason = error.what if isinstance(error, OutputNotWritten) else error.strerror
            self._note(f"{path}: the worst inputs could not be saved: {reason}")
            return None
        return path

    def _read(self, path: Path) -> list[Kept]:
        try:
            samples = open_array_file(path, self._original.signature, shapes=None)
            chosen = samples.select(range(min(_MOST, len(samples))))
            return [Kept(s.arrays, f"input {s.index} of {path.name}") for s in chosen]
        except ModelcheckError as error:
            # What merely does not fit this run (a shape that nobody states) stays as it is.
            aside = _set_aside(path) if isinstance(error, InvalidInput) else None
            if aside is None:
                self._unreadable.add(path)
            where = "left where it is" if aside is None else f"kept aside as {aside.name}"
            self._note(f"{path}: saved inputs cannot be replayed: {error.what}; {where}")
            return []

    def _note(self, text: str) -> None:
        self.notes.append(f"{printable(text, limit=400)}.")


def _newest_first(folder: Path, pattern: str) -> Iterator[Path]:
    found = []
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            found.append((-path.stat().st_mtime_ns, path))
    return (path for _, path in sorted(found))


def _set_aside(path: Path) -> Path | None:
    """Give a file a name that no run reads or writes; None where that is not allowed."""
    number = 1
    while (aside := path.with_name(f"{path.name}.unreadable{number}")).exists():
        number += 1
    try:
        os.rename(path, aside)
    except OSError:
        return None
    return aside


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _distinct(inputs: Iterable[Kept]) -> list[Kept]:
    found: dict[str, Kept] = {}
    for kept in inputs:
        digest = hashlib.sha256()
        for name in sorted(kept.arrays):
            digest.update(name.encode() + np.ascontiguousarray(kept.arrays[name]).tobytes())
        found.setdefault(digest.hexdigest(), kept)
    return list(found.values())
