"""Small nets to take apart, and the faults and forms that they get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from modelcheck.data import Samples, open_samples
from modelcheck.diagnose import Diagnosis, DiagnosisPlan, diagnose
from modelcheck.model import Model
from modelcheck.process import ChildLimits
from modelcheck.recipe import DataSettings, Recipe, parse_step
from modelcheck.targets import Target

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
_SIDE = 8


class NetMaker:
    """Convolutions of 4 channels and what stands between them, on 4 x 8 x 8."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list = []
        self._weights: list = []

    def conv(self, x: str, name: str, *, kernel: int = 3, **attributes: object) -> str:
        for kind, shape in (("w", (4, 4, kernel, kernel)), ("b", (4,))):
            array = self._random.normal(0, 0.3, shape).astype(np.float32)
            self._weights.append(numpy_helper.from_array(array, f"{name}.{kind}"))
        given = {"pads": [kernel // 2] * 4} | attributes
        return self.add("Conv", [x, f"{name}.w", f"{name}.b"], name, **given)

    def batchnorm(self, x: str, name: str) -> str:
        kinds = ("scale", "bias", "mean", "var")
        for kind in kinds:
            array = self._random.uniform(0.5, 1.5, 4).astype(np.float32)
            self._weights.append(numpy_helper.from_array(array, f"{name}.{kind}"))
        return self.add("BatchNormalization", [x, *(f"{name}.{k}" for k in kinds)], name)

    def add(self, op_type: str, inputs: list[str], name: str, **attributes: object) -> str:
        output = f"{name}:y"
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def model(self, *outputs: str) -> Model:
        shape = [1, 4, _SIDE, _SIDE]
        graph = helper.make_graph(
            self._nodes, "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, shape) for y in outputs],
            self._weights,
        )  # fmt: skip
        opset = [helper.make_opsetid("", 17)]
        proto = helper.make_model(graph, opset_imports=opset, ir_version=8)
        return Model.from_proto(proto, name="net.onnx")


def branches() -> Model:
    """Two branches that meet, and two outputs: one of a branch, one of both."""
    net = NetMaker()
    stem = net.add("Relu", [net.batchnorm(net.conv("x", "stem"), "stem.bn")], "stem.relu")
    left = net.add("Relu", [net.conv(stem, "left")], "left.relu")
    right = net.add("Sigmoid", [net.conv(stem, "right", kernel=1)], "right.sigmoid")
    both = net.add("Mul", [left, right], "both")
    return net.model(net.conv(right, "side"), net.conv(both, "main"))


def between(middle: Callable[[NetMaker, str], str]) -> Model:
    """conv0, relu0, what is asked for, conv2."""
    net = NetMaker()
    relu = net.add("Relu", [net.conv("x", "conv0")], "relu0")
    return net.model(net.conv(middle(net, relu), "conv2"))


def sigmoid_between() -> Model:
    """A Sigmoid behind a convolution: what OpenCV 5.0's new engine fuses wrongly in int8."""
    return between(lambda net, x: net.add("Sigmoid", [net.conv(x, "conv1")], "sigmoid1"))


def pool_between() -> Model:
    """An AveragePool that counts the padding: the classic engine does not."""
    return between(
        lambda net, x: net.add(
            "AveragePool", [x], "pool1", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1
        )
    )


def with_scaled_weight(model: Model, layer: str, factor: float = 1.1) -> Model:
    """One channel of a layer's weight scaled."""
    edited = model.edit()
    node = next(n for n in edited.graph if n.name == layer)
    old = node.inputs[1]
    assert old is not None
    assert old.const_value is not None
    array = old.const_value.numpy().copy()
    array[0] *= factor
    tensor = ir.tensor(array, name="planted")
    shape, kind = ir.Shape(array.shape), ir.TensorType(tensor.dtype)
    value = ir.Value(name="planted", type=kind, shape=shape, const_value=tensor)
    edited.graph.register_initializer(value)
    node.replace_input_with(1, value)
    return Model.freeze(edited, name="faulty.onnx")


def with_operator(model: Model, layer: str, op_type: str) -> Model:
    """Another operator in the place of a layer's."""
    edited = model.edit()
    next(n for n in edited.graph if n.name == layer).op_type = op_type
    return Model.freeze(edited, name="faulty.onnx")


def samples_of(model: Model, count: int = 3) -> Samples:
    return open_samples(None, model.signature, count=count, seed=1)


def diagnosed(
    original: Model, candidate: Model | None = None, target: str = "cpu:new", **more: object
) -> Diagnosis:
    plan = DiagnosisPlan(
        original, candidate, samples_of(original), Target.parse(target),
        child_limits=ChildLimits(), **more,
    )  # fmt: skip
    return diagnose(plan, emit=lambda event: None)


def applied(original: Model, *steps: str) -> tuple[tuple[str, Model], ...]:
    """The models after each of these steps, calibrated on synthetic inputs."""
    from modelcheck import gate

    data = DataSettings(allow_synthetic=True)
    recipe = Recipe(steps=tuple(map(parse_step, steps)), data=data)
    inputs = gate.open_inputs(original, recipe)
    made = gate.make_candidate(original, inputs, recipe)
    return tuple((step.name, step.after) for step in made.steps)
