"""int8 where it pays and holds: which layers, found on the choosing samples.

1. some sets of layers (all of them, only wide kernels, only 1x1) are written in int8 and raced
2. from the fastest on, kind after kind of layer goes into the set or out of it
3. of a set that is faster, the layers that cost the most stay in float, until the limits hold
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from modelcheck.diagnose.measure import relative_noise
from modelcheck.errors import ModelcheckError
from modelcheck.model import Model
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.reference.activations import Histogram, Range
from modelcheck.transforms import Activations, Context, Transform, build
from modelcheck.transforms.graph import constant, is_standard, layer_name

Members = frozenset[str]  # layers in int8, by name
CALIBRATIONS = ("minmax", "mse")  # ways to find ranges, in the order in which they are tried
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LOOKED_AT = 4  # samples that tell which layer costs how much
_KEY = "sensitivity"


@dataclass
class RememberedRanges:
    """Activations whose ranges are measured once, however often a search asks for them."""

    activations: Activations
    _known: dict[tuple[str, float, str], Range] = field(default_factory=dict)

    def __call__(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        return self.activations(model, names)

    def ranges(
        self,
        model: Model,
        names: Sequence[str],
        *,
        inside: float = 1.0,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> Mapping[str, Range]:
        digest = model.digest
        missing = [n for n in names if (digest, inside, n) not in self._known]
        found = self.activations.ranges(model, missing, inside=inside, progress=progress)
        self._known |= {(digest, inside, name): range_ for name, range_ in found.items()}
        return {name: self._known[digest, inside, name] for name in names}

    def histograms(
        self,
        model: Model,
        names: Sequence[str],
        *,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> Mapping[str, Histogram]:
        return self.activations.histograms(model, names, progress=progress)


def quantizer(
    scheme: str, layers: Sequence[str], keep: Sequence[str], calibration: str = CALIBRATIONS[0]
) -> Transform:
    """The step that writes `layers` in int8, but for those to keep in float."""
    options = {"scheme": scheme, "exclude": [n for n in layers if n in set(keep)]}
    if calibration != CALIBRATIONS[0]:
        options["calibration"] = calibration
    return build("quantize", options)


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


def toggled(members: Members, groups: Sequence[Members]) -> Members:
    """The set with groups of layers in it that were not, and without those that were."""
    for group in groups:
        members = members - group if group <= members else members | group
    return members


def sets_to_try(layers: Mapping[str, tuple[int, ...]]) -> dict[str, Members]:
    """Sets of layers by a name; those that are empty, or like another one, are left out."""
    wide = [n for n, shape in layers.items() if max(shape[2:], default=1) > 1 and shape[1] > 1]
    dense = [n for n, shape in layers.items() if max(shape[2:], default=1) == 1]
    deep = [n for n, shape in layers.items() if len(shape) < 3 or shape[1] > 1]
    found: dict[str, Members] = {}
    named = {"int8": list(layers), "int8 but depthwise": deep, "int8 k×k": wide, "int8 1×1": dense}
    for name, members in named.items():
        if members and frozenset(members) not in found.values():
            found[name] = frozenset(members)
    return found


@dataclass
class Sensitivity:
    """How much noise each layer in int8, and no other, adds to the outputs."""

    model: Model
    scheme: str
    context: Context
    reference: Reference
    samples: Sequence[Mapping[str, np.ndarray]]

    def order(self, members: Sequence[str], workspace: Workspace) -> Iterator[tuple[str, float]]:
        """Each of the layers with its noise over the signal, of the worst output."""
        layers = list(weight_layers(self.model))
        expected = [self.reference.run(s) for s in self.samples[:_LOOKED_AT]]
        path = workspace.path / "sensitivity.onnx"
        for name in members:
            step = quantizer(self.scheme, layers, [other for other in layers if other != name])
            alone = step(self.model, self.context)
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
