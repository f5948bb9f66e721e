"""The smallest sub-model and the one input that still show the error.

A layer that a transform changed is its own smallest form: it is held against what the original
computes. What the target computes wrongly is made smaller from both ends while the target still
differs from onnxruntime on the very same sub-model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.diagnose.bench import Arrays, Bench, NotRun
from modelcheck.diagnose.cutting import Feed, cut
from modelcheck.diagnose.evidence import LayerEvidence, Origin, Reproduction
from modelcheck.diagnose.measure import relative_noise
from modelcheck.diagnose.net import Net
from modelcheck.diagnose.study import Study
from modelcheck.model import Model
from modelcheck.model.scene import QUANTIZERS

# A smaller model shows the error still when it has at least this share of the noise.
_STILL = 0.25
# Of many tensors near the inputs of a long piece, only so many are tried as its end.
_MOST_TRIES = 200


def reproduce(study: Study, layer: LayerEvidence, rounding: float) -> Reproduction | None:
    """None where the error is not seen by itself on the worst sample (noise over `rounding`)."""
    part = layer.part
    sample = 0 if layer.own is None else layer.own.worst_sample or 0
    values = study.reference_values([part.output, *part.inputs])[sample]
    model, feeds = study.candidate_part(part), study.feeds(part, [values])[0]
    if layer.origin is Origin.TRANSFORM:
        answers = study.bench.on_target(model, [feeds])
        if isinstance(answers, NotRun):
            return None
        expected = values[part.output]
        noise = relative_noise([{"y": expected}], [{"y": answers[0]["output_0"]}])
        return _reproduction(model, feeds, expected, noise, "the original in onnxruntime")
    search = _Search(study.bench, Net(model), feeds, rounding)
    return search.smallest()


@dataclass(frozen=True)
class _Cut:
    """A piece between tensors, and how far the target is from onnxruntime there."""

    inputs: tuple[str, ...]
    output: str
    noise: float
    model: Model
    feeds: Arrays
    expected: np.ndarray


class _Search:
    """Pieces of one small model, on one input."""

    def __init__(self, bench: Bench, net: Net, feeds: Arrays, rounding: float) -> None:
        self._bench, self._net = bench, net
        self._inputs = tuple(str(v.name) for v in net.inputs)
        self._arrays = {n: feeds[n] for n in self._inputs}
        self._arrays |= self._inner_values()
        self._rounding = rounding

    def smallest(self) -> Reproduction | None:
        whole = self._try(self._inputs, self._outputs()[-1])
        if whole is None or whole.noise <= self._rounding:
            return None
        best, enough = whole, max(self._rounding, _STILL * whole.noise)
        for output in self._outputs()[:_MOST_TRIES]:  # the earliest end that shows it
            found = self._try(self._inputs, output)
            if found is not None and found.noise >= enough:
                best = found
                break
        for inputs in self._starts(best.output):  # the latest start that shows it
            found = self._try(inputs, best.output)
            if found is not None and found.noise >= enough:
                best = found
                break
        return _reproduction(
            best.model, best.feeds, best.expected, best.noise, "the same model in onnxruntime"
        )

    def _outputs(self) -> list[str]:
        return [str(v.name) for v in self._net.cuttable()]

    def _starts(self, output: str) -> Iterator[tuple[str, ...]]:
        """Where a piece that ends at `output` may begin, from near to far."""
        edge: dict[ir.Value, None] = {self._net.values[output]: None}
        known = {self._net.values[n] for n in self._arrays}
        seen: set[tuple[str, ...]] = set()
        while True:
            further: dict[ir.Value, None] = {}
            for value in edge:
                if value in self._net.inputs:
                    further[value] = None
                else:
                    _, read = self._net.before(value, known)
                    further |= dict.fromkeys(read)
            names = tuple(str(v.name) for v in further)
            if not names or names in seen:
                return
            seen.add(names)
            yield names
            edge = further

    def _try(self, inputs: Sequence[str], output: str) -> _Cut | None:
        """The piece between these tensors; None where there is none, or it does not run."""
        values = self._net.values
        want = str(self._net.as_read(values[output]).name)
        feeds = {n: Feed(f"input_{i}", self._arrays[n].shape) for i, n in enumerate(inputs)}
        model = cut(self._net, feeds, {want: self._arrays[output].shape})
        arrays = {feed.name: self._arrays[n] for n, feed in feeds.items()}
        right = self._bench.in_reference(model, [arrays])
        there = self._bench.on_target(model, [arrays])
        if isinstance(right, NotRun) or isinstance(there, NotRun):
            return None
        expected = right[0]["output_0"]
        actual = there[0]["output_0"]
        if actual.size == expected.size:
            actual = actual.reshape(expected.shape)
        noise = relative_noise([{"y": expected}], [{"y": actual}])
        return _Cut(tuple(inputs), output, noise, model, arrays, expected)

    def _inner_values(self) -> Mapping[str, np.ndarray]:
        """What onnxruntime computes for each tensor that can be cut."""
        names = self._outputs()
        feeds = {n: Feed(n, self._arrays[n].shape) for n in self._inputs}
        model = cut(self._net, feeds, dict.fromkeys(names))
        answers = self._bench.in_reference(model, [self._arrays])
        if isinstance(answers, NotRun):
            return {}
        return {n: answers[0][f"output_{i}"] for i, n in enumerate(names)}


def _reproduction(
    model: Model, feeds: Arrays, expected: np.ndarray, noise: float, truth: str
) -> Reproduction:
    read = {str(v.name) for v in model.graph.inputs}
    frozen = Model.freeze(model.edit(), name="model")
    return Reproduction(
        model=frozen,
        inputs={name: array for name, array in feeds.items() if name in read},
        expected=expected,
        error=math.sqrt(noise),
        nodes=sum(node.op_type not in (*QUANTIZERS, "Constant") for node in frozen.graph),
        truth=truth,
    )
