"""Which layers to quantize, and which tensors to round to int8 for them.

A layer takes int8 input and weights. Its *result* is what leaves it after the activation that
every engine fuses with it. Inputs are rounded always; results where another quantized layer comes
later: what the last layers give goes to the caller, unrounded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.model.uses import only_user
from modelcheck.transforms.graph import CannotChange, Slot, constant, is_standard

# Operators that hand on numbers they were given: the result needs no grid of its own.
_MOVES = frozenset(
    [
        "MaxPool",
        "Reshape",
        "Flatten",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Identity",
        "Dropout",
        "Slice",
        "Gather",
        "Split",
        "DepthToSpace",
        "SpaceToDepth",
        "Expand",
        "Tile",
    ]
)
_FUSED = ("Relu", "Clip")


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer to quantize."""

    slot: Slot
    addend: ir.Node | None  # of a MatMul: an Add of its bias, directly after it
    activation: ir.Node | None  # a Relu or Clip, directly after that

    @property
    def name(self) -> str:
        return self.slot.layer

    @property
    def node(self) -> ir.Node:
        return self.slot.node

    @property
    def input(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def result(self) -> ir.Value:
        last = self.activation or self.addend or self.node
        return last.outputs[0]

    @property
    def bias(self) -> np.ndarray | None:
        """The bias of a convolution."""
        tensor = constant(self.node.inputs[2]) if len(self.node.inputs) > 2 else None
        return None if tensor is None else tensor.numpy()


@dataclass(frozen=True, slots=True)
class Plan:
    """The layers, and the tensors to round, each with the tensor whose grid it takes."""

    layers: tuple[Layer, ...]
    grids: dict[ir.Value, ir.Value]
    results: frozenset[ir.Value]
    round_last: bool = False

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The tensors whose ranges are needed."""
        return tuple(dict.fromkeys(str(v.name) for v in self.grids.values()))


def kernel_of(layer: Layer) -> list[int]:
    """The spatial size of a convolution's weight."""
    tensor = constant(layer.slot.weight)
    assert tensor is not None
    return [int(d) for d in tensor.shape.numpy()[2:]]


def layer_at(slot: Slot, *, integer: bool) -> Layer:
    """The layer at a slot. Raises CannotChange where int8 cannot say what it computes.

    `integer`: for operators on integers, of which none transposes a convolution or adds a bias to
    a matrix product.
    """
    node = slot.node
    weight = constant(slot.weight)
    assert weight is not None
    if slot.index == 0:
        raise CannotChange("its weight is the left factor")
    if constant(node.inputs[0]) is not None:
        raise CannotChange("its input is a constant")
    if integer and node.op_type == "ConvTranspose":
        raise CannotChange("ONNX has no operator on integers for it")
    if node.op_type == "Gemm":
        raise CannotChange("its input is transposed, or its bias is computed and scaled")
    if node.op_type == "MatMul" and len(weight.shape) != 2:
        raise CannotChange("its weight is no matrix")
    constants = [weight.numpy()]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
        if bias is None:
            raise CannotChange("its bias is computed, not constant")
        constants.append(bias.numpy())
    if not all(np.isfinite(c).all() for c in constants):
        raise CannotChange("its weights are not finite")
    addend = None
    if node.op_type == "MatMul" and not integer:
        user = only_user(node.outputs[0])
        addend = user if user is not None and _adds_a_vector(user) else None
    activation = only_user((addend or node).outputs[0])
    if activation is not None and not _is_fused(activation):
        activation = None
    return Layer(slot, addend, activation)


def plan(layers: Sequence[Layer], *, integer: bool, round_last: bool, pool: bool = True) -> Plan:
    """Choose the tensors to round.

    `round_last`: the results of the last layers too. `integer`: for operators on integers, which
    round every result, and cut off at zero only where the grid of the result begins there.
    `pool`: the results of MaxPool too, for the sake of OpenCV 5.0's new engine.
    """
    order = {node: i for i, node in enumerate(layers[0].node.graph or ())} if layers else {}
    layers = sorted(layers, key=lambda layer: order[layer.node])
    inputs = dict.fromkeys(layer.input for layer in layers)
    followed = upstream(inputs)
    results = [la.result for la in layers if round_last or integer or la.result in followed]
    rounded = {**inputs, **dict.fromkeys(results)}
    if pool:
        rounded |= dict.fromkeys(_pooled(layers, rounded))
    grids = {value: _source(value, rounded, join=not integer) for value in rounded}
    return Plan(tuple(layers), grids, frozenset(results), round_last)


def _pooled(layers: Sequence[Layer], rounded: Collection[ir.Value]) -> list[ir.Value]:
    """The results of every MaxPool behind an int8 layer.

    OpenCV 5.0's new engine takes each of them for an int8 pooling, and stops where it is not.
    """
    behind = set(rounded)
    pooled = []
    for node in layers[0].node.graph or () if layers else ():
        if any(value in behind for value in _read_by(node)):
            behind.update(node.outputs)
            if is_standard(node, "MaxPool"):
                pooled.append(node.outputs[0])
    return pooled


def _adds_a_vector(node: ir.Node) -> bool:
    """Whether the node adds one constant for each column of a matrix product."""
    if not is_standard(node, "Add"):
        return False
    tensors = [t for v in node.inputs if (t := constant(v)) is not None]
    return len(tensors) == 1 and tensors[0].size == (tuple(tensors[0].shape) or (1,))[-1]


def _is_fused(node: ir.Node) -> bool:
    """Whether the node cuts off what an int8 grid that ends at its bounds cuts off as well."""
    bounds = bounds_of(node)
    return bounds is not None and bounds[0] <= 0 <= bounds[1]


def bounds_of(node: ir.Node) -> tuple[float, float] | None:
    """Between which numbers a Relu or Clip leaves what it is given; None for anything else."""
    if not is_standard(node, *_FUSED):
        return None
    low, high = -math.inf, math.inf
    if node.op_type == "Relu":
        return 0.0, high
    if "min" in node.attributes or "max" in node.attributes:  # before opset 11
        get = node.attributes.get_float
        return get("min", low), get("max", high)
    for index, value in enumerate(node.inputs[1:]):
        bound = constant(value)
        if value is not None and bound is None:
            return None
        if bound is not None and index == 0:
            low = bound.numpy().item()
        elif bound is not None:
            high = bound.numpy().item()
    return low, high


def upstream(values: Iterable[ir.Value]) -> set[ir.Value]:
    """The values, and all that they are computed from."""
    found: set[ir.Value] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if value in found:
            continue
        found.add(value)
        producer = value.producer()
        if producer is not None:
            pending.extend(_read_by(producer))
    return found


def _read_by(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, in its subgraphs too."""
    yield from (v for v in node.inputs if v is not None)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph().all_nodes():
                yield from (v for v in inner.inputs if v is not None)
            yield from attribute.as_graph().outputs


def _source(value: ir.Value, rounded: Collection[ir.Value], *, join: bool) -> ir.Value:
    """The rounded tensor whose grid this one takes; itself where it has its own.

    Rounding the same numbers to two grids, one after the other, would round them twice. So what
    holds numbers of a rounded tensor takes its grid, and (`join`) so does what only goes into one,
    beside others, through a Concat.
    """
    at = value
    while (producer := at.producer()) is not None and is_standard(producer, *_MOVES):
        moved = producer.inputs[0]
        if moved is None:
            break
        at = moved
        if at in rounded:
            return _source(at, rounded, join=join)
    at, joined = value, False
    while join and (user := only_user(at)) is not None and is_standard(user, "Concat", *_MOVES):
        if at is not user.inputs[0] and not is_standard(user, "Concat"):
            break
        joined = joined or user.op_type == "Concat"
        at = user.outputs[0]
        if joined and at in rounded:
            return _source(at, rounded, join=join)
    return value
