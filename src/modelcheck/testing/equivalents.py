"""Rewrites that keep the function, which a judge of equivalence must accept: one literal table.

Each takes a model and a random generator and gives another model, or None where the model has
nothing of the kind. Exact up to float rounding; the input is never changed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.model.permutation import permute_channels
from modelcheck.model.static import Static
from modelcheck.testing import equivalents_layers as layers
from modelcheck.testing.planting import Equivalent, edited, some_layer, some_node
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.fold_batchnorm import fold_batchnorm

_FEW = 3  # nodes that get an Identity behind them


def _permuted(model: Model, random: np.random.Generator) -> Model | None:
    found = permute_channels(model, int(random.integers(2**31)))
    return found.model if found.permuted_groups else None


def _folded(model: Model, random: np.random.Generator) -> Model | None:
    folded = fold_batchnorm()(model)
    return None if folded is model else folded


def _renamed(edit: Edit, random: np.random.Generator) -> bool:
    """New names for all nodes and all values inside; inputs, outputs and weights keep theirs."""
    for index, node in enumerate(edit.graph):
        node.name = f"renamed {index}"
        for value in node.outputs:
            if value.name and not value.is_graph_output():
                value.name = f"renamed {index}:{value.index()}"
    return True


def _reordered(edit: Edit, random: np.random.Generator) -> bool:
    """The nodes in another order in which each still follows all it reads."""
    nodes = list(edit.graph)
    order = list(_some_order(nodes, random))
    if order == nodes:
        return False
    edit.graph.remove(nodes)
    edit.graph.extend(order)
    return True


def _some_order(nodes: list[ir.Node], random: np.random.Generator) -> Iterator[ir.Node]:
    """A random topological order."""
    makers = {node: _makers(node) for node in nodes}
    users: dict[ir.Node, list[ir.Node]] = {node: [] for node in nodes}
    for node, read in makers.items():
        for maker in read:
            users[maker].append(node)
    waiting = {node: len(read) for node, read in makers.items()}
    ready = [node for node in nodes if not waiting[node]]
    while ready:
        node = ready.pop(int(random.integers(len(ready))))
        yield node
        for user in users[node]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)


def _makers(node: ir.Node) -> set[ir.Node]:
    """The nodes of the same graph that a node reads, also from within its subgraphs."""
    bodies = (a.as_graph() for a in node.attributes.values() if a.type is ir.AttributeType.GRAPH)
    inside = [node, *(n for body in bodies for n in body.all_nodes())]
    makers = {v.producer() for n in inside for v in n.inputs if v is not None}
    return {m for m in makers if m is not None and m.graph is node.graph}


def _with_identities(edit: Edit, random: np.random.Generator) -> bool:
    """An Identity behind a few nodes."""
    found = False
    for _ in range(_FEW):
        node = some_node(
            edit, random, ("Conv", "Relu", "Add", "Mul", "Concat", "Gemm", "MatMul"),
            lambda node: not node.outputs[0].is_graph_output(),
        )  # fmt: skip
        if node is None:
            break
        value = node.outputs[0]
        users = list(value.uses())
        copy = edit.node("Identity", [value], "same", like=value)
        for use in users:
            use.node.replace_input_with(use.idx, copy)
        found = True
    return found


def _commuted(edit: Edit, random: np.random.Generator) -> bool:
    """The operands of every Add and Mul changed places."""
    found = False
    for node in edit.graph:
        if (
            not node.domain
            and node.op_type in ("Add", "Mul")
            and node.inputs[0] is not node.inputs[1]
        ):
            a, b = node.inputs
            assert a is not None
            assert b is not None
            edit.set_input(node, 0, b)
            edit.set_input(node, 1, a)
            found = True
    return found


def _constants_stored(edit: Edit, random: np.random.Generator) -> bool:
    """Constant nodes become initializers."""
    static = Static(edit.graph, edit.opset)
    found = False
    for node in list(edit.graph):
        array = static.constant(node.outputs[0]) if node.op_type == "Constant" else None
        if array is not None and not node.outputs[0].is_graph_output():
            _stand_in(edit, node, np.asarray(array))
            found = True
    return found


def _initializers_made_nodes(edit: Edit, random: np.random.Generator) -> bool:
    """Initializers of the main graph become Constant nodes."""
    found = False
    for name, value in list(edit.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or value.is_graph_input() or value.is_graph_output():
            continue
        node = ir.Node(
            "", "Constant", [], [ir.AttrTensor("value", ir.tensor(tensor.numpy(), name=name))],
            outputs=[ir.Value(name=edit.fresh(f"{name}/node"), type=value.type, shape=value.shape)],
            name=edit.fresh(f"{name}/constant"),
        )  # fmt: skip
        edit.graph.insert_before(next(iter(edit.graph)), node)
        value.replace_all_uses_with(node.outputs[0])
        edit.drop_unused([value])
        found = True
    return found


def _constants_folded(edit: Edit, random: np.random.Generator) -> bool:
    """Nodes that depend on constants and known shapes alone become initializers."""
    static = Static(edit.graph, edit.opset)
    found = False
    for node in list(edit.graph):
        if node.domain or node.op_type == "Constant" or len(node.outputs) != 1:
            continue
        array = static.constant(node.outputs[0])
        if array is not None and node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            _stand_in(edit, node, np.asarray(array))
            found = True
    return found


def _weight_computed(edit: Edit, random: np.random.Generator) -> bool:
    """The reverse of folding: a layer's weight is stored reversed, and turned by a Transpose."""
    layer = some_layer(edit, random, lambda found: found.weight.ndim >= 2)
    if layer is None:
        return False
    perm = list(range(layer.weight.ndim))[::-1]
    stored = edit.initializer("stored", np.ascontiguousarray(layer.weight.transpose(perm)))
    turned = edit.node("Transpose", [stored], "turned", like=layer.node.inputs[1])
    node = turned.producer()
    assert node is not None
    node.attributes["perm"] = ir.AttrInt64s("perm", perm)
    edit.set_input(layer.node, 1, turned)
    return True


def _stand_in(edit: Edit, node: ir.Node, array: np.ndarray) -> None:
    """Let an initializer take the place of what a node computes, and remove the node."""
    old, sources = node.outputs[0], tuple(node.inputs)
    old.replace_all_uses_with(edit.initializer("folded", array.copy()))
    edit.graph.remove(node, safe=True)
    edit.drop_unused(sources)


EQUIVALENTS = (
    Equivalent("itself", edited(lambda edit, random: True)),
    Equivalent("internal channels permuted", _permuted),
    Equivalent("nodes renamed", edited(_renamed)),
    Equivalent("nodes reordered", edited(_reordered)),
    Equivalent("BatchNormalization folded", _folded),
    Equivalent("BatchNormalization split off", edited(layers.batchnorm_split_off)),
    Equivalent("convolution split along outputs", edited(layers.split_along_outputs)),
    Equivalent("convolution split along inputs", edited(layers.split_along_inputs)),
    Equivalent("convolutions merged", edited(layers.merged)),
    Equivalent("constants folded", edited(_constants_folded)),
    Equivalent("a weight computed", edited(_weight_computed)),
    Equivalent("Constant nodes made initializers", edited(_constants_stored)),
    Equivalent("initializers made Constant nodes", edited(_initializers_made_nodes)),
    Equivalent("Identity inserted", edited(_with_identities)),
    Equivalent("operands exchanged", edited(_commuted)),
)
