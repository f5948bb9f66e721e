"""The equivalence stage: every sample once through the reference and every lane, streamed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from modelcheck.data import Sample
from modelcheck.errors import InvalidInput
from modelcheck.judge import Agreement, Comparison, is_class_scores
from modelcheck.model import Model
from modelcheck.verification.extremes import Extremes
from modelcheck.verification.lane import Arrays, Lane
from modelcheck.verification.memory import Runs
from modelcheck.verification.metrics import MetricTally

_RESHAPING = frozenset(("Identity", "Reshape", "Flatten", "Squeeze", "Cast"))
# So many samples and their outputs are kept for the checks that run models a second time.
KEPT_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Kept:
    """One sample and what the models made of it."""

    arrays: Arrays
    expected: Arrays
    original: Arrays
    candidate: Arrays | None


@dataclass
class Tally:
    """The running comparisons of one lane. Without a candidate the original is judged."""

    outputs: Sequence[str]
    class_outputs: Callable[[Mapping[str, tuple[int, ...]]], frozenset[str]]
    alone: bool
    extremes: Extremes | None = None  # for a search for worse inputs
    metrics: Sequence[MetricTally] = ()
    samples: int = 0
    kept: list[Kept] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.target_drift = Comparison(self.outputs, variation=self.alone)
        self.transform_drift = None if self.alone else Comparison(self.outputs)
        self.total = self.target_drift if self.alone else Comparison(self.outputs, variation=True)
        self.target_agreement: dict[str, Agreement] = {}
        self.total_agreement: dict[str, Agreement] = {}

    def add(
        self, sample: Sample, expected: Arrays, original: Arrays, candidate: Arrays | None
    ) -> None:
        if not self.samples:
            for name in self.class_outputs({k: v.shape for k, v in expected.items()}):
                self.target_agreement[name] = Agreement()
                self.total_agreement[name] = Agreement()
        original = aligned(original, expected)
        self.target_drift.update(expected, original, sample.index)
        self._agree(self.target_agreement, expected, original, sample.label)
        if candidate is not None and self.transform_drift is not None:
            candidate = aligned(candidate, expected)
            self.total.update(expected, candidate, sample.index)
            self.transform_drift.update(original, candidate, sample.index)
        judged = original if candidate is None else candidate
        self._agree(self.total_agreement, expected, judged, sample.label)
        if self.extremes is not None:
            outputs = (expected, original, candidate)
            self.extremes.update(sample.index, sample.arrays, outputs, self.total_agreement)
        for metric in self.metrics:
            metric.add(sample, expected, original, candidate)
        self.samples += 1
        if len(self.kept) < KEPT_SAMPLES:
            self.kept.append(Kept(sample.arrays, expected, original, candidate))

    def _agree(
        self,
        agreements: Mapping[str, Agreement],
        expected: Arrays,
        actual: Arrays,
        label: int | None,
    ) -> None:
        labels = None if label is None else np.array([label])
        for name, agreement in agreements.items():
            if name in actual:
                agreement.update(expected[name], actual[name], labels)


def stream(
    samples: Iterable[Sample],
    reference: Runs,
    lanes: Sequence[Lane],
    tallies: Mapping[int, Tally],
) -> Iterator[int]:
    """Run every sample everywhere; yields how many are done.

    A sample is sent to all processes before any answer is awaited, and its answers are compared
    while the next one runs: the processes work side by side, and seldom wait. (Those of a solo
    lane, with several threads each, take turns.)
    """
    sent: Sample | None = None
    answers: list[tuple[int, Arrays, Arrays | None]] = []
    for done, sample in enumerate(chain(samples, [None])):
        expected: Arrays = {}
        if sent is not None:
            expected, answers = _receive(reference, lanes)
        if sample is not None and any(lane.alive for lane in lanes):
            reference.send(sample.arrays)
            for lane in lanes:
                if lane.alive:
                    lane.send(sample.arrays)
        if sent is not None:
            for i, original, candidate in answers:
                tallies[i].add(sent, expected, original, candidate)
            yield done
        if not any(lane.alive for lane in lanes):
            return
        sent = sample


def _receive(
    reference: Runs, lanes: Sequence[Lane]
) -> tuple[Arrays, list[tuple[int, Arrays, Arrays | None]]]:
    """The answers to the sample that was sent last; a lane that fails now has none."""
    expected = reference.receive()
    answers = [(i, lane.receive()) for i, lane in enumerate(lanes) if lane.alive]
    return expected, [(i, *both) for i, both in answers if both is not None]


def class_outputs(
    shapes: Mapping[str, tuple[int, ...]],
    made_by: Mapping[str, str],
    *,
    declared: bool,
    largest_label: int | None,
) -> frozenset[str]:
    """The outputs whose top class is compared.

    Those of the shape of class scores, where labels are given, agreement is declared, or the
    graph ends in Softmax or LogSoftmax; and one index a sample that ArgMax makes. `made_by` is
    the operator that makes an output.
    Raises InvalidInput for labels beyond the classes of every output.
    """
    scores = {name for name, shape in shapes.items() if is_class_scores(shape)}
    indices = {n for n, s in shapes.items() if made_by.get(n) == "ArgMax" and math.prod(s[1:]) == 1}
    if largest_label is not None and scores and all(shapes[n][1] <= largest_label for n in scores):
        most = max(shapes[n][1] for n in scores)
        raise InvalidInput(
            f"label {largest_label} is given, but the model has {most} classes, 0 to {most - 1}",
            where="labels",
            remedy="Number the labels as the model numbers its classes, or leave them out.",
        )
    if not declared and largest_label is None:
        scores = {n for n in scores if made_by.get(n) in {"Softmax", "LogSoftmax"}}
    return frozenset(scores | indices)


def made_by(model: Model) -> dict[str, str]:
    """The operator that makes each output, looking through reshapes and casts."""
    operators = {}
    for value in model.graph.outputs:
        node = value.producer()
        while node is not None and node.op_type in _RESHAPING:
            source = node.inputs[0]
            node = None if source is None else source.producer()
        if node is not None:
            operators[str(value.name)] = node.op_type
    return operators


def aligned(actual: Arrays, expected: Arrays) -> dict[str, np.ndarray]:
    """cv2 adds and drops dimensions of 1 (a scalar, a vector): give them the reference's shape.

    Anything else stays as it is and is found by the comparison.
    """
    return {name: _align(array, expected.get(name)) for name, array in actual.items()}


def _align(actual: np.ndarray, expected: np.ndarray | None) -> np.ndarray:
    if expected is None or actual.shape == expected.shape:
        return actual
    if actual.squeeze().shape == expected.squeeze().shape:
        return actual.reshape(expected.shape)
    return actual


def scale_relative(expected: Arrays, actual: Arrays) -> float:
    """max|Δ| / max|expected|, the largest over the outputs; NaN where they cannot be compared."""
    worst = 0.0
    for name, value in expected.items():
        if name not in actual or actual[name].shape != value.shape:
            return math.nan
        if value.size == 0:
            continue
        scale = float(np.abs(value).max())
        error = float(np.abs(actual[name].astype(np.float64) - value).max())
        if math.isnan(error):
            return math.nan
        worst = max(worst, error / scale if scale else (math.inf if error else 0.0))
    return worst
