"""Models that also give out what happens inside them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from modelcheck.errors import InvalidInput
from modelcheck.model import Model

START = "modelcheck/start"
SLICE_OPSET = 10  # from here on `with_samples` takes START
_END = 2**62


def with_values(model: Model, names: Sequence[str]) -> tuple[Model, list[str]]:
    """The model with these tensors as its only outputs, and the names they have as outputs."""
    edited = model.edit()
    values = _values(edited.graph, names)
    edited.graph.outputs.clear()
    outputs = []
    for i, value in enumerate(values):
        # A graph input or initializer cannot be an output under its own name everywhere.
        output = _append(edited.graph, "Identity", value, f"value:{i}")
        outputs.append(output)
    edited.graph.outputs.extend(outputs)
    return _unchecked(edited, model), [str(output.name) for output in outputs]


def with_ranges(model: Model, names: Sequence[str]) -> Model:
    """The model with 'minimum:i', 'maximum:i' and 'shape:i' of the i-th tensor as its outputs.

    The extremes are taken inside the network, so that no tensor leaves it.
    """
    edited = model.edit()
    values = _values(edited.graph, names)
    edited.graph.outputs.clear()
    for i, value in enumerate(values):
        for op, kind in (("ReduceMin", "minimum"), ("ReduceMax", "maximum")):
            output = _append(edited.graph, op, value, f"{kind}:{i}", keepdims=0)
            edited.graph.outputs.append(output)
        edited.graph.outputs.append(_append(edited.graph, "Shape", value, f"shape:{i}"))
    return _unchecked(edited, model)


def with_samples(model: Model, names: Sequence[str], strides: Sequence[int]) -> Model:
    """As `with_ranges`, with every s-th element of the i-th tensor as 'some:i'.

    The first one is the remainder of the input START by the stride, so that samples can begin at
    different ones. Before opset 10, which has no Slice of that kind, all elements.
    """
    probed = with_ranges(model, names).edit()
    graph = probed.graph
    sliced = model.opset >= SLICE_OPSET
    start = ir.Value(name=START, shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.INT64))
    if sliced:
        graph.inputs.append(start)
    for i, (value, stride) in enumerate(zip(_values(graph, names), strides, strict=True)):
        if not sliced:
            graph.outputs.append(_append(graph, "Identity", value, f"some:{i}"))
            continue
        flat = _node(graph, "Reshape", [value, _int64(graph, f"{START}/flat:{i}", -1)])
        step = _int64(graph, f"{START}/stride:{i}", stride)
        first = _node(graph, "Mod", [start, step])
        end, axis = _int64(graph, f"{START}/end:{i}", _END), _int64(graph, f"{START}/axis:{i}", 0)
        some = _node(graph, "Slice", [flat, first, end, axis, step])
        some.name = f"some:{i}"
        graph.outputs.append(some)
    return _unchecked(probed, model)


def with_shapes(model: Model, names: Sequence[str]) -> tuple[Model, list[str]]:
    """The model with the shapes of these tensors as its only outputs, and their names as such."""
    edited = model.edit()
    values = _values(edited.graph, names)
    edited.graph.outputs.clear()
    outputs = [_append(edited.graph, "Shape", v, f"shape:{i}") for i, v in enumerate(values)]
    edited.graph.outputs.extend(outputs)
    return _unchecked(edited, model), [str(output.name) for output in outputs]


def _node(graph: ir.Graph, op: str, inputs: Sequence[ir.Value]) -> ir.Value:
    node = ir.node(op, inputs)
    graph.append(node)
    return node.outputs[0]


def _int64(graph: ir.Graph, name: str, number: int) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor([number], dtype=ir.DataType.INT64, name=name))
    graph.initializers[name] = value
    return value


def _append(graph: ir.Graph, op: str, value: ir.Value, name: str, **attributes: int) -> ir.Value:
    node = ir.node(op, [value], attributes)
    node.outputs[0].name = name
    graph.append(node)
    return node.outputs[0]


def _values(graph: ir.Graph, names: Sequence[str]) -> list[ir.Value]:
    known = {value.name: value for value in (*graph.inputs, *graph.initializers.values())}
    known.update((output.name, output) for node in graph for output in node.outputs)
    missing = [name for name in names if name not in known]
    if missing:
        raise InvalidInput(f"has no tensor '{missing[0]}'", where=graph.name or "the graph")
    return [known[name] for name in names]


def _unchecked(edited: ir.Model, model: Model) -> Model:
    """Not frozen: its outputs carry no type, which onnxruntime infers; it is never given out."""
    return Model(edited, model.name)
