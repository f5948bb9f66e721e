"""Faults in how a graph is wired: operands lost, exchanged, weighed or cut otherwise."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelcheck.model.static import Static
from modelcheck.testing.planting import become, sizes, some, some_node
from modelcheck.transforms.edit import Edit


def operand_weighed(edit: Edit, random: np.random.Generator) -> bool:
    """a + b becomes 0.99 a + b."""
    static = Static(edit.graph, edit.opset)
    node = some_node(edit, random, ("Add",), lambda node: _joins_activations(static, node))
    if node is None:
        return False
    operand = node.inputs[0]
    factor = edit.initializer("planted", np.array([0.99], _dtype(operand)))
    edit.set_input(node, 0, edit.node("Mul", [operand, factor], "planted", like=operand))
    return True


def residual_dropped(edit: Edit, random: np.random.Generator) -> bool:
    """a + b becomes a, which has the shape of the sum."""
    return _operand_dropped(edit, random, "Add")


def gate_dropped(edit: Edit, random: np.random.Generator) -> bool:
    """a · b becomes a, which has the shape of the product: a squeeze-excite without its gate."""
    return _operand_dropped(edit, random, "Mul")


def concat_exchanged(edit: Edit, random: np.random.Generator) -> bool:
    """Two inputs of a Concat changed places."""
    static = Static(edit.graph, edit.opset)

    def fits(node: ir.Node) -> bool:
        dims = static.dims(node.outputs[0])
        return dims is not None and len(dims) > 2 and len(set(node.inputs)) > 1

    node = some_node(edit, random, ("Concat",), fits)
    if node is None:
        return False
    first = node.inputs[0]
    other = next(i for i, value in enumerate(node.inputs) if value is not first)
    second = node.inputs[other]
    assert first is not None
    assert second is not None
    edit.set_input(node, 0, second)
    edit.set_input(node, other, first)
    return True


def axes_exchanged(edit: Edit, random: np.random.Generator) -> bool:
    """A Transpose exchanges two axes of equal size besides: the shapes stay."""
    static = Static(edit.graph, edit.opset)
    found = []
    for node in edit.graph:
        if (
            node.domain
            or node.op_type != "Transpose"
            or static.constant(node.outputs[0]) is not None
        ):
            continue
        dims = sizes(static, node.outputs[0]) or ()
        equal = [(a, b) for b, d in enumerate(dims) for a in range(b) if dims[a] == d > 1]
        found += [(node, pair) for pair in equal]
    chosen = some(found, random)
    if chosen is None:
        return False
    node, (a, b) = chosen
    rank = len(static.dims(node.outputs[0]) or ())
    perm = list(node.attributes.get_ints("perm", range(rank - 1, -1, -1)))
    perm[a], perm[b] = perm[b], perm[a]
    node.attributes["perm"] = ir.AttrInt64s("perm", perm)
    return True


def slice_shifted(edit: Edit, random: np.random.Generator) -> bool:
    """A Slice takes as many elements from one place further on, or one before."""
    static = Static(edit.graph, edit.opset)
    found = []
    for node in edit.graph:
        if node.domain or node.op_type != "Slice" or edit.opset < 10:
            continue
        if (shifted := _shifted(static, node)) is not None:
            found.append((node, shifted))
    chosen = some(found, random)
    if chosen is None:
        return False
    node, bounds = chosen
    for index, array in enumerate(bounds, start=1):
        edit.set_input(node, index, edit.initializer("planted", array))
    return True


def constant_perturbed(edit: Edit, random: np.random.Generator) -> bool:
    """The largest element of a constant operand times 1.01: a scale, an offset, a divisor."""
    static = Static(edit.graph, edit.opset)
    found = []
    for node in edit.graph:
        if node.domain or node.op_type not in ("Add", "Sub", "Mul", "Div"):
            continue
        if static.constant(node.outputs[0]) is not None:
            continue
        for index, value in enumerate(node.inputs):
            array = static.constant(value)
            if array is not None and array.dtype.kind == "f" and array.any():
                found.append((node, index, array))
    chosen = some(found, random)
    if chosen is None:
        return False
    node, index, array = chosen
    changed = array.copy()
    changed.flat[np.abs(array).argmax()] *= array.dtype.type(1.01)
    edit.set_input(node, index, edit.initializer("planted", changed))
    return True


def _operand_dropped(edit: Edit, random: np.random.Generator, op_type: str) -> bool:
    static = Static(edit.graph, edit.opset)

    def kept(node: ir.Node) -> list[int]:
        """The operands that could stand for the result."""
        result = sizes(static, node.outputs[0])
        if result is None or len(result) < 2 or not _joins_activations(static, node):
            return []
        return [i for i, value in enumerate(node.inputs) if sizes(static, value) == result]

    node = some_node(edit, random, (op_type,), lambda node: bool(kept(node)))
    if node is None:
        return False
    value = node.inputs[kept(node)[0]]
    assert value is not None
    edit.set_input(node, 0, value)
    node.resize_inputs(1)
    become(node, "Identity")
    return True


def _joins_activations(static: Static, node: ir.Node) -> bool:
    """Whether both operands are computed from the input, and different."""
    a, b = node.inputs
    dims = static.dims(node.outputs[0])
    computed = static.constant(a) is None and static.constant(b) is None
    return computed and a is not b and dims is not None and len(dims) > 1


def _shifted(static: Static, node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """(starts, ends) one further along some axis, of the same number of elements."""
    dims = sizes(static, node.inputs[0])
    given = [static.constant(value) for value in node.inputs[1:]]
    known = [array for array in given if array is not None]
    if dims is None or len(known) < 2 or len(known) < len(given):
        return None
    starts, ends, *rest = known
    axes = rest[0] if rest else np.arange(len(starts))
    steps = rest[1] if len(rest) > 1 else np.ones_like(starts)
    for i, axis in enumerate(axes):
        size, step = dims[axis], int(steps[i])
        if step < 1:
            continue
        start, end, _ = slice(int(starts[i]), int(ends[i])).indices(size)
        for by in (1, -1):
            moved = slice(start + by, min(end + by, size), step)
            if moved.start >= 0 and len(range(size)[moved]) == len(range(size)[start:end:step]):
                new = starts.copy(), ends.copy()
                new[0][i], new[1][i] = moved.start, moved.stop
                return new
    return None


def _dtype(value: ir.Value | None) -> np.dtype:
    dtype = None if value is None else value.dtype
    return np.dtype(np.float32) if dtype is None else dtype.numpy()
