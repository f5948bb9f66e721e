"""Sub-models: a part of a graph with inputs and outputs of its own.

Outputs are called output_0, output_1, ...: names from files confuse engines, and two models that
differ in names alone give the same part. A tensor kept in int8 is fed and given out in floats,
through its own grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from modelcheck.diagnose.net import Net
from modelcheck.model import Model
from modelcheck.transforms.graph import FLOATS, constant

Shape = tuple[int, ...]
# Before this IR version every initializer had to be an input too.
_FREE_INITIALIZERS_SINCE = 4


@dataclass(frozen=True, slots=True)
class Feed:
    """What is fed in place of a tensor: the name of the new input, and its shape."""

    name: str
    shape: Shape


def cut(net: Net, feeds: Mapping[str, Feed], wants: Mapping[str, Shape | None]) -> Model:
    """The sub-model that computes `wants` from `feeds`, by tensor name.

    A wanted tensor has its shape, which cv2 wants of an output, or None for onnxruntime alone.
    What is fed and not read is no input of the sub-model.
    """
    wanted = [net.values[name] for name in wants]
    graph = ir.convenience.extract(net.graph, [net.values[name] for name in feeds], wanted)
    results = list(graph.outputs)
    graph.outputs.clear()
    inputs = list(graph.inputs)
    graph.inputs.clear()
    for value, (name, feed) in zip(inputs, feeds.items(), strict=True):
        if value.uses():
            graph.inputs.append(_feed(graph, value, net, net.values[name], feed))
    for i, (value, (name, shape)) in enumerate(zip(results, wants.items(), strict=True)):
        output = _give(graph, value, net, net.values[name], f"output_{i}")
        kind = net.type_of(net.values[name])
        output.type = ir.TensorType(kind if kind in FLOATS else ir.DataType.FLOAT)
        output.shape = None if shape is None else ir.Shape(shape)
        graph.outputs.append(output)
    graph.name = "part"
    version = max(net.ir_version, _FREE_INITIALIZERS_SINCE)
    functions = list(net.model.functions.values())
    return Model(ir.Model(graph, ir_version=version, functions=functions), net.model.name)


def _feed(graph: ir.Graph, value: ir.Value, net: Net, source: ir.Value, feed: Feed) -> ir.Value:
    """The input that stands for `value`, the copy of `source`."""
    kind = net.type_of(source) if net.grid(source) is None else ir.DataType.FLOAT
    shape = ir.Shape(feed.shape)
    new = ir.Value(name=feed.name, type=ir.TensorType(kind or ir.DataType.FLOAT), shape=shape)
    if net.grid(source) is None:
        value.replace_all_uses_with(new)
        return new
    steps = _steps(graph, net, source, feed.name)
    node = ir.node("QuantizeLinear", [new, *steps], name=f"{feed.name}/quantize")
    node.outputs[0].name = f"{feed.name}/int8"
    value.replace_all_uses_with(node.outputs[0])
    graph.insert_before(next(iter(graph)), node)
    return new


def _give(graph: ir.Graph, value: ir.Value, net: Net, source: ir.Value, called: str) -> ir.Value:
    """The output that gives out `value`, the copy of `source`."""
    if net.grid(source) is not None:
        steps = _steps(graph, net, source, called)
        node = ir.node("DequantizeLinear", [value, *steps], name=f"{called}/float")
    elif value.uses() or value.producer() is None:
        # Read inside as well: a name of its own, so that its readers stay as they are.
        node = ir.node("Identity", [value], name=f"{called}/read")
    else:
        value.name = called
        return value
    graph.append(node)
    node.outputs[0].name = called
    return node.outputs[0]


def _steps(graph: ir.Graph, net: Net, source: ir.Value, called: str) -> list[ir.Value]:
    """Scale and zero point of an int8 tensor, as initializers."""
    grid = net.grid(source)
    assert grid is not None
    found = []
    for kind, name in (("scale", grid.scale), ("zero_point", grid.zero_point)):
        tensor = None if name is None else constant(net.values[name])
        if tensor is not None:
            copy = ir.tensor(tensor.numpy(), name=f"{called}/{kind}")
            value = ir.Value(
                name=copy.name, type=ir.TensorType(copy.dtype), shape=ir.Shape(copy.shape.numpy()),
                const_value=copy,
            )  # fmt: skip
            graph.register_initializer(value)
            found.append(value)
    return found
