"""Embeddings: the angle to the reference's, and whether the nearest neighbour stays the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from modelcheck.judge.metrics.base import (
    Array,
    Arrays,
    Metric,
    SampleMetric,
    Scores,
    Scoring,
    misfit,
    scores_of,
)
from modelcheck.judge.metrics.classes import OutputName

_AS_NEAR = 1e-6  # of a cosine: where two neighbours are as near, either one is right


@dataclass(frozen=True, kw_only=True)
class Cosine(SampleMetric):
    """The cosine of the angle between the two embeddings; below 0 it counts as 0."""

    output: OutputName = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.output,)

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float:
        x = embedding(expected[0])
        if actual is None:
            return 0.0
        return float(np.clip((x * embedding(actual[0])).sum(), 0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Neighbours(Metric):
    """1 where a query has the same nearest neighbour as with the reference, else 0.

    Every other sample goes into the gallery, the rest are queries: so what one query finds
    depends on no other, which the bounds need. Judged for a gallery of that size. The candidate
    is asked with its own queries and its own gallery, as where it replaces the original.
    """

    output: OutputName = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.output,)

    def scoring(self, outputs: tuple[str, ...]) -> Scoring:
        return NeighbourScoring(outputs)


@dataclass
class NeighbourScoring(Scoring):
    """Keeps the embeddings of both sides: 16 bytes a sample and dimension."""

    outputs: tuple[str, ...]
    _pairs: list[tuple[int, Array, Array]] = field(default_factory=list)

    def update(self, expected: Arrays, actual: Arrays, sample: int, label: int | None) -> None:
        x = expected[self.outputs[0]]
        self._pairs.append((sample, embedding(x), _given(x, actual.get(self.outputs[0]))))

    def result(self) -> Scores:
        pairs = [pair for pair in self._pairs if np.isfinite(pair[1]).all()]
        gallery, queries = pairs[0::2], pairs[1::2]
        scored = [(_keeps_its_neighbour(query, gallery), query[0], None) for query in queries]
        return scores_of(scored, unusable=len(self._pairs) - len(pairs))


def embedding(output: Array) -> Array:
    """The unit vector of one sample; zeros stay zeros."""
    if output.dtype.kind in "biu" or output.size < 2 or output.shape[0] != 1:
        raise misfit(output.shape, "an embedding is (1, D) numbers, D >= 2")
    x = output.reshape(-1).astype(np.float64)
    length = float(np.sqrt(np.square(x).sum()))
    return x / length if length > 0 else x


def _given(expected: Array, actual: Array | None) -> Array:
    if actual is None or actual.shape != expected.shape:
        return np.full(expected.size, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return embedding(actual)


def _keeps_its_neighbour(
    query: tuple[int, Array, Array], gallery: list[tuple[int, Array, Array]]
) -> float:
    # Not a matrix product: the threads of BLAS take the cores from the models that run.
    expected = np.einsum("ij,j->i", np.stack([pair[1] for pair in gallery]), query[1])
    given = np.einsum("ij,j->i", np.stack([pair[2] for pair in gallery]), query[2])
    if not np.isfinite(given).all():
        return 0.0
    return float(expected[int(np.argmax(given))] >= expected.max() - _AS_NEAR)
