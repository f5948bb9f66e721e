"""Text that a net reads with CTC: the edit distance between what both sides read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from modelcheck.judge.metrics.base import Array, SampleMetric, misfit
from modelcheck.judge.metrics.classes import OutputName


@dataclass(frozen=True, kw_only=True)
class Ctc(SampleMetric):
    """Edit distance over the length of the longer text: 0 where both read the same, at most 1.

    Greedy decoding: the arg max of every step, repetitions collapsed, blanks dropped. Scores are
    (1, T, C) or (T, 1, C). Where both sides read nothing, the sample says nothing.
    """

    output: OutputName = ""
    blank: Annotated[int, Field(description="index of the blank; -1: the last class")] = 0

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.output,)

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float | None:
        wanted = self.decode(expected[0])
        if actual is None:
            return 1.0
        given = self.decode(actual[0])
        longer = max(len(wanted), len(given))
        return edit_distance(wanted, given) / longer if longer else None

    def decode(self, output: Array) -> list[int]:
        """The classes that are read."""
        if output.ndim != 3 or 1 not in output.shape[:2] or output.shape[2] < 2:
            raise misfit(output.shape, "scores of a CTC are (1, T, C) or (T, 1, C)")
        steps = output.reshape(-1, output.shape[2])
        if not -1 <= self.blank < steps.shape[1]:
            raise misfit(output.shape, f"there is no class {self.blank} to be the blank")
        best = steps.argmax(axis=1)
        first = np.ones(len(best), bool)
        first[1:] = best[1:] != best[:-1]
        return [int(c) for c in best[first] if c != self.blank % steps.shape[1]]


def edit_distance(first: Sequence[int], second: Sequence[int]) -> int:
    """The fewest insertions, deletions and substitutions (Levenshtein, 1966)."""
    above = list(range(len(second) + 1))
    for i, x in enumerate(first, start=1):
        row = [i]
        for j, y in enumerate(second, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y)))
        above = row
    return above[-1]
