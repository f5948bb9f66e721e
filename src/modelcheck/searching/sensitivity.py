"""Which layers int8 hurts most, and how few of them must stay in float."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelcheck.diagnose.measure import relative_noise
from modelcheck.errors import ModelcheckError
from modelcheck.model import Model
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.transforms import Context, Transform
from modelcheck.transforms.graph import constant, is_standard, layer_name

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
    """How much noise each layer in int8, and no other, adds to the outputs in onnxruntime."""

    model: Model
    quantizing: Keeping
    context: Context
    reference: Reference
    samples: Sequence[Mapping[str, np.ndarray]]

    def order(self, members: Sequence[str], workspace: Workspace) -> Iterator[tuple[str, float]]:
        """Each of the layers with its noise over the signal, of the worst output."""
        layers = list(weight_layers(self.model))
        expected = [self.reference.run(s) for s in self.samples[:_LOOKED_AT]]
        path = workspace.path / "sensitivity.onnx"
        for name in members:
            alone = self.quantizing([other for other in layers if other != name])(
                self.model, self.context
            )
            if alone is self.model:
                yield name, 0.0
                continue
            write_private(alone, path)
            try:
                self.reference.load(path, _KEY)
                actual = [self.reference.run(s, key=_KEY) for s in self.samples[:_LOOKED_AT]]
                yield name, relative_noise(expected, actual)
            except ModelcheckError:  # cannot be judged, so it stays in float first
                yield name, float("inf")
            finally:
                self.reference.unload(_KEY)


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
