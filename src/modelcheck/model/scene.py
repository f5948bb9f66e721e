"""A graph as the matchers of `patterns` look at it: by operator, through quantization."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from modelcheck.model.model import Model
from modelcheck.model.static import Static

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


class Scene:
    """One model, with what the matchers ask of it."""

    def __init__(self, model: Model, static: Static) -> None:
        self.model = model
        self.static = static
        self._by_operator: defaultdict[str, list[ir.Node]] = defaultdict(list)
        for node in all_nodes(model):
            self._by_operator[node.op_type].append(node)

    def nodes(self, *operators: str) -> list[ir.Node]:
        """The nodes of these operators, those in subgraphs and local functions too."""
        return [node for operator in operators for node in self._by_operator.get(operator, ())]

    def maker(self, value: ir.Value | None) -> ir.Node | None:
        """The node that computes a value, behind any pair of quantizer and dequantizer."""
        node = None if value is None else value.producer()
        while node is not None and node.op_type in QUANTIZERS and node.inputs[0] is not None:
            node = node.inputs[0].producer()
        return node

    def users(self, value: ir.Value) -> list[ir.Node]:
        """The nodes that read a value, behind any pair of quantizer and dequantizer."""
        found: list[ir.Node] = []
        for use in value.uses():
            if use.node.op_type in QUANTIZERS and use.idx == 0:
                found += self.users(use.node.outputs[0])
            else:
                found.append(use.node)
        return found

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether a value is known before the model runs, dequantized or not."""
        if value is None:
            return False
        if value.is_initializer():
            return True
        node = value.producer()
        if node is None:
            return False
        if node.op_type in (*QUANTIZERS, "Cast", "Identity"):
            return self.is_constant(node.inputs[0])
        return node.op_type == "Constant"

    def quantized(self, node: ir.Node) -> bool:
        """Whether a layer computes in integers: QOperator form, or float between Q and DQ."""
        if node.op_type.startswith("QLinear") or node.op_type == "QGemm":
            return True
        makers = [v.producer() if v is not None else None for v in node.inputs[:2]]
        return bool(makers) and all(
            m is not None and m.op_type == "DequantizeLinear" for m in makers
        )

    def pixels(self, value: ir.Value) -> int | None:
        """d1 * ... * dn of a value (N, C, d1, ..., dn), when known."""
        dims = self.static.dims(value)
        if dims is None or len(dims) < 3 or None in dims[2:]:
            return None
        return math.prod(d or 0 for d in dims[2:])

    def kernel(self, node: ir.Node) -> tuple[int, ...]:
        """The kernel sizes of a convolution or pooling, () where they are not known."""
        given = node.attributes.get_ints("kernel_shape", None)
        if given is not None:
            return tuple(given)
        index = 3 if node.op_type == "QLinearConv" else 1
        dims = self.static.dims(node.inputs[index]) if len(node.inputs) > index else None
        return () if dims is None or None in dims else tuple(d or 0 for d in dims[2:])


def all_nodes(model: Model) -> Iterator[ir.Node]:
    """Every node of the graph, its subgraphs and the local functions."""
    yield from RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from RecursiveGraphIterator(function)


def node_name(node: ir.Node) -> str:
    """The node's name, or where it has none the name of its first output."""
    return node.name or next((str(o.name) for o in node.outputs if o.name), node.op_type)
