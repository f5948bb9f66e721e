"""Where patterns occur: small functions from a scene to names, and what they share.

A matcher gives the names of what it found: nodes, or inputs and outputs where those are at fault.
Those of int8 layers are in `matchers_int8`, those of float operators in `matchers_float`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from modelcheck.model.scene import Scene, node_name

Matcher = Callable[[Scene], list[str]]

_LARGEST_FILE = 2 << 30


def operators(*wanted: str) -> Matcher:
    """Any node of these operators."""

    def match(scene: Scene) -> list[str]:
        return names(scene.nodes(*wanted))

    return match


def int64_inputs(scene: Scene) -> list[str]:
    return [s.name for s in scene.model.signature.inputs if s.dtype.name in ("int64", "uint64")]


def outputs_of_rank_1(scene: Scene) -> list[str]:
    specs = scene.model.signature.outputs
    return [s.name for s in specs if s.shape is not None and len(s.shape) == 1]


def shapes_of_free_sizes(scene: Scene) -> list[str]:
    """A Shape, in a model whose inputs have free dimensions besides the batch."""
    return names(scene.nodes("Shape")) if _sizes_are_free(scene) else []


def shapes_of_free_batch(scene: Scene) -> list[str]:
    """A Shape, in a model whose inputs have no free dimension but the batch."""
    free = _batch_is_free(scene) and not _sizes_are_free(scene)
    return names(scene.nodes("Shape")) if free else []


def over_2_gib(scene: Scene) -> list[str]:
    return [scene.model.name] if scene.model.nbytes >= _LARGEST_FILE else []


def free_batch_add_of_convolutions(scene: Scene) -> list[str]:
    if not _batch_is_free(scene):
        return []
    behind = ("Conv", "BatchNormalization")
    found = []
    for node in scene.nodes("Add"):
        makers = [scene.maker(v) for v in node.inputs]
        if all(m is not None and m.op_type in behind for m in makers):
            found.append(node)
    return names(found)


def free_batch_rank_3_matmul(scene: Scene) -> list[str]:
    if not _batch_is_free(scene):
        return []
    return names(
        n
        for n in scene.nodes("MatMul")
        if scene.is_constant(n.inputs[1]) and len(scene.static.dims(n.inputs[0]) or ()) == 3
    )


def names(nodes: Iterable[ir.Node]) -> list[str]:
    """Each node's name once."""
    return list(dict.fromkeys(node_name(n) for n in nodes))


def only_read_by(scene: Scene, node: ir.Node, readers: tuple[str, ...]) -> bool:
    """Whether the node's result is read, and by nothing but these operators."""
    users = scene.users(node.outputs[0])
    ends = any(v.is_graph_output() for v in _same_value(node.outputs[0]))
    return bool(users) and not ends and all(user.op_type in readers for user in users)


def padded(node: ir.Node) -> bool:
    auto = node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"
    return auto.startswith("SAME") or any(node.attributes.get_ints("pads", ()) or ())


def _same_value(value: ir.Value) -> list[ir.Value]:
    """A value and what quantizing and dequantizing make of it."""
    found = [value]
    for use in value.uses():
        if use.node.op_type in ("QuantizeLinear", "DequantizeLinear") and use.idx == 0:
            found += _same_value(use.node.outputs[0])
    return found


def _sizes_are_free(scene: Scene) -> bool:
    return any(None in (s.shape or ())[1:] for s in scene.model.signature.inputs)


def _batch_is_free(scene: Scene) -> bool:
    return any(s.batch_is_free for s in scene.model.signature.inputs)
