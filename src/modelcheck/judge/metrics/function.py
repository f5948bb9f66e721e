"""A metric of the user's own: a Python callable of the pytest fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

from modelcheck.errors import UsageError, printable
from modelcheck.judge.metrics.base import (
    Array,
    Arrays,
    Metric,
    Scores,
    Scoring,
    is_finite,
    scores_of,
)

Function = Callable[[Mapping[str, Array], Mapping[str, Array]], object]


class Watched(Mapping[str, Array]):
    """Outputs that cannot be written to, and that note which of them are read."""

    def __init__(self, arrays: Arrays, read: set[str]) -> None:
        self._arrays, self._read = arrays, read

    def __getitem__(self, name: str) -> Array:
        array = self._arrays[name].view()
        array.flags.writeable = False
        self._read.add(name)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


@dataclass(frozen=True)
class FunctionMetric(Metric):
    """Stands for the callable; it looks at whatever it likes, so no output is named."""

    function: Function

    @property
    def wanted(self) -> tuple[str, ...]:
        return ()

    def scoring(self, outputs: tuple[str, ...]) -> Scoring:
        return FunctionScoring(self.function)


class FunctionScoring(Scoring):
    """Calls the callable for each sample; `outputs` are those that it has read."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._scored: list[tuple[float, int, int | None]] = []
        self._unusable = 0
        self._read: set[str] = set()
        self.outputs = ()

    def update(self, expected: Arrays, actual: Arrays, sample: int, label: int | None) -> None:
        """Raises UsageError for a callable that raises, or returns no number from 0 to 1."""
        if not all(map(is_finite, expected.values())):
            self._unusable += 1
            return
        score = self._call(expected, actual, sample) if _is_usable(expected, actual) else 0.0
        self._scored.append((score, sample, None))
        self.outputs = tuple(sorted(self._read))

    def result(self) -> Scores:
        return scores_of(self._scored, unusable=self._unusable)

    def _call(self, expected: Arrays, actual: Arrays, sample: int) -> float:
        try:
            score = self._function(Watched(expected, self._read), Watched(actual, self._read))
        except Exception as error:
            raise UsageError(
                f"raised {type(error).__name__}: {printable(str(error), 300)} (sample {sample})",
                remedy="It is called with two mappings of outputs by name: expected and actual.",
            ) from None
        if not isinstance(score, (Real, np.bool_)) or not 0 <= float(score) <= 1:
            raise UsageError(
                f"returned {printable(repr(score))}, not a number from 0 to 1 (sample {sample})",
                remedy="1 says: as good as the reference.",
            )
        return float(score)


def _is_usable(expected: Arrays, actual: Arrays) -> bool:
    return all(
        name in actual and actual[name].shape == array.shape and is_finite(actual[name])
        for name, array in expected.items()
    )
