"""A graph as diagnosis looks at it: which tensors can be cut, and what makes each of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.model.scene import QUANTIZERS
from modelcheck.transforms.element_types import element_types
from modelcheck.transforms.graph import FLOATS, constant

# Where quantized operators name the scale of their result; its zero point comes next.
_RESULT_SCALE = {
    "QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QLinearAdd": 6, "QLinearMul": 6,
    "QLinearSigmoid": 3, "QLinearLeakyRelu": 3, "QLinearAveragePool": 3,
    "QLinearGlobalAveragePool": 3, "QLinearConcat": 0, "QGemm": 7,
}  # fmt: skip
# These leave the numbers of a quantized tensor as they are.
_MOVING = frozenset(("MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice"))
_INT8 = (ir.DataType.INT8, ir.DataType.UINT8)
_STEM = re.compile(r"(/int8|[/_.]quantized?(_output)?|_QuantizeLinear_Output)$")


@dataclass(frozen=True, slots=True)
class Grid:
    """The names of the scale and the zero point of a tensor kept in int8."""

    scale: str
    zero_point: str | None


class Net:
    """One model's main graph, in topological order."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph = model.graph
        self.ir_version = int(model.skeleton.ir_version)
        self._types = element_types(ir.Model(model.graph, ir_version=self.ir_version))
        self.inputs = [v for v in self.graph.inputs if v.name not in self.graph.initializers]
        self._live = set(self.inputs)
        for node in self.graph:
            if any(v in self._live for v in _read_by(node)):
                self._live.update(node.outputs)

    @cached_property
    def values(self) -> dict[str, ir.Value]:
        """Every value by name."""
        known = {str(v.name): v for v in (*self.graph.inputs, *self.graph.initializers.values())}
        known.update((str(v.name), v) for node in self.graph for v in node.outputs if v.name)
        return known

    @cached_property
    def order(self) -> dict[ir.Node, int]:
        return {node: i for i, node in enumerate(self.graph)}

    def type_of(self, value: ir.Value) -> ir.DataType | None:
        return self._types.get(value)

    def cuttable(self) -> Iterator[ir.Value]:
        """What nodes compute from the inputs in floats, or in int8 on a known grid."""
        for node in self.graph:
            if node.op_type in QUANTIZERS or node.op_type == "Constant":
                continue
            for value in node.outputs:
                read = value.uses() or value.is_graph_output()
                if value.name and read and value in self._live and self.readable(value):
                    yield value

    def readable(self, value: ir.Value) -> bool:
        """Whether its numbers can be read from outside, and fed."""
        return self.type_of(value) in FLOATS or self.grid(value) is not None

    def grid(self, value: ir.Value) -> Grid | None:
        """The grid of an int8 tensor, where one scale holds for all of it."""
        node = value.producer()
        while node is not None and node.op_type in _MOVING and node.inputs[0] is not None:
            value, node = node.inputs[0], node.inputs[0].producer()
        index = None if node is None else _RESULT_SCALE.get(node.op_type)
        if node is None or index is None or self.type_of(value) not in (*_INT8, None):
            return None
        scale, zero = (node.inputs[i] if len(node.inputs) > i else None for i in (index, index + 1))
        tensor = constant(scale)
        if scale is None or tensor is None or tensor.size != 1:
            return None
        return Grid(str(scale.name), None if zero is None else str(zero.name))

    def as_read(self, value: ir.Value) -> ir.Value:
        """What the readers of a value get: where all of them round it first, the rounded value."""
        readers = [use.node for use in value.uses()]
        if not readers or value.is_graph_output():
            return value
        if any(node.op_type != "QuantizeLinear" for node in readers):
            return value
        behind = [use.node for use in readers[0].outputs[0].uses()]
        if behind and behind[0].op_type == "DequantizeLinear":
            return behind[0].outputs[0]
        return value

    def before(
        self, value: ir.Value, stops: Collection[ir.Value]
    ) -> tuple[list[ir.Node], list[ir.Value]]:
        """The nodes that compute `value` from `stops`, and the stops and inputs that they read."""
        nodes: set[ir.Node] = set()
        reached: dict[ir.Value, None] = {}
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if one is not value and (one in stops or one in self.inputs):
                reached[one] = None
                continue
            node = one.producer()
            if node is None or node in nodes:
                continue
            nodes.add(node)
            waiting += reversed(_read_by(node))
        return sorted(nodes, key=self.order.__getitem__), list(reached)


def stem(name: str) -> str:
    """'conv1/int8' -> 'conv1': what quantizers hang on to a tensor's name."""
    return _STEM.sub("", name)


def _read_by(node: ir.Node) -> list[ir.Value]:
    """Everything a node reads, the captures of its subgraphs too."""
    read = [v for v in node.inputs if v is not None]
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph().all_nodes():
                read += [v for v in inner.inputs if v is not None]
    return read
