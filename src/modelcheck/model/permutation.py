"""The same model with its internal channels in another order: what float rounding alone does.

For a layer y = W x, any permutation P of the channels of x gives the same y from (W P') (P x): the
weights that make x are reordered one way, those that use it the other. Only the order of float
sums changes, so the outputs of two such models tell how much of a difference is mere rounding:
the judge's noise floor (GATE.md).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.model.channels import Edit, follow_channels
from modelcheck.model.channels.trace import Atoms, order
from modelcheck.model.model import Model
from modelcheck.model.static import Static


@dataclass(frozen=True)
class Permuted:
    """A model with channels reordered, and in how many independent groups.

    A group is a set of channels that may change places among themselves; layers that share one
    (a residual Add) move together. No groups: the model is the one given.
    """

    model: Model
    permuted_groups: int


def permute_channels(model: Model, seed: int) -> Permuted:
    """Reorder every channel that no output of the graph can see; the function stays the same.

    Channels are followed through elementwise operators, norms, pooling, Concat, Split, Slice,
    Reshape and Transpose (a channel shuffle too), residuals and squeeze-excite. Those that meet
    an operator not understood, a subgraph, an input or an output of the graph keep their places.
    Claim: exact (float rounding only). Every group gets a permutation other than the identity.
    """
    edited = model.edit()
    static = Static(edited.graph, model.opset)
    trace = follow_channels(edited.graph, static)
    cells = trace.cells()
    if not cells:
        return Permuted(model, 0)
    random = np.random.default_rng(seed)
    moves: dict[int, int] = {}
    for members in cells:
        moves.update(zip(members, _shuffled(members, random), strict=True))
    lifted = trace.lift(moves)
    _apply(edited, static, trace.edits, lifted)
    return Permuted(Model.freeze(edited, name=model.name), len(cells))


def longest_reduction(model: Model) -> int:
    """K of the noise floor's lower bound 8 eps sqrt(K): the longest sum of products in a layer.

    Conv: in/group * kh * kw. ConvTranspose: the same of its transpose. Gemm, MatMul: the inner
    dimension. 1 for a model without such layers.
    """
    static = Static(model.graph, model.opset)
    longest = 1
    for node in model.graph:
        dims = [static.dims(v) for v in node.inputs[:2]]
        if node.domain or len(dims) < 2:
            continue
        a, b = dims
        if node.op_type == "Conv" and b:
            longest = max(longest, math.prod(d or 1 for d in b[1:]))
        elif node.op_type == "ConvTranspose" and b:
            group = node.attributes.get_int("group", 1)
            longest = max(longest, (b[0] or 1) // group * math.prod(d or 1 for d in b[2:]))
        elif node.op_type == "Gemm":
            inner = a and a[0 if node.attributes.get_int("transA", 0) else 1]
            other = b and b[1 if node.attributes.get_int("transB", 0) else 0]
            longest = max(longest, inner or other or 1)
        elif node.op_type == "MatMul":
            longest = max(longest, (a and a[-1]) or (b and b[-2 if len(b) > 1 else 0]) or 1)
    return longest


def _shuffled(members: list[int], random: np.random.Generator) -> list[int]:
    found = [members[i] for i in random.permutation(len(members))]
    return found if found != members else [*members[1:], members[0]]


def _apply(edited: ir.Model, static: Static, edits: list[Edit], lifted: Atoms) -> None:
    """Give each constant its new order: one copy for each order that its uses want."""
    graph = edited.graph
    by_input: defaultdict[tuple[ir.Node, int], list[Edit]] = defaultdict(list)
    for edit in edits:
        by_input[edit.node, edit.index].append(edit)
    taken = {str(v.name) for node in graph for v in node.outputs}
    taken |= {str(v.name) for v in graph.inputs} | set(graph.initializers)
    made: dict[tuple[ir.Value, tuple[object, ...]], ir.Value] = {}
    replaced: list[ir.Value] = []
    for (node, index), found in by_input.items():
        value = node.inputs[index]
        assert value is not None
        orders = [_orders(e, lifted) for e in found]
        if all(np.array_equal(o, np.arange(len(o))) for rows in orders for o in rows):
            continue
        key = (
            value,
            tuple((e.axis, o.tobytes()) for e, r in zip(found, orders, strict=True) for o in r),
        )
        if key not in made:
            array = static.constant(value)
            assert array is not None
            for edit, rows in zip(found, orders, strict=True):
                array = _reordered(array, edit, rows)
            name = f"{value.name}/permuted{len(made)}"
            while name in taken:
                name += "'"
            made[key] = _new_initializer(edited, name, array)
            replaced.append(value)
        node.replace_input_with(index, made[key])
    for value in dict.fromkeys(replaced):
        copies = [v for (source, _), v in made.items() if source is value]
        _take_over(graph, value, copies[0])


def _orders(edit: Edit, lifted: Atoms) -> list[np.ndarray]:
    return [order(row, lifted) for row in edit.atoms.reshape(edit.groups, -1)]


def _reordered(array: np.ndarray, edit: Edit, orders: list[np.ndarray]) -> np.ndarray:
    if edit.groups == 1:
        return array.take(orders[0], edit.axis)
    blocks = np.split(array, edit.groups)
    moved = [b.take(o, edit.axis) for b, o in zip(blocks, orders, strict=True)]
    return np.concatenate(moved)


def _new_initializer(edited: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    graph = edited.graph
    tensor = ir.Tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(
        name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype)
    )
    graph.register_initializer(value)
    if edited.ir_version < 4:  # where every initializer is an input too
        graph.inputs.append(value)
    return value


def _take_over(graph: ir.Graph, value: ir.Value, copy: ir.Value) -> None:
    """Let the copy of a constant that nothing uses any more have its place and name."""
    tensor, name = copy.const_value, value.name
    if value.uses() or value.is_graph_output() or tensor is None or name is None:
        return
    if value.is_initializer() and value.is_graph_input():
        # Without its initializer it would be an input that must be fed.
        value.const_value = ir.Tensor(tensor.numpy(), name=name)
        for use in copy.uses():
            use.node.replace_input_with(use.idx, value)
        del graph.initializers[str(copy.name)]
        if copy in graph.inputs:
            graph.inputs.remove(copy)
        return
    _remove_dead(graph, value)
    if name not in graph.initializers:
        copy.name = name


def _remove_dead(graph: ir.Graph, value: ir.Value) -> None:
    """Remove a constant without uses, and what only it was made of."""
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    node = value.producer()
    if node is not None:
        sources = [v for v in node.inputs if v is not None]
        graph.remove(node, safe=True)
        for source in sources:
            _remove_dead(graph, source)
    elif value.is_initializer():
        del graph.initializers[str(value.name)]
