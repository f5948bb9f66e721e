"""Which layers int8 hurts most, and how few of them must stay in float."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelcheck.diagnose.measure import relative_noise
from modelcheck.errors import ModelcheckError
from modelcheck.model import Model
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.transforms import Context, Transform
from modelcheck.transforms.graph import constant, is_standard, layer_name

Arrays = Mapping[str, np.ndarray]
Keeping = Callable[[Sequence[str]], Transform]
"""Layers to keep in float -> the step that writes all others in int8."""

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LOOKED_AT = 4  # samples that tell which layer costs how much
_KEY = "sensitivity"


def weight_layers(model: Model) -> dict[str, tuple[int, ...]]:
    """The layers that may be written in int8, with the shape of their weights."""
    found = {}
    for node in model.graph:
        if not is_standard(node, *_LAYERS):
            continue
        tensors = [t for v in node.inputs[:2] if (t := constant(v)) is not None]
        if tensors:
            found[layer_name(node)] = tuple(int(d) for d in tensors[0].shape.numpy())
    return found


@dataclass
class Sensitivity:
    """How much noise each layer in int8, and no other, adds to the outputs in onnxruntime.

    `expected` is what the model in float gives for the samples. As many layers are looked at side
    by side as there are references, none of which `context` uses; steps are applied one by one.
    """

    model: Model
    quantizing: Keeping
    context: Context
    references: Sequence[Reference]
    samples: Sequence[Arrays]
    expected: Sequence[Arrays]

    def order(self, members: Sequence[str], workspace: Workspace) -> Iterator[tuple[str, float]]:
        """Each of the layers with its noise over the signal, of the worst output."""
        layers = list(weight_layers(self.model))
        running: deque[tuple[str, Future[float] | None]] = deque()
        with ThreadPoolExecutor(len(self.references)) as pool:
            for number, name in enumerate(members):
                keep = [other for other in layers if other != name]
                alone = self.quantizing(keep)(self.model, self.context)
                if len(running) == len(self.references):  # so that the next one is idle
                    yield _said(running.popleft())
                future = None
                if alone is not self.model:
                    turn = number % len(self.references)
                    path = workspace.path / f"sensitivity{turn}.onnx"
                    write_private(alone, path)
                    future = pool.submit(self._noise, self.references[turn], path)
                running.append((name, future))
            while running:
                yield _said(running.popleft())

    def _noise(self, reference: Reference, path: Path) -> float:
        samples, expected = self.samples[:_LOOKED_AT], self.expected[:_LOOKED_AT]
        try:
            reference.load(path, _KEY)
            return relative_noise(expected, [reference.run(s, key=_KEY) for s in samples])
        except ModelcheckError:  # cannot be judged, so it stays in float first
            return float("inf")
        finally:
            reference.unload(_KEY)


def _said(looked_at: tuple[str, Future[float] | None]) -> tuple[str, float]:
    name, future = looked_at
    return name, 0.0 if future is None else future.result()


@dataclass
class Fewest:
    """The least number that will do, by halving: what holds with some holds with more.

    Iterate `run`, which yields after every try; `found` is the least that did, None if none has.
    """

    least: int
    most: int
    holds: Callable[[int], bool]
    found: int | None = None

    def run(self) -> Iterator[None]:
        low, high = self.least, self.most
        while low <= high:
            middle = (low + high) // 2
            if self.holds(middle):
                self.found, high = middle, middle - 1
            else:
                low = middle + 1
            yield
