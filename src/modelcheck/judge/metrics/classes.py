"""Metrics of class scores: top-k agreement, flips by class, divergence, and accuracy by labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from modelcheck.errors import UsageError
from modelcheck.judge.agreement import is_class_scores
from modelcheck.judge.metrics.base import Array, SampleMetric, misfit

OutputName = Annotated[str, Field(description="the output; default: the only one")]

# Probabilities sum to 1 within what float16 and int8 round a thousand of them to.
_SUM_TOLERANCE = 1e-2
_LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True)
class _OfClasses(SampleMetric):
    output: OutputName = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.output,)

    def group(self, expected: tuple[Array, ...]) -> int | None:
        return _top_class(expected[0])


@dataclass(frozen=True, kw_only=True)
class Top1(_OfClasses):
    """1 where the top class is that of the reference, else 0."""

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float:
        wanted = _top_class(expected[0])
        return float(actual is not None and _top_class(actual[0]) == wanted)


@dataclass(frozen=True, kw_only=True)
class Top5(_OfClasses):
    """1 where the top class of the reference is among the five highest, else 0."""

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float:
        scores = _scores(expected[0])
        if len(scores) <= 5:
            raise misfit(expected[0].shape, "the five highest of so few classes are all of them")
        return float(actual is not None and int(np.argmax(scores)) in _highest(actual[0], 5))


@dataclass(frozen=True, kw_only=True)
class Flips(_OfClasses):
    """1 where the top class is another than that of the reference; judged class by class."""

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float:
        wanted = _top_class(expected[0])
        return float(actual is None or _top_class(actual[0]) != wanted)


@dataclass(frozen=True, kw_only=True)
class Divergence(_OfClasses):
    """Kullback-Leibler divergence from the reference, in nats.

    KL(p || q) = sum_i p_i log(p_i / q_i)
    p, q: the outputs, where those of the reference are probabilities or their logarithms, else
    their softmax. A q_i of 0 counts as the smallest normal float32.
    """

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float:
        wanted = _scores(expected[0])
        if actual is None:
            return math.inf
        given = _scores(actual[0])
        p, q = _logarithms(wanted, wanted), _logarithms(given, wanted)
        return max(0.0, float((np.exp(p) * (p - q)).sum()))

    def group(self, expected: tuple[Array, ...]) -> int | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Drop(_OfClasses):
    """By labels: 1 where only the reference is right, -1 where only the candidate is, else 0.

    Its mean is the drop in top-k accuracy, paired sample by sample.
    """

    top: Annotated[int, Field(ge=1, description="k of the top-k accuracy")] = 1

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float:
        if label is None:
            raise UsageError("wants labels, and a sample has none", remedy=NEEDS_LABELS)
        if self.top > 1 and len(_scores(expected[0])) <= self.top:
            raise misfit(expected[0].shape, f"the {self.top} highest are all of them")
        before = self._is_right(expected[0], label)
        return float(before) - float(actual is not None and self._is_right(actual[0], label))

    def group(self, expected: tuple[Array, ...]) -> int | None:
        return None

    def _is_right(self, output: Array, label: int) -> bool:
        if self.top == 1:
            return _top_class(output) == label
        return label in _highest(output, self.top)


NEEDS_LABELS = (
    "Give labels: 'labels' in the .npz, a labels.csv in the folder, or one subfolder a class."
)


def _scores(output: Array) -> Array:
    if output.dtype.kind in "biu" or not is_class_scores(output.shape) or len(output) != 1:
        raise misfit(output.shape, "class scores are (1, C) or (1, C, 1, 1) numbers")
    return output.reshape(-1).astype(np.float64)


def _top_class(output: Array) -> int:
    """The arg max, or the entry itself where the net ends in ArgMax."""
    if output.dtype.kind in "biu" and output.size == 1:
        return int(output.reshape(()))
    return int(np.argmax(_scores(output)))


def _highest(output: Array, k: int) -> set[int]:
    # Stable, so that a net whose scores are all equal agrees with nothing but the first classes.
    return set(np.argsort(-_scores(output), kind="stable")[:k].tolist())


def _logarithms(scores: Array, reference: Array) -> Array:
    """The logarithms of the probabilities that `scores` are, or stand for, as `reference` shows."""
    if reference.min() >= 0 and abs(reference.sum() - 1) < _SUM_TOLERANCE:
        clipped = np.maximum(scores, _LEAST_PROBABILITY)
        probabilities: Array = np.log(clipped / clipped.sum())
        return probabilities
    # Of logarithms of probabilities the softmax gives these probabilities again.
    shifted = scores - scores.max()
    logarithms: Array = shifted - math.log(float(np.exp(shifted).sum()))
    return logarithms
