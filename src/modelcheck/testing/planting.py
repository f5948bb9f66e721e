"""What planted faults and equivalent forms have in common: how they find their place in a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.model.static import Static
from modelcheck.transforms.edit import Edit

Rewriting = Callable[[Model, np.random.Generator], Model | None]
Change = Callable[[Edit, np.random.Generator], bool]
T = TypeVar("T")


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


def edited(change: Change) -> Rewriting:
    """A rewriting that changes a copy of the model, or finds nothing there to change."""

    def rewriting(model: Model, random: np.random.Generator) -> Model | None:
        edit = Edit(model)
        return Model.freeze(edit.model, name=model.name) if change(edit, random) else None

    return rewriting


class Layer:
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
        """Give the layer another weight, its rows first."""
        array = np.ascontiguousarray(np.moveaxis(rows, 0, self.axis))
        edit.set_input(self.node, self.index, edit.initializer("planted", array))


def layers(edit: Edit) -> Iterator[Layer]:
    """Every Conv, Gemm and MatMul by a constant of floats."""
    static = Static(edit.graph, edit.opset)
    for node in edit.graph:
        if node.domain or node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weight = static.constant(node.inputs[1])
        if weight is None or weight.ndim < 2 or weight.dtype.kind != "f":
            continue
        rows_first = node.op_type == "Conv" or node.attributes.get_int("transB", 0) == 1
        yield Layer(node, 1, weight, 0 if rows_first else weight.ndim - 1)


def some_layer(
    edit: Edit, random: np.random.Generator, fits: Callable[[Layer], bool] = lambda layer: True
) -> Layer | None:
    """A layer with live channels: a convolution, or in a net without them any other."""
    found = [layer for layer in layers(edit) if layer.live().size and fits(layer)]
    convolutions = [layer for layer in found if layer.node.op_type == "Conv"]
    return some(convolutions or found, random)


def some_node(
    edit: Edit,
    random: np.random.Generator,
    op_types: Sequence[str],
    fits: Callable[[ir.Node], bool] = lambda node: True,
) -> ir.Node | None:
    """A node of one of these operators."""
    nodes = [n for n in edit.graph if not n.domain and n.op_type in op_types]
    return some([n for n in nodes if fits(n)], random)


def some(found: Sequence[T], random: np.random.Generator) -> T | None:
    """One of them, or None where there is none."""
    return found[int(random.integers(len(found)))] if found else None


def sizes(static: Static, value: ir.Value | None) -> tuple[int, ...] | None:
    """The dimensions of a value if all but the first are known; a free batch counts as 1."""
    dims = static.dims(value)
    if not dims:
        return None
    known = tuple(d for d in (dims[0] or 1, *dims[1:]) if d is not None)
    return known if len(known) == len(dims) else None


def become(node: ir.Node, op_type: str, **attributes: float | int) -> None:
    """Turn a node into another operator, with these attributes and no others."""
    node.op_type = op_type
    node.attributes.clear()
    for name, value in attributes.items():
        integer = isinstance(value, int)
        node.attributes[name] = (
            ir.AttrInt64(name, int(value)) if integer else ir.AttrFloat32(name, value)
        )
