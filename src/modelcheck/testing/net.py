"""A small ONNX graph under construction: shapes are tracked, weights come from a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelcheck.model import Model


class Storage(StrEnum):
    """Where a weight lives in the file; all must mean the same to every transform."""

    RAW = "raw"
    TYPED = "typed"  # float_data
    CONSTANT = "constant"  # a Constant node
    HALF = "half"  # float16 and a Cast
    INPUT = "input"  # an initializer that is a graph input too
    MIXED = "mixed"


@dataclass(frozen=True)
class Tensor:
    """A value of the graph: its name and its shape without the batch axis."""

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.shape[1:]


# How values and nodes are called: {} is an ordinary name.
NAMINGS = ("{}", "scope/{}:0", "{} ", 'é"{}"', "<{}>\n")


LOCAL = "local"  # the domain of the model's own functions


@dataclass
class Net:
    """Collects nodes and weights; `model()` makes the Model.

    `gain` scales every weight; He's initialization keeps activations near 1 at gain 1.
    """

    opset: int = 13
    seed: int = 0
    batch: int | None = 1  # None: free
    storage: Storage = Storage.RAW
    naming: str = "{}"
    gain: float = 1.0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    functions: dict[str, onnx.FunctionProto] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def name(self, kind: str) -> str:
        self._count += 1
        return self.naming.format(f"{kind}{self._count}")

    def input(self, shape: Sequence[int], kind: str = "x") -> Tensor:
        tensor = Tensor(self.name(kind), tuple(shape))
        self.inputs.append(self._value_info(tensor))
        return tensor

    def add(
        self,
        op: str,
        inputs: Sequence[Tensor | str],
        shape: Sequence[int] | None = None,
        **attributes: Any,
    ) -> Tensor:
        """One node with one output; `shape` is the first input's unless it is given."""
        names = [i.name if isinstance(i, Tensor) else i for i in inputs]
        if shape is None:
            first = inputs[0]
            assert isinstance(first, Tensor)
            shape = first.shape
        out = Tensor(self.name(op.lower()), tuple(shape))
        self.nodes.append(helper.make_node(op, names, [out.name], self.name("n"), **attributes))
        return out

    def branch(
        self,
        condition: bool,
        then: tuple[str, list[str]],
        otherwise: tuple[str, list[str]],
        shape: Sequence[int],
    ) -> Tensor:
        """An If of two bodies with one node (operator, inputs of the graph around) each."""
        out = Tensor(self.name("if"), tuple(shape))
        bodies = []
        for op, names in (then, otherwise):
            inner = Tensor(self.name("inner"), tuple(shape))
            node = helper.make_node(op, names, [inner.name], self.name("n"))
            bodies.append(helper.make_graph([node], "body", [], [self._value_info(inner)]))
        tensor = numpy_helper.from_array(np.array(condition), self.name("condition"))
        self.initializers.append(tensor)
        self.nodes.append(
            helper.make_node(
                "If", [tensor.name], [out.name], self.name("n"),
                then_branch=bodies[0], else_branch=bodies[1],
            )
        )  # fmt: skip
        return out

    def call(self, name: str, body: Sequence[tuple[str, list[str], str]], x: Tensor) -> Tensor:
        """A call of a local function of one input 'x' and one output 'y'."""
        nodes = [helper.make_node(op, inputs, [output]) for op, inputs, output in body]
        imports = [helper.make_opsetid("", self.opset)]
        self.functions[name] = helper.make_function(LOCAL, name, ["x"], ["y"], nodes, imports)
        out = Tensor(self.name(name.lower()), x.shape)
        node = helper.make_node(name, [x.name], [out.name], self.name("n"), domain=LOCAL)
        self.nodes.append(node)
        return out

    def weight(self, shape: Sequence[int], fan_in: int | None = None, offset: float = 0.0) -> str:
        """A float32 constant: normal, of variance 2 / fan_in."""
        scale = self.gain * math.sqrt(2 / max(1, fan_in or math.prod(shape[1:])))
        return self.constant(offset + scale * self.random.standard_normal(tuple(shape)))

    def constant(self, array: np.ndarray | Sequence[int] | float, dtype: type = np.float32) -> str:
        """A constant stored in the net's way; integers and scalars always raw."""
        data: np.ndarray = np.asarray(array, dtype)
        storage = self.storage
        if storage is Storage.MIXED:
            storage = list(Storage)[int(self.random.integers(len(Storage) - 1))]
        if data.dtype.kind != "f" or data.ndim == 0:
            storage = Storage.RAW
        name = self.name("w")
        if storage is Storage.TYPED:
            flat = data.reshape(-1).tolist()
            tensor = helper.make_tensor(name, TensorProto.FLOAT, data.shape, flat)
        elif storage is Storage.HALF:
            tensor = numpy_helper.from_array(data.astype(np.float16), self.name("half"))
            cast = helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT)
            self.nodes.append(cast)
        else:
            tensor = numpy_helper.from_array(data, name)
        if storage is Storage.CONSTANT:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.initializers.append(tensor)
        if storage is Storage.INPUT:
            info = helper.make_tensor_value_info(name, tensor.data_type, data.shape)
            self.inputs.append(info)
        return name

    def proto(self) -> onnx.ModelProto:
        outputs = [self._value_info(t) for t in dict.fromkeys(self.outputs)]
        graph = helper.make_graph(self.nodes, "g", self.inputs, outputs, self.initializers)
        imports = [helper.make_opsetid("", self.opset)]
        if self.functions:
            imports.append(helper.make_opsetid(LOCAL, 1))
        return helper.make_model(
            graph, opset_imports=imports, functions=list(self.functions.values()), ir_version=8
        )

    def model(self) -> Model:
        return Model.from_proto(self.proto(), name="generated")

    def _value_info(self, tensor: Tensor) -> onnx.ValueInfoProto:
        batch = "batch" if self.batch is None else self.batch
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, [batch, *tensor.shape])
