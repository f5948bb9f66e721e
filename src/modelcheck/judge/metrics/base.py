"""What a metric is: one question about some outputs, asked of every sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modelcheck.errors import UsageError
from modelcheck.judge.tally import LARGEST_FINITE

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one run of samples, and which sample each is of."""

    values: npt.NDArray[np.float64]
    samples: tuple[int, ...]
    groups: tuple[int | None, ...]  # the class that a sample counts for
    silent: int = 0  # samples that said nothing
    unusable: int = 0  # samples whose reference is not finite


class Scoring(ABC):
    """Accumulates what a metric makes of each sample."""

    outputs: tuple[str, ...]  # those that it looks at

    @abstractmethod
    def update(self, expected: Arrays, actual: Arrays, sample: int, label: int | None) -> None:
        """Add one sample. Raises UsageError where the metric does not fit what is expected."""

    @abstractmethod
    def result(self) -> Scores:
        """The scores so far; more samples may follow."""


class Metric(ABC):
    """One question; its fields are its options."""

    @property
    @abstractmethod
    def wanted(self) -> tuple[str, ...]:
        """The outputs it looks at, in its order; an empty name means the model's only output."""

    @abstractmethod
    def scoring(self, outputs: tuple[str, ...]) -> Scoring:
        """An empty accumulator over these outputs, which stand for those wanted."""


class SampleMetric(Metric):
    """A metric whose every sample is scored by itself."""

    @abstractmethod
    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float | None:
        """How one sample fares; None where it says nothing (neither side found anything).

        `actual` None: what came is missing, misshapen or not finite, which is the worst there is.
        """

    def group(self, expected: tuple[Array, ...]) -> int | None:
        """The class that a sample counts for, in metrics that tell classes apart."""
        return None

    def scoring(self, outputs: tuple[str, ...]) -> Scoring:
        return SampleScoring(self, outputs)


@dataclass
class SampleScoring(Scoring):
    """Keeps a few numbers of each sample, and no arrays."""

    metric: SampleMetric
    outputs: tuple[str, ...]
    _scored: list[tuple[float, int, int | None]] = field(default_factory=list)
    _silent: int = 0
    _unusable: int = 0

    def update(self, expected: Arrays, actual: Arrays, sample: int, label: int | None) -> None:
        wanted = tuple(expected[name] for name in self.outputs)
        if not all(map(is_finite, wanted)):
            self._unusable += 1
            return
        score = self.metric.score(wanted, self._usable(expected, actual), label)
        if score is None:
            self._silent += 1
        else:
            self._scored.append((score, sample, self.metric.group(wanted)))

    def result(self) -> Scores:
        return scores_of(self._scored, silent=self._silent, unusable=self._unusable)

    def _usable(self, expected: Arrays, actual: Arrays) -> tuple[Array, ...] | None:
        found = tuple(
            actual[name]
            for name in self.outputs
            if name in actual
            and actual[name].shape == expected[name].shape
            and is_finite(actual[name])
        )
        return found if len(found) == len(self.outputs) else None


def scores_of(
    scored: Sequence[tuple[float, int, int | None]], *, silent: int = 0, unusable: int = 0
) -> Scores:
    """Of (score, sample, group) in the order of the samples."""
    return Scores(
        np.array([s[0] for s in scored], np.float64),
        tuple(s[1] for s in scored),
        tuple(s[2] for s in scored),
        silent,
        unusable,
    )


def misfit(shape: tuple[int, ...], wants: str) -> UsageError:
    """The error of a metric that does not fit an output."""
    return UsageError(
        f"does not fit: the output has the shape {shape}, and {wants}",
        remedy="Name another output, or another metric; docs/metrics.md lists them.",
    )


def is_finite(array: Array) -> bool:
    """Whether no element is NaN, infinite or beyond 1e30."""
    if array.dtype.kind != "f" or not array.size:
        return True
    return bool(max(float(array.max()), -float(array.min())) <= LARGEST_FINITE)


def only_item(array: Array) -> Array:
    """Without the batch axis, which is 1: one sample is one question."""
    if array.ndim < 2 or array.shape[0] != 1:
        raise misfit(array.shape, "a sample must be a batch of one")
    item: Array = array[0]
    return item
