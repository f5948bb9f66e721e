"""Where the layers of a graph keep their weights, and which of them a transform may change.

A *layer* is a Conv, ConvTranspose, Gemm or MatMul; its *weight* is the constant it multiplies by:

    Conv           (out, in/group, ...)     ConvTranspose  (in, out/group, ...)
    Gemm, MatMul   right (..., in, out)     left (..., out, in)     transA, transB swap the two
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.transforms.base import Context

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE})
_DEFAULT_DOMAINS = ("", "ai.onnx")


class CannotChange(Exception):
    """A layer cannot be changed; the text says why, for the step's report."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a layer takes its weight: which input, and what the weight's axes mean."""

    node: ir.Node
    index: int
    input_axis: int
    output_axis: int | None  # None for a vector, which has no output channels
    groups: int = 1

    @property
    def layer(self) -> str:
        return layer_name(self.node)

    @property
    def weight(self) -> ir.Value:
        value = self.node.inputs[self.index]
        assert value is not None
        return value

    def scale_outputs(self, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """weight · factor, with one factor for each output channel of the layer."""
        if self.node.op_type == "ConvTranspose":
            # (in, out/group, ...): output channel g · out/group + o lies in group g.
            inputs, per_group = weight.shape[:2]
            grouped = weight.reshape(self.groups, inputs // self.groups, per_group, -1)
            scaled = grouped * factor.reshape(self.groups, 1, per_group, 1)
            return np.asarray(scaled.reshape(weight.shape))
        assert self.output_axis is not None
        shape = [1] * weight.ndim
        shape[self.output_axis] = -1
        return np.asarray(weight * factor.reshape(shape))

    def scale_inputs(self, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """weight · factor, with one factor for each input channel of a Conv."""
        # (out, in/group, ...): output channel g · out/group + o reads the channels of group g.
        per_group = factor.reshape(self.groups, -1).repeat(weight.shape[0] // self.groups, axis=0)
        return np.asarray(weight * per_group.reshape(weight.shape[:2] + (1,) * (weight.ndim - 2)))


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant that is the weight of one layer or of several, and is nothing else."""

    value: ir.Value
    tensor: ir.TensorProtocol
    slots: tuple[Slot, ...]

    @property
    def name(self) -> str:
        """Its name in the file: seeds and reports tell weights apart by it."""
        return str(self.value.name)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(slot.layer for slot in self.slots))


def layer_name(node: ir.Node) -> str:
    """The node's name, or where it has none the name of its first output."""
    return node.name or next((str(o.name) for o in node.outputs if o.name), node.op_type)


def is_standard(node: ir.Node, *op_types: str) -> bool:
    """Whether the node is one of these operators of the ONNX standard."""
    return node.domain in _DEFAULT_DOMAINS and node.op_type in op_types


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a Constant node; None for anything computed."""
    if value is None:
        return None
    node = value.producer()
    if node is None:
        return value.const_value if value.is_initializer() else None
    if not is_standard(node, "Constant"):
        return None
    for key, attribute in node.attributes.items():
        if key == "value":
            return attribute.as_tensor()
        if key in ("value_float", "value_floats"):
            return ir.tensor(np.asarray(attribute.value, np.float32), name=value.name)
        if key in ("value_int", "value_ints"):
            return ir.tensor(np.asarray(attribute.value, np.int64), name=value.name)
    return None


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is an initializer or of a Constant node."""
    return constant(value) is not None


def slot_of(node: ir.Node) -> Slot | None:
    """Where this layer takes its weight; None when it is no layer or multiplies no constant."""
    if not is_standard(node, *LAYERS) or len(node.inputs) < 2:
        return None
    tensors = [constant(value) for value in node.inputs[:2]]
    if tensors[1] is not None:
        index, rank = 1, len(tensors[1].shape)
    elif tensors[0] is not None and node.op_type in ("Gemm", "MatMul"):
        index, rank = 0, len(tensors[0].shape)
    else:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        if rank < 3:
            return None
        groups = _int(node, "group", 1)
        input_axis, output_axis = (1, 0) if node.op_type == "Conv" else (0, 1)
        return Slot(node, index, input_axis, output_axis, groups)
    if rank < 2:
        return Slot(node, index, 0, None) if rank else None
    axes = [rank - 2, rank - 1]  # right: (in, out); left: (out, in)
    transposed = node.op_type == "Gemm" and _int(node, "transB" if index else "transA", 0)
    if (index == 0) != bool(transposed):
        axes.reverse()
    return Slot(node, index, axes[0], axes[1])


def slots(graph: ir.Graph) -> Iterator[Slot]:
    """Every layer of the main graph that multiplies a constant."""
    for node in graph:
        slot = slot_of(node)
        if slot is not None:
            yield slot


def layer_weights(
    model: ir.Model,
    context: Context,
    *,
    exclude: Sequence[str] = (),
    dtypes: Collection[ir.DataType] = FLOATS,
) -> list[Weight]:
    """The weights that a transform may change, each once even where layers share it.

    Layers in subgraphs and local functions, layers named by `exclude`, weights that are computed
    or that something else uses too, and weights of other dtypes are left alone, with a reason.
    """
    report_hidden(model, LAYERS, context)
    _report_computed(model.graph, context)
    by_value: dict[ir.Value, list[Slot]] = {}
    for slot in slots(model.graph):
        by_value.setdefault(slot.weight, []).append(slot)
    excluded = matching(exclude, (s.layer for found in by_value.values() for s in found))
    weights = []
    for value, found in by_value.items():
        tensor = constant(value)
        assert tensor is not None
        if tensor.size == 0:
            continue
        weight = Weight(value, tensor, tuple(found))
        reason = _reason_to_leave(weight, excluded, dtypes)
        if reason is None:
            weights.append(weight)
        else:
            for layer in weight.layers:
                context.leave(layer, reason)
    return weights


def matching(patterns: Sequence[str], layers: Iterable[str]) -> frozenset[str]:
    """The layers that names and globs name. Raises UsageError for one that names none.

    The name of a layer names that layer alone, whatever it would be as a glob.
    """
    known = list(dict.fromkeys(layers))
    found: set[str] = set()
    for pattern in patterns:
        named = {n for n in known if n == pattern} or {
            n for n in known if fnmatch.fnmatchcase(n, pattern)
        }
        if not named:
            raise UsageError(
                "names no layer of this model",
                where=f"exclude={pattern}",
                remedy=did_you_mean(pattern, known) or "`modelcheck inspect` lists the layers.",
            )
        found |= named
    return frozenset(found)


def report_hidden(model: ir.Model, op_types: Collection[str], context: Context) -> None:
    """Name the layers in subgraphs and local functions: no transform goes in there."""
    for outer in model.graph:
        for body in _bodies(outer):
            for node in body.all_nodes():
                if is_standard(node, *op_types):
                    context.leave(layer_name(node), f"it is in a subgraph of '{layer_name(outer)}'")
    for function in model.functions.values():
        for node in function.all_nodes():
            if is_standard(node, *op_types):
                context.leave(layer_name(node), f"it is in the local function '{function.name}'")


def _reason_to_leave(
    weight: Weight, excluded: frozenset[str], dtypes: Collection[ir.DataType]
) -> str | None:
    if not excluded.isdisjoint(weight.layers):
        others = [n for n in weight.layers if n in excluded]
        shared = f"shares its weight with '{others[0]}', which is excluded"
        return "excluded" if len(weight.layers) == len(others) else shared
    if weight.value.is_graph_output():
        return "its weight is also an output of the model"
    known = {(slot.node, slot.index) for slot in weight.slots}
    for user, index in weight.value.uses():
        if (user, index) not in known:
            return f"its weight is also used by {user.op_type} '{layer_name(user)}'"
    if weight.tensor.dtype not in dtypes:
        return f"its weight is {weight.tensor.dtype.name.lower()}"
    return None


def _report_computed(graph: ir.Graph, context: Context) -> None:
    """Name layers whose weight is no constant; a product of two activations has no weight."""
    for node in graph:
        if not is_standard(node, *LAYERS) or slot_of(node) is not None:
            continue
        makers = [v.producer() for v in node.inputs[:2] if v is not None]
        maker = next((m for m in makers if m is not None and _only_constants(m)), None)
        if maker is not None:
            made = f"its weight is made by {maker.op_type}"
            quantized = is_standard(maker, "DequantizeLinear")
            context.leave(layer_name(node), f"quantized already: {made}" if quantized else made)
        elif node.op_type in ("Conv", "ConvTranspose"):
            context.leave(layer_name(node), "its weight is not a constant")


def _only_constants(node: ir.Node) -> bool:
    given = [value for value in node.inputs if value is not None]
    return bool(given) and all(map(is_constant, given))


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _int(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default
