"""Tensors whose channels must lie alike, because what stands between them keeps channels apart.

A *family* begins at a layer that makes channels out of sums, goes through activations, pooling,
depthwise convolutions and sums of two tensors, and ends at layers that sum over channels. These
layers can be written for any order of the channels (`write_layouts`), unless something else
reads a member: then the family is *fixed*, with the reason. A family of a *pick* gets its channels
from others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from modelcheck.model.static import Static, ints
from modelcheck.transforms.channels.picks import MOVEMENTS, Pick, Picks
from modelcheck.transforms.graph import (
    FLOATS,
    constant,
    is_constant,
    is_standard,
    layer_name,
    slot_of,
)

_LEAST_RANK = 3
# Finite for every finite number, so that what a channel of zeros becomes is harmless.
_TAME = frozenset((
    "Abs", "Celu", "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish",
    "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu",
))  # fmt: skip
_WILD = frozenset(("Exp", "Log", "Reciprocal", "Sqrt"))
_POOLS = frozenset((
    "AveragePool", "Dropout", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool",
))  # fmt: skip
_NORMS = frozenset(("BatchNormalization", "InstanceNormalization"))
_SUMS = frozenset(("Add", "Max", "Min", "Mul", "PRelu", "Sub", "Sum"))
_QUOTIENTS = frozenset(("Div", "Pow"))
_EPSILON, _LEAST_EPSILON = 1e-5, 1e-12  # ONNX's default, and what no float32 division overflows by


@dataclass(eq=False)
class Family:
    """Tensors whose channels lie alike, and everything that must know how."""

    channels: int
    values: list[ir.Value] = field(default_factory=list)
    makers: list[ir.Node] = field(default_factory=list)  # Conv, ConvTranspose without groups
    readers: list[ir.Node] = field(default_factory=list)  # as well
    depthwise: list[ir.Node] = field(default_factory=list)
    constants: list[tuple[ir.Node, int, int]] = field(default_factory=list)  # node, input, axis
    picks: list[Pick] = field(default_factory=list)
    fixed: str | None = None
    sized: str | None = None  # why it may not have more channels

    def fix(self, reason: str) -> None:
        self.fixed = self.fixed or reason


class Families:
    """The families of a graph."""

    def __init__(self, graph: ir.Graph, static: Static) -> None:
        self._graph, self._static = graph, static
        self._of: dict[ir.Value, Family] = {}
        self._picks = Picks(static)
        for value in graph.inputs:
            if not value.is_initializer():
                self._begin(value).fix(f"'{value.name}' is an input of the model")
        for node in graph:
            self._visit(node)
        for value in self._of:
            if value.is_graph_output():
                self._of[value].fix(f"'{value.name}' is an output of the model")
            elif any(use.node.graph is not graph for use in value.uses()):
                self._of[value].fix(f"a subgraph reads '{value.name}'")
        self.settle()

    def __iter__(self) -> Iterator[Family]:
        return iter(dict.fromkeys(self._of.values()))

    def of(self, value: ir.Value) -> Family | None:
        return self._of.get(value)

    @property
    def picks(self) -> list[Pick]:
        return [pick for family in self for pick in family.picks]

    def givers(self, family: Family) -> list[Family]:
        """Those that a family has its channels from."""
        sources = [source for pick in family.picks for source in pick.sources]
        return list(dict.fromkeys(self._of[source] for source in sources))

    def settle(self) -> list[Family]:
        """Fix what fixed families are made of, and what cannot be said; givers before takers."""
        while True:
            for family in self:
                if len(family.picks) > 1:
                    family.fix(f"'{family.values[0].name}' meets channels that were moved as well")
                elif any(pick.repeats for pick in family.picks):
                    family.fix(f"'{family.values[0].name}' holds a channel twice")
            pending = [f for f in reversed(list(self)) if f.fixed]
            while pending:
                family = pending.pop()
                for giver in self.givers(family):
                    if not giver.fixed:
                        giver.fix(family.fixed or "")
                        pending.append(giver)
            order, rest = self._sorted()
            if not rest:
                return order
            for family in rest:
                family.fix(f"'{family.values[0].name}' goes into itself")

    def _sorted(self) -> tuple[list[Family], list[Family]]:
        """Givers before takers, and what stands in a circle."""
        order: dict[Family, None] = {}
        waiting = list(self)
        while True:
            ready = [f for f in waiting if f.fixed or all(g in order for g in self.givers(f))]
            order.update(dict.fromkeys(ready))
            waiting = [f for f in waiting if f not in order]
            if not ready or not waiting:
                return list(order), waiting

    def _begin(self, value: ir.Value) -> Family:
        """A family of its own for a value."""
        dims = self._static.dims(value)
        known = dims is not None and len(dims) >= _LEAST_RANK and dims[1] is not None
        family = Family(int(dims[1] or 0) if known and dims is not None else 0, [value])
        if not known:
            family.fix(f"the shape of '{value.name}' is not known")
        self._of[value] = family
        self._picks.add_source(value)
        return family

    def _join(self, values: Iterable[ir.Value]) -> Family:
        """Make one family of several values; those that are new come in."""
        families: list[Family] = []
        for value in values:
            families.append(self._of.get(value) or self._begin(value))
        first, *rest = dict.fromkeys(families)
        for other in rest:
            if other.channels != first.channels:
                first.fix(f"'{other.values[0].name}' has another number of channels")
            for name in ("values", "makers", "readers", "depthwise", "constants", "picks"):
                getattr(first, name).extend(getattr(other, name))
            first.fixed, first.sized = first.fixed or other.fixed, first.sized or other.sized
            self._of.update(dict.fromkeys(other.values, first))
        return first

    def _fix(self, values: Iterable[ir.Value | None], reason: str) -> None:
        for value in values:
            sources = self._picks.sources(value) if value not in self._of else (value,)
            for source in sources:
                if source is not None:
                    self._of[source].fix(reason)

    def _visit(self, node: ir.Node) -> None:
        done = False
        if is_standard(node, *MOVEMENTS):
            done = self._moved(node)
        elif is_standard(node, "Conv", "ConvTranspose"):
            done = self._layer(node)
        elif is_standard(node, *_TAME, *_WILD, *_POOLS, *_NORMS, "Resize", "Upsample", "Pad"):
            done = self._mapped(node)
        elif is_standard(node, *_SUMS, *_QUOTIENTS):
            done = self._combined(node)
        elif is_standard(node, "Constant"):
            done = True
        if done:
            return
        reason = f"{node.op_type} '{layer_name(node)}' must find its channels in their places"
        self._fix(node.inputs, reason)
        for value in node.outputs:
            self._begin(value).fix(reason)

    def _moved(self, node: ir.Node) -> bool:
        if all(self._static.constant(v) is not None for v in node.inputs if v is not None):
            return True  # a constant, which is nobody's channels
        if not self._picks.follow(node):
            return False
        for value in node.outputs:
            if self._only_moves_on(value):
                continue
            pick = self._picks.pick(value)
            if pick is None:
                self._fix((value,), f"'{layer_name(node)}' takes its channels apart")
            family = self._begin(value)
            if pick is None:
                family.fix(f"'{layer_name(node)}' makes it of parts of channels")
            else:
                family.picks.append(pick)
        return True

    def _only_moves_on(self, value: ir.Value) -> bool:
        users = [use.node for use in value.uses()]
        inside = all(is_standard(n, *MOVEMENTS) and n.graph is self._graph for n in users)
        return bool(users) and inside and not value.is_graph_output()

    def _layer(self, node: ir.Node) -> bool:
        slot, x, y = slot_of(node), node.inputs[0], node.outputs[0]
        family = None if x is None else self._of.get(x)
        if slot is None or slot.index != 1 or family is None or x is None:
            return False
        tensors = [constant(v) for v in node.inputs[1:] if v is not None]
        if any(t is None or t.dtype not in FLOATS for t in tensors):
            return False
        weight = tensors[0]
        assert weight is not None
        first, second = (int(d) for d in weight.shape.numpy()[:2])
        if slot.groups == 1:
            family.readers.append(node)
            self._begin(y).makers.append(node)
            return True
        if second == 1 and first == slot.groups:
            self._join((x, y)).depthwise.append(node)
            return True
        return False

    def _mapped(self, node: ir.Node) -> bool:
        """One tensor to one, each channel by itself."""
        x, y = node.inputs[0], node.outputs[0]
        family = None if x is None else self._of.get(x)
        others = any(v.uses() or v.is_graph_output() for v in node.outputs[1:])
        constants = all(is_constant(v) for v in node.inputs[1:] if v is not None)
        if x is None or family is None or others or not constants:
            return False
        if is_standard(node, "Pad") and not self._pads_space_alone(node):
            return False
        if is_standard(node, "Resize", "Upsample") and not self._resizes_space_alone(node):
            return False
        family = self._join((x, y))
        if is_standard(node, *_NORMS):
            family.constants.extend((node, index, 0) for index in range(1, len(node.inputs)))
            if not node.attributes.get_float("epsilon", _EPSILON) >= _LEAST_EPSILON:
                family.sized = f"{node.op_type} '{layer_name(node)}' may divide a channel by zero"
        if not all(map(_is_finite, (*node.attributes.values(), *node.inputs[1:]))):
            family.sized = f"{node.op_type} '{layer_name(node)}' has parameters that are not finite"
        if is_standard(node, *_WILD):
            family.sized = f"{node.op_type} '{layer_name(node)}' may not be finite at zero"
        if is_standard(node, "Resize") and len(node.inputs) > 3 and node.inputs[3] is not None:
            family.sized = f"Resize '{layer_name(node)}' names the number of its channels"
        return True

    def _pads_space_alone(self, node: ir.Node) -> bool:
        dims, pads = self._static.dims(node.inputs[0]), ints(node, "pads", 1, self._static)
        if pads is None or dims is None or (len(node.inputs) > 3 and node.inputs[3] is not None):
            return False
        rank = len(dims)
        return len(pads) == 2 * rank and not any(pads[i] for i in (0, 1, rank, rank + 1))

    def _resizes_space_alone(self, node: ir.Node) -> bool:
        before, after = self._static.dims(node.inputs[0]), self._static.dims(node.outputs[0])
        mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
        axes = node.attributes.get_ints("axes", None)
        return (
            mode != "tf_crop_and_resize" and axes is None
            and before is not None and after is not None and before[:2] == after[:2]
        )  # fmt: skip

    def _combined(self, node: ir.Node) -> bool:
        """Element by element of several tensors: their channels must lie alike."""
        y = node.outputs[0]
        dims = self._static.dims(y)
        given = [(i, v) for i, v in enumerate(node.inputs) if v is not None]
        moving = [v for _, v in given if constant(v) is None]
        if dims is None or len(dims) < _LEAST_RANK or dims[1] is None or not moving:
            return False
        shapes = {v: self._static.dims(v) for v in moving}
        if any(v not in self._of or d is None or len(d) != len(dims) for v, d in shapes.items()):
            return False
        alike = [v for v, d in shapes.items() if d is not None and d[1] == dims[1]]
        places = [self._place(node, i, v, len(dims), dims[1])
                  for i, v in given if constant(v) is not None]  # fmt: skip
        if not alike or None in places:
            return False
        self._fix((v for v in moving if v not in alike), f"'{y.name}' has it for every channel")
        family = self._join((*alike, y))
        family.constants.extend(place for place in places if place)
        finite = all(_is_finite(v) for _, v in given if constant(v) is not None)
        if is_standard(node, *_QUOTIENTS) or not finite:
            family.sized = f"{node.op_type} '{layer_name(node)}' may not be finite at zero"
        return True

    def _place(
        self, node: ir.Node, index: int, value: ir.Value, rank: int, channels: int
    ) -> tuple[ir.Node, int, int] | tuple[()] | None:
        """Where a constant has numbers for channels; () where it has none, None if it cannot be."""
        tensor = constant(value)
        assert tensor is not None
        shape = [int(d) for d in tensor.shape.numpy()]
        axis = len(shape) - (rank - 1)
        if node.op_type == "PRelu" and len(shape) == 1 and channels != 1:
            return () if shape[0] == 1 else None
        if len(shape) > rank:
            return None
        if axis < 0 or shape[axis] == 1:
            return ()
        return (node, index, axis) if shape[axis] == channels else None


def _is_finite(given: ir.Attr | ir.Value | None) -> bool:
    """Whether an attribute or a constant is; others are not looked at."""
    if given is None:
        return True
    if isinstance(given, ir.Value):
        tensor = constant(given)
        return (
            tensor is None
            or tensor.dtype not in FLOATS
            or bool(np.isfinite(tensor.numpy().astype(np.float64)).all())
        )
    if given.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS):
        return bool(np.isfinite(np.asarray(given.value, np.float64)).all())
    return True
