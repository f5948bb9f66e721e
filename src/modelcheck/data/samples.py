"""Samples: what a model is fed, as an immutable, re-iterable stream."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from modelcheck.errors import UsageError
from modelcheck.units import plural


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample. Its arrays have their batch axis and the model's dtype, and own their memory.

    `index` counts from 0 in the Samples it came from; `name` says where it was found (a file, a
    row) and stays the same in every selection.
    """

    index: int
    arrays: Mapping[str, np.ndarray]
    label: int | None
    name: str


class Samples(ABC):
    """Samples in a fixed order, read anew by each iteration.

    Iterating holds one sample (images: a few) in memory, however many there are, and raises
    InvalidInput at the first sample that is damaged, not finite or changed since it was first
    read. `inputs` are the model's input names; `labels` int64 (count,) or None; `notes` are
    sentences that a screen should show (what was left out, rounded or assumed).
    """

    inputs: tuple[str, ...]
    labels: np.ndarray | None
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    digest_of: str = "arrays"  # what `digests` is the content of: 'arrays' or 'files'

    def __init__(
        self,
        inputs: Sequence[str],
        total: int,
        *,
        labels: np.ndarray | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.inputs = tuple(inputs)
        self.labels = labels
        self.notes = tuple(notes)
        self._total = total
        self._indices: Sequence[int] = range(total)
        self._known_digests: dict[int, str] = {}  # shared with every selection

    @abstractmethod
    def _read(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        """The arrays of these samples, in this order."""

    @abstractmethod
    def _name(self, index: int) -> str:
        """Where the sample is found: 'cat/017.jpg', 'sample 3'."""

    @abstractmethod
    def _place(self) -> tuple[str, str]:
        """Where all samples are found, and the noun for one of them: ('images/', 'image')."""

    def _settings(self) -> str:
        """What besides the samples decides the arrays, as text for `digest`."""
        return ""

    def _digest_all(self, indices: Sequence[int]) -> Iterator[str]:
        return map(_content, self._read(indices))

    @property
    def count(self) -> int:
        return len(self._indices)

    @property
    def origin(self) -> str:
        """'images/ (200 images)', 'images/ (133 of 200 images)'."""
        place, noun = self._place()
        part = "" if self.count == self._total else f"{self.count:,} of "
        return f"{place} ({part}{plural(self._total, noun)})"

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        labels = [None] * self.count if self.labels is None else [int(x) for x in self.labels]
        arrays = self._read(self._indices)
        for index, row, label, one in zip(
            range(self.count), self._indices, labels, arrays, strict=True
        ):
            yield Sample(index, one, label, self._name(row))

    def select(self, indices: Iterable[int]) -> Self:
        """The samples at these positions, in this order; caches and open files are shared."""
        wanted = list(indices)
        if any(not 0 <= i < self.count for i in wanted):
            raise IndexError(f"a sample outside 0..{self.count - 1} was selected")
        chosen = copy.copy(self)
        chosen.__dict__.pop("digest", None)
        chosen._indices = [self._indices[i] for i in wanted]
        chosen.labels = None if self.labels is None else self.labels[wanted]
        return chosen

    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each sample's content: equal samples have equal digests, labels apart.

        Of arrays, the arrays as the model takes them; of images, the file's bytes.
        """
        unknown = [i for i in self._indices if i not in self._known_digests]
        for index, digest in zip(unknown, self._digest_all(unknown), strict=True):
            self._known_digests[index] = digest
        return tuple(self._known_digests[i] for i in self._indices)

    def array_digests(self) -> tuple[str, ...]:
        """As `digests`, of the arrays that the model takes, whatever they were read from."""
        return tuple(map(_content, self._read(self._indices)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that is fed and judged: samples, order, settings, labels."""
        whole = hashlib.sha256(json.dumps([self.inputs, self._settings()]).encode())
        for digest in self.digests():
            whole.update(bytes.fromhex(digest))
        if self.labels is not None:
            whole.update(b"labels" + self.labels.astype("<i8").tobytes())
        return whole.hexdigest()


def batched(samples: Samples, n: int) -> Iterator[dict[str, np.ndarray]]:
    """Full batches of n samples along axis 0, for a model whose batch is free.

    Sample j of batch k is sample k*n + j; a rest of fewer than n samples is left out.
    """
    if n < 1:
        raise UsageError(f"a batch of {n} samples makes no sense", where="batch size")
    pending: list[Mapping[str, np.ndarray]] = []
    for sample in samples:
        pending.append(sample.arrays)
        if len(pending) == n:
            yield {name: np.concatenate([p[name] for p in pending]) for name in samples.inputs}
            pending = []


def _content(arrays: Mapping[str, np.ndarray]) -> str:
    whole = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], arrays[name].dtype.newbyteorder("<"))
        head = json.dumps([name, array.dtype.str, arrays[name].shape])
        whole.update(head.encode("utf-8", "surrogatepass"))
        whole.update(array.reshape(-1).view(np.uint8).data)
    return whole.hexdigest()
