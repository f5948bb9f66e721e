"""Samples from arrays: .npz and .npy files, or arrays in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelcheck.data.samples import Samples
from modelcheck.data.shapes import Shape, stated_shapes
from modelcheck.data.stored import EMPTY_ZIP_MAGIC, NPY_MAGIC, ZIP_MAGIC, Archive, Rows, open_npy
from modelcheck.errors import InvalidInput, UsageError, did_you_mean
from modelcheck.model import Signature, TensorSpec

LABELS = "labels"


@dataclass(frozen=True)
class _Column:
    """The samples of one input. A row lacks the batch axis when the array is (samples, ...)."""

    spec: TensorSpec
    rows: Rows
    needs_batch_axis: bool
    where: str

    def sample(self, index: int) -> np.ndarray:
        row = np.asarray(self.rows[index])
        array = converted(row[None] if self.needs_batch_axis else row, self.spec.dtype)
        if array is None or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise InvalidInput(
                _what_is_wrong(row, self.spec.dtype),
                where=f"{self.where}, sample {index}",
                remedy="Remove the sample, or repair what wrote it.",
            )
        return array


class ArraySamples(Samples):
    """Samples along axis 0 of arrays, one array an input."""

    def __init__(
        self,
        columns: Sequence[_Column],
        *,
        place: str,
        labels: np.ndarray | None,
        notes: Sequence[str],
    ) -> None:
        super().__init__(
            [c.spec.name for c in columns], columns[0].rows.shape[0], labels=labels, notes=notes
        )
        self._columns = columns
        self._where = place

    def _read(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        for index in indices:
            yield {column.spec.name: column.sample(index) for column in self._columns}

    def _name(self, index: int) -> str:
        return f"sample {index}"

    def _place(self) -> tuple[str, str]:
        return self._where, "sample"


def from_arrays(
    arrays: Mapping[str, Rows],
    signature: Signature,
    *,
    labels: np.ndarray | None = None,
    shapes: Mapping[str, Shape] | None = None,
    place: str = "arrays",
) -> ArraySamples:
    """Samples along axis 0 of `arrays`, by input name.

    An input (B, ...) whose B is free or 1 takes arrays (samples, ...) or (samples, B, ...); one
    whose B is fixed otherwise takes (samples, B, ...). Values are converted where nothing is
    lost; float64 is rounded to float32, and floats to float16 for a float16 input, which `notes`
    say. Raises InvalidInput.
    """
    stated = stated_shapes(signature, shapes)
    columns, notes = [], []
    for spec in signature.inputs:
        where = f"{place}, array '{spec.name}'"
        if spec.name not in arrays:
            raise _missing(spec.name, [n for n in arrays if n not in stated], place)
        rows = arrays[spec.name]
        note = _check_dtype(rows.dtype, spec, where)
        notes += [note] if note else []
        needs_axis = _needs_batch_axis(rows, spec, stated[spec.name], where)
        columns.append(_Column(spec, rows, needs_axis, where))
    _check_counts(columns, place)
    _check_named_dimensions(columns, place)
    count = columns[0].rows.shape[0]
    checked = None if labels is None else checked_labels(labels, count, f"{place}, '{LABELS}'")
    return ArraySamples(columns, place=place, labels=checked, notes=notes)


def open_array_file(
    path: Path, signature: Signature, *, shapes: Mapping[str, Shape] | None
) -> ArraySamples:
    """Samples of an .npz (arrays by input name, `labels` optional) or of an .npy (one input)."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(NPY_MAGIC))
        if magic == NPY_MAGIC:
            if len(signature.inputs) != 1:
                names = ", ".join(spec.name for spec in signature.inputs)
                raise UsageError(
                    f"is one array, but the model has the inputs {names}", where=str(path),
                    remedy="Save an .npz with one array an input: numpy.savez(path, name=array).",
                )  # fmt: skip
            only = {signature.inputs[0].name: open_npy(path)}
            return from_arrays(only, signature, shapes=shapes, place=str(path))
        if magic[:4] in (ZIP_MAGIC, EMPTY_ZIP_MAGIC):
            with Archive(path) as archive:
                return _from_archive(archive, signature, shapes)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    raise InvalidInput(
        "is empty" if not magic else "is neither an .npz nor an .npy file",
        where=str(path),
        remedy="--data takes an .npz or .npy file written by numpy, or a folder of images.",
    )


def converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """`array` as `dtype` in memory of its own, or None where whole numbers would change."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.array(array, dtype, order="C")
        if array.dtype.kind not in "biu" or np.can_cast(array.dtype, dtype, "safe"):
            return result
        # Wrapping round comes back unchanged, but with another sign.
        same = np.array_equal(result.astype(array.dtype), array)
        return result if same and np.array_equal(result < 0, array < 0) else None


def checked_labels(labels: np.ndarray, count: int, where: str) -> np.ndarray:
    """Class numbers as read-only int64 (count,), or InvalidInput."""
    _check_label_array(labels, where)
    if len(labels) != count:
        raise InvalidInput(
            f"there are {len(labels):,} for {count:,} samples", where=where,
            remedy="Save one label a sample, in the order of the samples.",
        )  # fmt: skip
    if (labels < 0).any() or (labels > 2**31).any():
        raise InvalidInput("are class numbers from 0", where=where)
    result = labels.astype(np.int64)
    result.flags.writeable = False
    return result


def _check_label_array(labels: Rows, where: str) -> None:
    if len(labels.shape) != 1 or labels.dtype.kind not in "biu":
        hint = "numpy.argmax(labels, axis=1)" if len(labels.shape) == 2 else "labels.astype(int)"
        raise InvalidInput(
            f"are {labels.dtype} {labels.shape}, not one whole number a sample", where=where,
            remedy=f"Save class numbers from 0, for example {hint}.",
        )  # fmt: skip


def _from_archive(
    archive: Archive, signature: Signature, shapes: Mapping[str, Shape] | None
) -> ArraySamples:
    place = str(archive.path)
    if not archive.names:
        raise InvalidInput("holds no arrays", where=place, remedy="Save at least one sample.")
    inputs = [spec.name for spec in signature.inputs]
    others = [n for n in archive.names if n not in inputs]
    for name in inputs:
        if name not in archive.names:
            raise _missing(name, others, place)
    labels = None
    if LABELS in others:
        rows = archive.rows(LABELS)
        _check_label_array(rows, f"{place}, '{LABELS}'")
        labels = np.array([rows[i] for i in range(rows.shape[0])], rows.dtype)
        others.remove(LABELS)
    arrays = {name: archive.rows(name) for name in inputs}
    samples = from_arrays(arrays, signature, labels=labels, shapes=shapes, place=place)
    for name in others:
        near = did_you_mean(name, [LABELS]) if labels is None else None
        note = f"Array '{name}' is no input and was ignored."
        samples.notes += (f"{note} {near}" if near else note,)
    return samples


def _missing(name: str, others: Sequence[str], place: str) -> InvalidInput:
    candidates = [n for n in others if n != LABELS]
    have = ", ".join(f"'{n}'" for n in candidates[:5]) or "no other array"
    return InvalidInput(
        f"has no array for the input '{name}'; it has {have}",
        where=place,
        remedy=f"Name the array '{name}': arrays are named after the model's inputs.",
    )


def _check_dtype(dtype: np.dtype, spec: TensorSpec, where: str) -> str | None:
    """Refuse what cannot become the input's dtype; a note where values will be rounded."""
    if dtype.kind in "biu" or dtype == spec.dtype:
        return None  # whole numbers are checked one by one as they are read
    if dtype.kind == "f" and spec.dtype.kind == "f":
        rounds = not np.can_cast(dtype, spec.dtype, "safe")
        return f"'{spec.name}': {dtype} values are rounded to {spec.dtype}." if rounds else None
    raise InvalidInput(
        f"holds {dtype}, but the input takes {spec.dtype}",
        where=where,
        remedy=f"Save it with .astype('{spec.dtype}').",
    )


def _needs_batch_axis(
    rows: Rows, spec: TensorSpec, shape: tuple[int | None, ...] | None, where: str
) -> bool:
    """Whether a row still lacks the batch axis; InvalidInput where it fits in neither way."""
    if shape is None:
        raise UsageError(
            "the model does not say how many dimensions it takes",
            where=f"input {spec.describe()}",
            remedy=f"Say it, for example --shape {spec.name}=1x3x224x224.",
        )
    given = rows.shape
    if len(given) == len(shape) + 1 and _fits(given[1:], shape):
        return False
    if shape and len(given) == len(shape) and shape[0] in (None, 1) and _fits(given[1:], shape[1:]):
        return True
    batch = () if not shape or shape[0] in (None, 1) else (shape[0],)
    wanted = "×".join(str(d or "?") for d in ("samples", *batch, *shape[1:]))
    if given[1:] == (*shape[2:], shape[1] if len(shape) > 1 else None):
        remedy = "Its channels are last: save numpy.moveaxis(array, -1, 1)."
    else:
        remedy = "Save the samples along axis 0, each in the model's shape."
    raise InvalidInput(
        f"has the shape {'×'.join(map(str, given)) or 'of a scalar'}, but should have {wanted}",
        where=where, remedy=remedy,
    )  # fmt: skip


def _fits(given: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    pairs = zip(given, shape, strict=True)
    return all(g == s or (s is None and g > 0) for g, s in pairs)


def _check_counts(columns: Sequence[_Column], place: str) -> None:
    counts = {c.spec.name: c.rows.shape[0] for c in columns}
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{n:,} of '{name}'" for name, n in counts.items())
        raise InvalidInput(
            f"has different numbers of samples: {each}",
            where=place,
            remedy="Save as many samples of each input.",
        )
    if 0 in counts.values():
        raise InvalidInput("has no samples", where=place, remedy="Save at least one sample.")


def _check_named_dimensions(columns: Sequence[_Column], place: str) -> None:
    """A dimension that two inputs call by one name has one size."""
    seen: dict[str, tuple[int, str]] = {}
    for column in columns:
        row = column.rows.shape[1:]
        row = (1, *row) if column.needs_batch_axis else row
        for dim_name, n in zip(column.spec.dim_names, row, strict=False):
            if dim_name is None:
                continue
            other, owner = seen.setdefault(dim_name, (n, column.spec.name))
            if other != n:
                raise InvalidInput(
                    f"dimension '{dim_name}' is {other} in one and {n} in the other",
                    where=f"{place}, arrays '{owner}' and '{column.spec.name}'",
                    remedy="Save arrays whose shapes belong together.",
                )


def _what_is_wrong(row: np.ndarray, dtype: np.dtype) -> str:
    if row.dtype.kind == "f" and np.isnan(row).any():
        return "holds NaN"
    if row.dtype.kind == "f" and np.isinf(row).any():
        return "holds an infinite value"
    low, high = row.min(), row.max()
    return f"its values ({low} to {high}) do not fit into {dtype}"
