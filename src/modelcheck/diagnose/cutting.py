"""Sub-models: a part of a graph with inputs and outputs of its own.

Outputs are called output_0, output_1, ...: names from files confuse engines, and two models that
differ in names alone give the same part. A tensor kept in int8 is fed and given out in floats,
through its own grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from modelcheck.diagnose.net import Grid, Net
from modelcheck.model import Model
from modelcheck.transforms.graph import FLOATS

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Feed:
    """What is fed in place of a tensor: the name of the new input, and its shape."""

    name: str
    shape: Shape


def cut(net: Net, feeds: Mapping[str, Feed], wants: Mapping[str, Shape | None]) -> Model:
    """The sub-model that computes `wants` from `feeds`, by tensor name.

    A wanted tensor has its shape, which cv2 wants of an output, or None for onnxruntime alone.
    """
    edited = net.model.edit()
    graph = edited.graph
    values = {str(v.name): v for v in (*graph.inputs, *graph.initializers.values())}
    values.update((str(v.name), v) for node in graph for v in node.outputs if v.name)
    wanted = [values[name] for name in wants]
    initializers = [v for v in graph.inputs if v.name in graph.initializers]
    fed = [_feed(graph, values, net, name, feed) for name, feed in feeds.items()]
    graph.outputs.clear()
    graph.outputs.extend(dict.fromkeys(wanted))
    _drop_unused_nodes(graph)
    graph.outputs.clear()
    for i, (value, (name, shape)) in enumerate(zip(wanted, wants.items(), strict=True)):
        output = _give(graph, value, net.grid(net.values[name]), values, f"output_{i}")
        kind = net.type_of(net.values[name])
        output.type = ir.TensorType(kind if kind in FLOATS else ir.DataType.FLOAT)
        output.shape = None if shape is None else ir.Shape(shape)
        graph.outputs.append(output)
    graph.inputs.clear()
    graph.inputs.extend(v for v in fed if v.uses())
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            graph.initializers.pop(name)
    graph.inputs.extend(v for v in initializers if v.name in graph.initializers)
    graph.name = "part"
    return Model(edited, net.model.name)


def _feed(
    graph: ir.Graph, values: Mapping[str, ir.Value], net: Net, name: str, feed: Feed
) -> ir.Value:
    old = values[name]
    grid = net.grid(net.values[name])
    kind = ir.DataType.FLOAT if grid else net.type_of(net.values[name])
    new = ir.Value(
        name=feed.name, type=ir.TensorType(kind or ir.DataType.FLOAT), shape=ir.Shape(feed.shape)
    )
    source = new
    if grid is not None:
        node = ir.node("QuantizeLinear", [new, *_grid(grid, values)], name=f"{feed.name}/quantize")
        node.outputs[0].name = f"{feed.name}/int8"
        first = next(iter(graph))
        graph.insert_before(first, node)
        source = node.outputs[0]
    old.replace_all_uses_with(source, replace_graph_outputs=True)
    return new


def _give(
    graph: ir.Graph, value: ir.Value, grid: Grid | None, values: Mapping[str, ir.Value], called: str
) -> ir.Value:
    if grid is not None:
        node = ir.node("DequantizeLinear", [value, *_grid(grid, values)], name=f"{called}/float")
    elif value.uses() or value.producer() is None:
        # Read inside as well: a name of its own, so that engines may fuse what they like.
        node = ir.node("Identity", [value], name=f"{called}/read")
    else:
        value.name = called
        return value
    graph.append(node)
    node.outputs[0].name = called
    return node.outputs[0]


def _grid(grid: Grid, values: Mapping[str, ir.Value]) -> Sequence[ir.Value]:
    zero = [] if grid.zero_point is None else [values[grid.zero_point]]
    return [values[grid.scale], *zero]


def _drop_unused_nodes(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)
