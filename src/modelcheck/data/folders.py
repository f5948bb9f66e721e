"""Which images a folder holds, and their labels."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from modelcheck.errors import InvalidInput, did_you_mean
from modelcheck.units import plural

EXTENSIONS = ("jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "ppm", "pgm")
LABELS_FILE = "labels.csv"
_CLASS_NUMBER = re.compile(r"[0-9]{1,9}")
_NUMERIC = re.compile(r"\s*[+-]?[0-9]")  # what was meant as a number, right or wrong


@dataclass(frozen=True)
class Listing:
    """Image files below `folder`, by relative name in order, and their labels."""

    folder: Path
    names: tuple[str, ...]
    labels: np.ndarray | None
    notes: tuple[str, ...] = ()


def list_images(folder: Path) -> Listing:
    """The images of a folder, sorted by name.

    Labels come from labels.csv (columns file, label; further ones are ignored); else, when the
    images lie in subfolders, from these: numbered in sorted order from 0, or by their own names
    where all are whole numbers; else there are none. Hidden files are no images. Raises
    InvalidInput.
    """
    try:
        entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        flat = [p.name for p in entries if _is_image(p)]
        subfolders = [p for p in entries if p.is_dir()]
        if (folder / LABELS_FILE).exists():
            return _labelled_by_file(folder, flat)
        inside = {p.name: sorted(q.name for q in p.iterdir() if _is_image(q)) for p in subfolders}
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", where=str(folder)) from error
    if flat:
        left_out = [name for name, images in inside.items() if images]
        notes = [f"Subfolders with images were left out: {', '.join(left_out)}."]
        return Listing(folder, tuple(flat), None, tuple(notes if left_out else ()))
    if any(inside.values()):
        return _labelled_by_folder(folder, inside)
    raise InvalidInput(
        "holds no images, neither directly nor in one folder a class",
        where=str(folder),
        remedy=f"Known extensions: {', '.join(EXTENSIONS)}.",
    )


def _is_image(path: Path) -> bool:
    known = path.suffix.lower().removeprefix(".") in EXTENSIONS
    return known and not path.name.startswith(".") and path.is_file()


def _labelled_by_folder(folder: Path, inside: dict[str, list[str]]) -> Listing:
    classes = list(inside)
    if all(_CLASS_NUMBER.fullmatch(c) for c in classes):
        numbers = {c: int(c) for c in classes}
        if len(set(numbers.values())) < len(numbers):
            raise InvalidInput(
                "two class folders mean the same number", where=str(folder),
                remedy="Write every class number in one way.",
            )  # fmt: skip
        how = "by their names"
    else:
        # Empty folders keep their number: leaving them out would shift all classes behind them.
        numbers = {c: i for i, c in enumerate(classes)}
        how = f"in sorted order: 0 is '{classes[0]}', {len(classes) - 1} is '{classes[-1]}'"
    pairs = sorted((f"{c}/{image}", numbers[c]) for c, images in inside.items() for image in images)
    labels = _labels([label for _, label in pairs])
    note = f"{plural(len(classes), 'class folder')} numbered {how}."
    return Listing(folder, tuple(name for name, _ in pairs), labels, (note,))


def _labelled_by_file(folder: Path, flat: Sequence[str]) -> Listing:
    where = str(folder / LABELS_FILE)
    labels: dict[str, int] = {}
    rows = list(_table(folder / LABELS_FILE))
    if rows and not any(_NUMERIC.match(label) for _, _, label in rows):
        note = f"{LABELS_FILE} holds text, not class numbers: no labels are used."
        return Listing(folder, tuple(flat), None, (note,))
    for line, name, label in rows:
        at = f"{where}, line {line}"
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise InvalidInput(f"'{name}' lies outside the folder", where=at)
        if str(path) in labels:
            raise InvalidInput(f"'{name}' is listed twice", where=at, remedy="Remove one line.")
        if not (folder / path).is_file():
            near = did_you_mean(name, flat)
            raise InvalidInput(
                f"'{name}' is not in the folder", where=at, remedy=near or "Remove the line."
            )
        if not _CLASS_NUMBER.fullmatch(label):
            raise InvalidInput(
                f"'{label}' is not a class number", where=at,
                remedy="Labels are whole numbers from 0, in the order of the model's classes.",
            )  # fmt: skip
        labels[str(path)] = int(label)
    if not labels:
        raise InvalidInput("lists no images", where=where, remedy="Write lines of file,label.")
    names = sorted(labels)
    unlisted = len(set(flat) - set(names))
    notes = [f"{plural(unlisted, 'image')} without a line in {LABELS_FILE} left out."]
    numbers = _labels([labels[n] for n in names])
    return Listing(folder, tuple(names), numbers, tuple(notes if unlisted else ()))


def _table(path: Path) -> list[tuple[int, str, str]]:
    """(line number, file, label) of each row; the first row may be a header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [c.strip() for c in row]) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(
            f"is no table in UTF-8: {error}", where=str(path), remedy="Write lines of file,label."
        ) from error
    file_at, label_at = 0, 1
    header = [c.lower() for c in rows[0][1]] if rows else []
    if len(header) > 1 and "." not in header[0] and not header[1].isdigit():
        for wanted in ("file", "label"):
            if wanted not in header:
                raise InvalidInput(
                    f"has no column '{wanted}' in its header {', '.join(header)}", where=str(path),
                    remedy=did_you_mean(wanted, header) or "The columns are file,label.",
                )  # fmt: skip
        file_at, label_at = header.index("file"), header.index("label")
        rows = rows[1:]
    for line, row in rows:
        if len(row) <= max(file_at, label_at):
            raise InvalidInput(
                f"has {plural(len(row), 'column')}, not file,label", where=f"{path}, line {line}"
            )
    return [(line, row[file_at], row[label_at]) for line, row in rows]


def _labels(numbers: Sequence[int]) -> np.ndarray:
    labels = np.array(numbers, np.int64)
    labels.flags.writeable = False
    return labels
