"""Planted faults, which a judge of equivalence must reject, and rewrites, which it must accept.

Each takes a model and a random generator and gives another model, or None where the model has
nothing of the kind. The input is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.model.permutation import permute_channels
from modelcheck.model.static import Static
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.fold_batchnorm import fold_batchnorm

Rewriting = Callable[[Model, np.random.Generator], Model | None]


@dataclass(frozen=True)
class Fault:
    """A mistake as tools make it. `plant` gives the faulty model."""

    name: str
    plant: Rewriting


@dataclass(frozen=True)
class Equivalent:
    """Another form of the same function. `rewrite` gives it."""

    name: str
    rewrite: Rewriting


class _Layer:
    """A layer with a constant weight, seen as rows: one for each output channel."""

    def __init__(self, node: ir.Node, index: int, weight: np.ndarray, axis: int) -> None:
        self.node, self.index, self.weight, self.axis = node, index, weight, axis

    @property
    def rows(self) -> np.ndarray:
        """A copy of the weight, output channels first."""
        return np.moveaxis(self.weight, self.axis, 0).copy()

    def live(self) -> np.ndarray:
        """The channels with weights of at least median size: a dead channel shows no fault."""
        size = np.abs(self.rows.reshape(len(self.rows), -1).astype(np.float64)).sum(axis=1)
        return np.flatnonzero((size >= np.median(size)) & (size > 0))

    def replace(self, edit: Edit, rows: np.ndarray) -> None:
        array = np.ascontiguousarray(np.moveaxis(rows, 0, self.axis))
        edit.set_input(self.node, self.index, edit.initializer("planted", array))


def _layers(edit: Edit) -> Iterator[_Layer]:
    static = Static(edit.graph, edit.opset)
    for node in edit.graph:
        if node.domain or node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weight = static.constant(node.inputs[1])
        if weight is None or weight.ndim < 2 or weight.dtype.kind != "f":
            continue
        rows_first = node.op_type == "Conv" or node.attributes.get_int("transB", 0) == 1
        yield _Layer(node, 1, weight, 0 if rows_first else weight.ndim - 1)


def _some_layer(
    edit: Edit, random: np.random.Generator, fits: Callable[[_Layer], bool] = lambda layer: True
) -> _Layer | None:
    """A layer with live channels: a convolution, or in a net without them any other."""
    found = [layer for layer in _layers(edit) if layer.live().size and fits(layer)]
    convolutions = [layer for layer in found if layer.node.op_type == "Conv"]
    candidates = convolutions or found
    return candidates[int(random.integers(len(candidates)))] if candidates else None


def _scaled_channel(factor: float) -> Rewriting:
    def plant(model: Model, random: np.random.Generator) -> Model | None:
        edit = Edit(model)
        layer = _some_layer(edit, random)
        if layer is None:
            return None
        rows = layer.rows
        rows[random.choice(layer.live())] *= factor
        layer.replace(edit, rows)
        return edit.done()

    return plant


def _swapped_channels(model: Model, random: np.random.Generator) -> Model | None:
    edit = Edit(model)
    layer = _some_layer(edit, random, lambda layer: layer.live().size >= 2)
    if layer is None:
        return None
    a, b = random.choice(layer.live(), 2, replace=False)
    rows = layer.rows
    if np.array_equal(rows[a], rows[b]):
        return None
    rows[[a, b]] = rows[[b, a]]
    layer.replace(edit, rows)
    return edit.done()


def _nan_weight(model: Model, random: np.random.Generator) -> Model | None:
    edit = Edit(model)
    layer = _some_layer(edit, random)
    if layer is None:
        return None
    rows = layer.rows
    rows[(random.choice(layer.live()), *(0,) * (rows.ndim - 1))] = np.nan
    layer.replace(edit, rows)
    return edit.done()


def _transposed_weight(model: Model, random: np.random.Generator) -> Model | None:
    """Input and output channels exchanged where they are equally many, else height and width."""
    edit = Edit(model)
    for a, b in ((0, 1), (-2, -1)):

        def fits(layer: _Layer, a: int = a, b: int = b) -> bool:
            w = layer.weight
            square = w.shape[a] == w.shape[b] > 1
            return square and not np.array_equal(w, np.swapaxes(w, a, b))

        layer = _some_layer(edit, random, fits)
        if layer is not None:
            turned = np.ascontiguousarray(np.swapaxes(layer.weight, a, b))
            edit.set_input(layer.node, layer.index, edit.initializer("planted", turned))
            return edit.done()
    return None


def _shifted_bias(model: Model, random: np.random.Generator) -> Model | None:
    """b + 0.05 std(b) in half of the last bias (all of it would be invisible behind a Softmax).

    A constant bias of one value has no deviation: then 0.05 std(w) of its layer is taken. A model
    without any bias gets one in its last layer.
    """
    edit = Edit(model)
    static = Static(edit.graph, edit.opset)
    last = None
    for node in edit.graph:
        if node.domain or node.op_type not in ("Conv", "Gemm") or _normalized(node):
            continue
        if static.constant(node.inputs[1]) is not None:
            last = node if last is None or _bias(static, node) is not None else last
    if last is None:
        return None
    weight, bias = static.constant(last.inputs[1]), _bias(static, last)
    assert weight is not None
    columns = last.op_type == "Gemm" and last.attributes.get_int("transB", 0) == 0
    if bias is None:
        bias = np.zeros(weight.shape[1 if columns else 0], weight.dtype)
    step = 0.05 * (float(bias.std()) or float(weight.std()))
    chosen = random.permutation(bias.size)[: max(1, bias.size // 2)]
    shifted = bias.copy()
    shifted.reshape(-1)[chosen] += bias.dtype.type(step)
    edit.set_input(last, 2, edit.initializer("planted", shifted))
    return edit.done()


def _bias(static: Static, node: ir.Node) -> np.ndarray | None:
    return static.constant(node.inputs[2]) if len(node.inputs) > 2 else None


def _normalized(node: ir.Node) -> bool:
    """Whether the next operator takes the mean, and with it any shift, away."""
    return any(u.op_type == "InstanceNormalization" for u in node.outputs[0].consumers())


def _moved_padding(model: Model, random: np.random.Generator) -> Model | None:
    """One more pixel at one end of an axis, one less at the other."""
    edit = Edit(model)
    found = []
    for node in edit.graph:
        pads = node.attributes.get_ints("pads", ())
        if node.domain or node.op_type not in ("Conv", "MaxPool", "AveragePool"):
            continue
        found += [(node, i) for i in range(len(pads) // 2) if pads[i] or pads[i + len(pads) // 2]]
    convolutions = [(node, i) for node, i in found if node.op_type == "Conv"]
    candidates = convolutions or found
    if not candidates:
        return None
    node, axis = candidates[int(random.integers(len(candidates)))]
    pads = list(node.attributes.get_ints("pads"))
    begin, end = axis, axis + len(pads) // 2
    source, target = (end, begin) if pads[end] else (begin, end)
    pads[source] -= 1
    pads[target] += 1
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    return Model.freeze(edit.model, name=model.name)


def _larger_epsilon(model: Model, random: np.random.Generator) -> Model | None:
    """Every BatchNormalization's epsilon times 100, as an exporter with another default does."""
    edit = Edit(model)
    nodes = [n for n in edit.graph if not n.domain and n.op_type == "BatchNormalization"]
    if not nodes:
        return None
    for node in nodes:
        epsilon = node.attributes.get_float("epsilon", 1e-5)
        node.attributes["epsilon"] = ir.AttrFloat32("epsilon", 100 * epsilon)
    return Model.freeze(edit.model, name=model.name)


def _permuted(model: Model, random: np.random.Generator) -> Model | None:
    found = permute_channels(model, int(random.integers(2**31)))
    return found.model if found.permuted_groups else None


def _renamed(model: Model, random: np.random.Generator) -> Model | None:
    """New names for all nodes and all values inside; inputs, outputs and weights keep theirs."""
    edited = model.edit()
    for index, node in enumerate(edited.graph):
        node.name = f"renamed {index}"
        for value in node.outputs:
            if value.name and not value.is_graph_output():
                value.name = f"renamed {index}:{value.index()}"
    return Model.freeze(edited, name=model.name)


def _folded(model: Model, random: np.random.Generator) -> Model | None:
    folded = fold_batchnorm()(model)
    return None if folded is model else folded


FAULTS = (
    Fault("one channel's sign flipped", _scaled_channel(-1.0)),
    Fault("one channel scaled by 1.05", _scaled_channel(1.05)),
    Fault("last bias shifted by 0.05 of its deviation", _shifted_bias),
    Fault("two channels swapped", _swapped_channels),
    Fault("NaN in one weight", _nan_weight),
    Fault("padding moved by one", _moved_padding),
    Fault("BatchNormalization's epsilon times 100", _larger_epsilon),
    Fault("one layer's weight transposed", _transposed_weight),
)

# Smaller than the last digits that a user reads, and larger than rounding.
SLIGHT_FAULTS = (Fault("one channel scaled by 1.001", _scaled_channel(1.001)),)

EQUIVALENTS = (
    Equivalent("itself", lambda model, random: model),
    Equivalent("internal channels permuted", _permuted),
    Equivalent("nodes renamed", _renamed),
    Equivalent("BatchNormalization folded", _folded),
)
