"""Quantized models for tests: calibrated in a child process, and compared by SQNR."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from small_graphs import FIXTURES, model, node, normal

from modelcheck.data.samples import Sample
from modelcheck.model import Model, load
from modelcheck.process import Workspace
from modelcheck.reference import Reference, ReferenceActivations
from modelcheck.transforms.base import Context
from modelcheck.transforms.quantize import quantize

Inputs = Mapping[str, np.ndarray]
DIGITS = ("digits_resnet", "digits_depthwise", "digits_vit", "digits_mlp", "digits_twohead")


@dataclass(frozen=True)
class Quantized:
    """A quantized model, and why each layer that stayed float did."""

    model: Model
    left_alone: dict[str, str]

    def operators(self) -> list[str]:
        return [n.op_type for n in self.model.graph]

    def stored(self, name: str) -> np.ndarray:
        """An initializer as a float array: what its DequantizeLinear gives."""
        weights = self.model.weights
        scale = weights[f"{name}.scale"]
        steps = weights[f"{name}.int8"].astype(np.float32)
        axis = self.model.graph.initializers[f"{name}.int8"].uses()
        attributes = next(iter(axis)).node.attributes
        shape = [1] * steps.ndim
        if scale.ndim:
            shape[attributes.get_int("axis", 1)] = -1
        return np.asarray(steps * scale.reshape(shape))


class Quantizer:
    """Calibrates in one child process, whatever the model."""

    def __init__(self, reference: Reference, workspace: Workspace) -> None:
        self._reference = reference
        self._workspace = workspace

    def context(self, samples: Sequence[Inputs]) -> Context:
        given = [Sample(i, arrays, None, str(i)) for i, arrays in enumerate(samples)]
        activations = ReferenceActivations(self._reference, given, self._workspace)
        return Context(activations=activations)

    def __call__(self, original: Model, samples: Sequence[Inputs], **options: object) -> Quantized:
        context = self.context(samples)
        result = quantize(**options)(original, context)
        return Quantized(result, {left.layer: left.reason for left in context.left_alone})


@contextmanager
def quantizing() -> Iterator[Quantizer]:
    with Workspace() as workspace, Reference() as reference:
        yield Quantizer(reference, workspace)


def digits(name: str) -> Model:
    return load(FIXTURES / f"{name}.onnx")


def calibration_images(count: int = 60) -> list[Inputs]:
    images = np.load(FIXTURES / "digits_calibration.npz")["image"][:count]
    return [{"image": image[None].astype(np.float32)} for image in images]


def judged_images(count: int = 200) -> dict[str, np.ndarray]:
    return {"image": np.load(FIXTURES / "digits_test.npz")["image"][:count].astype(np.float32)}


def sqnr_db(expected: np.ndarray, actual: np.ndarray) -> float:
    """10 · log10(signal power over the power of the error); infinite for equal arrays."""
    assert expected.shape == actual.shape
    want, got = expected.astype(np.float64), actual.astype(np.float64)
    error = ((want - got) ** 2).sum()
    return math.inf if error == 0 else float(10 * np.log10((want**2).sum() / error))


def worst_sqnr_db(expected: Inputs, actual: Inputs) -> float:
    assert set(expected) == set(actual)
    return min(sqnr_db(expected[name], actual[name]) for name in expected)


def images(seed: int, *shape: int, count: int = 8) -> list[Inputs]:
    return [{"x": normal(seed + i, *shape)} for i in range(count)]


class Net:
    """A net of small random layers on 'x', written down op by op."""

    def __init__(self, *shape: int, opset: int = 17) -> None:
        self.shape, self.opset = shape, opset
        self.nodes: list[object] = []
        self.weights: dict[str, np.ndarray] = {}

    def weight(self, *shape: int, scale: float | None = None) -> str:
        name = f"w{len(self.weights)}"
        fan_in = math.prod(shape[1:]) or 1
        spread = fan_in**-0.5 if scale is None else scale
        self.weights[name] = normal(len(self.weights) + 7, *shape) * np.float32(spread)
        return name

    def op(self, op_type: str, inputs: Sequence[str], **attributes: object) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def conv(
        self, x: str, channels_in: int, channels_out: int, k: int = 3, **attributes: object
    ) -> str:
        group = attributes.get("group", 1)
        inputs = [
            x,
            self.weight(channels_out, channels_in // group, k, k),
            self.weight(channels_out),
        ]
        attributes.setdefault("pads", [k // 2] * 4)
        return self.op("Conv", inputs, **attributes)

    def model(self, y: str, *shape: int | str) -> Model:
        return model(self.nodes, self.weights, {"x": self.shape}, {y: shape}, opset=self.opset)
