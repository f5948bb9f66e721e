"""Arithmetic on images with the channels first, whatever order a net was made in.

channels-first      Let P turn (N, H, W, C) into (N, C, H, W). For operators f that work element by
                    element, and along axes if these are turned too,

                        P f(x, y) = f(P x, P y)

                    so a region of them that lies between transpositions is computed behind P: what
                    it reads is turned, P P⁻¹ = 1 leaves out those that stood there, constants are
                    turned here, and P⁻¹ stands where others read it. Only where less is turned
                    then than before, or as much, and all of it inputs of the net.

                    Engines are slow where the axis that they broadcast over is short: on 5.0 new
                    a product of 256x128 pixels with 3 channels takes 0.8 ms with the channels
                    last. person_reid_0288, which normalizes its input so, 1.55x.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from modelcheck.model.static import Static
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import constant, is_constant, is_standard, layer_name
from modelcheck.transforms.rules.rule import Rule, Site

_OF_ONE = (
    "Abs", "Cast", "Ceil", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round",
    "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu",
)  # fmt: skip
_OF_SOME = ("Add", "Div", "Max", "Mean", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum")
_ALONG_AN_AXIS = ("Concat", "LogSoftmax", "Softmax", "Split")
_OVER_AXES = (
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare",
)  # fmt: skip
_TURNED = (*_OF_ONE, *_OF_SOME, *_ALONG_AN_AXIS, *_OVER_AXES)
_MANY = frozenset((*_OF_SOME, "Concat"))  # that compute with all their inputs, and not the first
_LEAST_RANK, _OPSET = 4, 13


@dataclass(frozen=True)
class Turn:
    """P for images of this many axes: `first` moves the channels forward, `last` back."""

    rank: int

    @property
    def first(self) -> tuple[int, ...]:
        return (0, self.rank - 1, *range(1, self.rank - 1))

    @property
    def last(self) -> tuple[int, ...]:
        return (0, *range(2, self.rank), 1)

    def axis(self, axis: int) -> int:
        """Where an axis lies behind P."""
        return self.first.index(axis % self.rank)

    def constant(self, array: np.ndarray) -> np.ndarray:
        wide = array.reshape((1,) * (self.rank - array.ndim) + array.shape)
        return np.ascontiguousarray(wide.transpose(self.first))


@dataclass
class Region:
    """Connected operators that may be computed behind P, as many as there are."""

    static: Static
    turn: Turn
    graph: ir.Graph | None  # bodies of an If or a Loop are not part of it
    nodes: dict[ir.Node, None] = field(default_factory=dict)  # ordered

    def grow(self, seeds: Iterable[ir.Node | None]) -> None:
        waiting = list(seeds)
        while waiting:
            node = waiting.pop()
            if node is None or node in self.nodes or not self._may_be_turned(node):
                continue
            self.nodes[node] = None
            waiting += [v.producer() for v in _read(node)]
            waiting += [use.node for v in node.outputs for use in v.uses()]

    def reads(self) -> list[ir.Value]:
        """What comes from without, each value once; constants are not among it."""
        found = {v: None for node in self.nodes for v in _read(node)
                 if v.producer() not in self.nodes and not is_constant(v)}  # fmt: skip
        return list(found)

    def is_read(self) -> list[ir.Value]:
        """Results that others read, or that are results of the net."""
        return [
            v for node in self.nodes for v in node.outputs
            if v.is_graph_output() or any(use.node not in self.nodes for use in v.uses())
        ]  # fmt: skip

    def before_turn(self, value: ir.Value) -> ir.Value | None:
        """What P^-1 made a value of that comes from without, if it did; not of the region's own."""
        maker = value.producer()
        if maker is None or not self._turns(maker, self.turn.last):
            return None
        made_of = maker.inputs[0]
        return None if made_of is None or made_of.producer() in self.nodes else made_of

    def behind(self, value: ir.Value) -> list[ir.Node]:
        """The transpositions P that read a result."""
        return [use.node for use in value.uses() if self._turns(use.node, self.turn.first)]

    def is_worth_it(self) -> bool:
        before = after = 0
        all_inputs = True
        for value in self.reads():
            if self.before_turn(value) is not None:
                if all(use.node in self.nodes for use in value.uses()):
                    before += self._elements(value)
            else:
                after += self._elements(value)
                all_inputs = all_inputs and value.producer() is None
        for value in self.is_read():
            behind = self.behind(value)
            others = [use.node for use in value.uses() if use.node not in self.nodes]
            before += self._elements(value) * len(behind)
            if value.is_graph_output() or len(behind) < len(others):
                after += self._elements(value)
                all_inputs = False
        return after < before or (after == before and all_inputs)

    def _turns(self, node: ir.Node, perm: tuple[int, ...]) -> bool:
        return node.graph is self.graph and _turns(node, perm)

    def _elements(self, value: ir.Value) -> int:
        return math.prod(d or 1 for d in self.static.dims(value) or ())

    def _may_be_turned(self, node: ir.Node) -> bool:
        if node.graph is not self.graph or not is_standard(node, *_TURNED):
            return False
        if not all(map(self._is_image, node.outputs)):
            return False
        if node.op_type in _OVER_AXES and _axes(node) is None:
            return False
        may_be_short = node.op_type in _OF_SOME
        return all(self._is_image(v) or (may_be_short and is_constant(v)) for v in _read(node))

    def _is_image(self, value: ir.Value) -> bool:
        dims = self.static.dims(value)
        return dims is not None and len(dims) == self.turn.rank


def _channels_first(site: Site) -> bool:
    node = site.node
    turn = Turn(len(node.attributes.get_ints("perm", ()) or ()))
    if turn.rank < _LEAST_RANK:
        return False
    if _turns(node, turn.first):
        assert node.inputs[0] is not None
        seeds = [node.inputs[0].producer()]
    elif _turns(node, turn.last):
        seeds = [use.node for use in node.outputs[0].uses()]
    else:
        return False
    seen: set[ir.Node] = site.shared.setdefault("seen", set())
    region = Region(site.static, turn, node.graph)
    region.grow(seed for seed in seeds if seed not in seen)
    seen.update(region.nodes)
    if not region.nodes or not region.is_worth_it():
        return False
    _turn_around(site.edit, region)
    return True


def _turn_around(edit: Edit, region: Region) -> None:
    turn, nodes = region.turn, region.nodes
    reads, is_read = region.reads(), region.is_read()
    turned: dict[ir.Value, ir.Value] = {}
    for value in reads:
        turned[value] = region.before_turn(value) or edit.node(
            "Transpose", [value], f"{value.name}/first", like=None, perm=turn.first
        )
    declared = {value: value.shape for value in is_read}
    for node in nodes:
        _turn_node(edit, node, turn, turned)
        for value in node.outputs:
            value.shape = None
    for value in reads:
        maker = value.producer()
        if maker is not None and not value.uses() and not value.is_graph_output():
            edit.remove_unused(maker)
    for value in is_read:
        _give_back(edit, value, region, declared[value])


def _turn_node(edit: Edit, node: ir.Node, turn: Turn, turned: Mapping[ir.Value, ir.Value]) -> None:
    """Let a node compute what it did of what is turned; what it gives is turned then, too."""
    for index, value in enumerate(node.inputs):
        if value is None or (index and node.op_type not in _MANY):
            continue
        tensor = constant(value)
        if value in turned:
            edit.set_input(node, index, turned[value])
        elif tensor is not None and tensor.size != 1:
            edit.own_constant(node, index, turn.constant(tensor.numpy()), "first")
    if node.op_type in _ALONG_AN_AXIS:
        axis = node.attributes.get_int("axis", 0 if node.op_type == "Split" else -1)
        edit.set_attribute(node, ir.AttrInt64("axis", turn.axis(axis)))
    elif axes := _axes(node):
        moved = sorted(turn.axis(axis) for axis in axes)
        if "axes" in node.attributes:
            edit.set_attribute(node, ir.AttrInt64s("axes", moved))
        else:
            edit.own_constant(node, 1, np.array(moved, np.int64), "axes")


def _give_back(edit: Edit, value: ir.Value, region: Region, shape: ir.Shape | None) -> None:
    """Let those without read what they did: the result turned back, or as it is for P."""
    outside = [(use.node, use.idx) for use in value.uses() if use.node not in region.nodes]
    inside = [(use.node, use.idx) for use in value.uses() if use.node in region.nodes]
    behind = region.behind(value)
    given_out = value.is_graph_output()
    if given_out or len(behind) < len(outside):
        back = edit.node(
            "Transpose", [value], f"{value.name}/last", like=None, perm=region.turn.last
        )
        if given_out:
            edit.put_behind(value, back)
            back.shape = shape
            for node, index in (*inside, *((node, 0) for node in behind)):
                edit.set_input(node, index, value)
        else:
            for node, index in outside:
                if node not in behind:
                    edit.set_input(node, index, back)
    for node in behind:
        heir = value
        if node.outputs[0].is_graph_output():
            heir = edit.node("Identity", [value], f"{layer_name(node)}/first", like=value)
        edit.remove(node, heir=heir)


def _read(node: ir.Node) -> Iterator[ir.Value]:
    """The images that a node computes with."""
    inputs = node.inputs if node.op_type in _MANY else node.inputs[:1]
    return (value for value in inputs if value is not None)


def _axes(node: ir.Node) -> tuple[int, ...] | None:
    """The axes of a reduction that keeps them, none for all; None where it cannot be turned."""
    if node.op_type not in _OVER_AXES or not node.attributes.get_int("keepdims", 1):
        return None
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is None:
        return tuple(node.attributes.get_ints("axes", ()) or ())
    tensor = constant(given)
    return None if tensor is None else tuple(int(axis) for axis in tensor.numpy().reshape(-1))


def _turns(node: ir.Node, perm: tuple[int, ...]) -> bool:
    given = node.attributes.get_ints("perm", ())
    return is_standard(node, "Transpose") and tuple(given or ()) == perm


CHANNELS_FIRST = Rule("channels-first", frozenset(("Transpose",)), _channels_first, opset=_OPSET)
