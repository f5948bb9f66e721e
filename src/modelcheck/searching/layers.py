"""The layers of a model that rules may write anew, in kinds that cost the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.diagnose.cutting import Feed, cut
from modelcheck.diagnose.net import Net
from modelcheck.model import Model
from modelcheck.model.static import Static
from modelcheck.model.uses import only_user
from modelcheck.transforms.graph import constant, is_constant, is_standard, layer_name
from modelcheck.transforms.rules.activation import activations_behind

INPUT = "x"  # of a layer by itself
_IMAGE_RANK = 4


@dataclass(frozen=True)
class Kind:
    """Layers that cost the same: equal operators, attributes and shapes, whatever the weights.

    `alone` is the first of them as a model of its own, with one input of `shape`, and with the
    activation behind it, which engines fuse.
    """

    digest: str
    operator: str
    layers: tuple[str, ...]
    shape: tuple[int, ...]
    alone: Model

    def sample(self) -> Mapping[str, np.ndarray]:
        """Something to run it on: times do not depend on the numbers."""
        return {INPUT: np.random.default_rng(0).standard_normal(self.shape).astype(np.float32)}


def kinds(
    model: Model, operators: frozenset[str], shapes: Mapping[str, tuple[int, ...]]
) -> list[Kind]:
    """The kinds of layers with these operators whose weights are constant, in the graph's order.

    `shapes` are those of the inputs. Layers of unknown shape are left out: no rule changes them.
    """
    net = Net(model)
    static = Static(model.graph, model.opset, shapes)
    names: dict[str, list[str]] = {}
    first: dict[str, tuple[ir.Node, ir.Node]] = {}  # a layer, and the last that is fused with it
    for node in model.graph:
        if not is_standard(node, *operators) or not _has_weight(node):
            continue
        nodes = _with_what_is_fused(node)
        described = _described(static, nodes)
        if described is None:
            continue
        names.setdefault(described, []).append(layer_name(node))
        first.setdefault(described, (node, nodes[-1]))
    found = []
    for digest, (node, last) in first.items():
        value = node.inputs[0]
        assert value is not None
        shape = static.dims(value)
        result = static.dims(last.outputs[0])
        assert shape is not None
        whole = tuple(int(d or 1) for d in shape)
        alone = cut(
            net,
            {str(value.name): Feed(INPUT, whole)},
            {str(last.outputs[0].name): tuple(int(d or 1) for d in result or ()) or None},
        )
        found.append(
            Kind(digest, node.op_type, tuple(names[digest]), whole, _with_little_output(alone))
        )
    return found


def _with_little_output(layer: Model) -> Model:
    """The same layer, of whose image only the mean of each channel leaves the net.

    What a net gives out is new memory in every forward, and touching that for the first time can
    take longer than the layer; inside of nets memory is used again.
    """
    (output,) = layer.signature.outputs
    if output.shape is None or len(output.shape) != _IMAGE_RANK:
        return layer
    edited = layer.edit()
    (value,) = edited.graph.outputs
    node = ir.node("GlobalAveragePool", [value], name="little")
    node.outputs[0].name = "little_output"
    node.outputs[0].type = value.type
    node.outputs[0].shape = ir.Shape((*output.shape[:2], 1, 1))
    edited.graph.append(node)
    edited.graph.outputs[0] = node.outputs[0]
    return Model.freeze(edited, name=layer.name)


def _has_weight(node: ir.Node) -> bool:
    return len(node.inputs) > 1 and constant(node.inputs[1]) is not None


def _with_what_is_fused(node: ir.Node) -> list[ir.Node]:
    """A layer, the bias that is added to a product, and the activation behind it."""
    found = [node]
    after = only_user(node.outputs[0])
    if node.op_type == "MatMul" and after is not None and is_standard(after, "Add"):
        others = [v for v in after.inputs if v is not None and v is not node.outputs[0]]
        if all(map(is_constant, others)):
            found.append(after)
    return [*found, *activations_behind(found[-1].outputs[0])]


def _described(static: Static, nodes: list[ir.Node]) -> str | None:
    """What the cost depends on, as a digest; None where a shape is not known."""
    facts: list[object] = []
    for one in nodes:
        dims = [static.dims(v) for v in one.inputs]
        if dims[0] is None or None in dims[0][1:]:
            return None
        attributes = sorted(
            (name, str(a.value))
            for name, a in one.attributes.items()
            if a.type in (ir.AttributeType.INT, ir.AttributeType.INTS, ir.AttributeType.STRING)
        )
        facts.append([one.op_type, [None if d is None else list(d) for d in dims], attributes])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
