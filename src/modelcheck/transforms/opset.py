"""Say the same network in a newer version of the operator set, without native code.

Most operators gained only element types or options between two versions: their nodes stay as they
are. What became an input of the node, or changed its meaning, is rewritten here; anything else is
refused. Only what a transform needs: raising to 13, where int8 weights got a scale a channel.
Source: the changelog of ONNX operators, opsets 6 to 13.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.model.static import Static
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import CannotChange, constant, layer_name

PER_CHANNEL_OPSET = 13
_OLDEST = 6  # below, operators broadcast by attributes
_IR_VERSION = 7  # the first that knows opset 13
# The same attributes and inputs, but another meaning than before, and too rare to rewrite.
_CHANGED_MEANING = {"Scan": 9, "Hardmax": 13}


def raised_to_13(model: Model) -> Model:
    """The same network at opset 13; the very same model when it is there already or beyond.

    Values keep their names. Below IR version 4 every initializer had to be a graph input as well;
    those inputs go, for they would keep an engine from treating the weights as constant.
    Raises CannotChange, naming the node, where the network cannot be said in opset 13.
    """
    if model.opset >= PER_CHANNEL_OPSET:
        return model
    if model.opset < _OLDEST:
        raise CannotChange(f"opset {model.opset} is older than {_OLDEST}")
    if model.functions:
        raise CannotChange(f"opset {model.opset} with local functions")
    edit = Edit(model)
    copy = edit.model
    copy.ir_version = max(copy.ir_version, _IR_VERSION)
    for value in [v for v in copy.graph.inputs if v.is_initializer()]:
        copy.graph.inputs.remove(value)
    static = Static(edit.graph, model.opset)
    for node in list(edit.graph.all_nodes()):
        if node.domain == "":
            _raise(edit, node, model.opset, static)
    copy.opset_imports[""] = PER_CHANNEL_OPSET
    return Model.freeze(copy, name=model.name)


def _raise(edit: Edit, node: ir.Node, opset: int, static: Static) -> None:
    old, new = _schema(node, opset), _schema(node, PER_CHANNEL_OPSET)
    if old.since_version == new.since_version and not new.deprecated:
        return
    if node.op_type in _REPLACED or node.op_type in _ADAPTED:
        if node.graph is not edit.graph:
            raise _refusal(node)  # its constants would have to be the subgraph's
        if node.op_type in _REPLACED:
            _REPLACED[node.op_type](edit, node, static)
            return
        _ADAPTED[node.op_type](edit, node)
    if old.since_version < _CHANGED_MEANING.get(node.op_type, 0):
        raise _refusal(node)
    if (
        new.deprecated
        or not set(node.attributes) <= set(new.attributes)
        or not new.min_input <= len(node.inputs) <= new.max_input
    ):
        raise _refusal(node)


def _schema(node: ir.Node, opset: int) -> onnx.defs.OpSchema:
    try:
        return onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        raise _refusal(node) from None


def _refusal(node: ir.Node) -> CannotChange:
    return CannotChange(
        f"{node.op_type} '{layer_name(node)}' has no equal in opset {PER_CHANNEL_OPSET}"
    )


def _axes_to_input(edit: Edit, node: ir.Node) -> None:
    """Squeeze, Unsqueeze, ReduceSum: `axes` is an input now."""
    axes = node.attributes.pop("axes", None)
    if axes is not None and len(node.inputs) < 2:
        edit.set_input(node, 1, _ints(edit, node, "axes", list(axes.as_ints())))


def _split(edit: Edit, node: ir.Node) -> None:
    sizes = node.attributes.pop("split", None)
    if sizes is not None:
        edit.set_input(node, 1, _ints(edit, node, "split", list(sizes.as_ints())))


def _dropout(edit: Edit, node: ir.Node) -> None:
    """Inference: y = x. The mask, where something reads it, was a float once and is bool now."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise _refusal(node)
    for name in ("ratio", "is_test"):
        node.attributes.pop(name, None)


def _clip(edit: Edit, node: ir.Node) -> None:
    """The bounds are inputs now."""
    for index, name in ((1, "min"), (2, "max")):
        bound = node.attributes.pop(name, None)
        if bound is not None:
            value = np.float32(bound.as_float())
            stem = f"{layer_name(node)}.{name}"
            edit.set_input(node, index, edit.initializer(stem, np.asarray(value)))


def _pad(edit: Edit, node: ir.Node) -> None:
    """The pads and the value are inputs now."""
    pads, value = node.attributes.pop("pads", None), node.attributes.pop("value", None)
    if pads is None:
        return
    edit.set_input(node, 1, _ints(edit, node, "pads", list(pads.as_ints())))
    if value is not None:
        fill = np.asarray(value.as_float(), np.float32)
        edit.set_input(node, 2, edit.initializer(f"{layer_name(node)}.value", fill))


def _slice(edit: Edit, node: ir.Node) -> None:
    """Everything is an input now."""
    for index, name in enumerate(("starts", "ends", "axes"), start=1):
        given = node.attributes.pop(name, None)
        if given is not None:
            edit.set_input(node, index, _ints(edit, node, name, list(given.as_ints())))


def _topk(edit: Edit, node: ir.Node) -> None:
    k = node.attributes.pop("k", None)
    if k is not None:
        edit.set_input(node, 1, _ints(edit, node, "k", [k.as_int()]))


def _batchnorm(edit: Edit, node: ir.Node) -> None:
    if node.attributes.get_int("spatial", 1) == 0:
        raise _refusal(node)
    for name in ("spatial", "is_test", "consumed_inputs"):
        node.attributes.pop(name, None)


def _softmax(edit: Edit, node: ir.Node, static: Static) -> None:
    """Once over all axes from `axis` on, now over `axis` alone."""
    axis = node.attributes.get_int("axis", 1)
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    dims = static.dims(x)
    if dims is not None:
        axis += len(dims) if axis < 0 else 0
        wide = [i for i in range(axis, len(dims)) if dims[i] != 1]
        if len(wide) <= 1:
            node.attributes["axis"] = ir.AttrInt64("axis", wide[0] if wide else axis)
            return
    elif axis < 0:
        raise _refusal(node)
    stem = layer_name(node)
    flat = edit.node("Flatten", [x], f"{stem}/flatten", like=None, axis=axis)
    soft = edit.node(node.op_type, [flat], f"{stem}/flat", like=None, axis=1)
    shape = edit.node("Shape", [x], f"{stem}/shape", like=None)
    edit.remove(node, heir=edit.node("Reshape", [soft, shape], f"{stem}/restore", like=y))


def _upsample(edit: Edit, node: ir.Node, static: Static) -> None:
    """Upsample, and Resize of opset 10: pixel i of the result reads pixel i / scale."""
    if node.op_type == "Resize" and len(node.inputs) != 2:
        return  # of opset 11 or 12: the same as in 13
    mode = node.attributes.get_string("mode", "nearest")
    attribute = node.attributes.get("scales")
    scales: ir.Value | None
    if attribute is not None:
        scales = edit.initializer(
            f"{layer_name(node)}.scales", np.asarray(attribute.as_floats(), np.float32)
        )
    else:
        scales = node.inputs[1] if len(node.inputs) > 1 else None
    known = constant(scales)
    # Below 1 the two versions differ in which pixels they read.
    if known is None or (known.numpy() < 1).any():
        raise _refusal(node)
    y = node.outputs[0]
    resized = edit.node(
        "Resize", [node.inputs[0], None, scales], f"{layer_name(node)}/resize", like=y
    )
    resize = resized.producer()
    assert resize is not None
    resize.attributes["mode"] = ir.AttrString("mode", mode)
    resize.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")
    resize.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "asymmetric"
    )
    edit.remove(node, heir=resized)


def _ints(edit: Edit, node: ir.Node, name: str, values: list[int]) -> ir.Value:
    return edit.initializer(f"{layer_name(node)}.{name}", np.asarray(values, np.int64))


# The node stays, with inputs where it had attributes.
_ADAPTED: dict[str, Callable[[Edit, ir.Node], None]] = {
    "Squeeze": _axes_to_input,
    "Unsqueeze": _axes_to_input,
    "ReduceSum": _axes_to_input,
    "Split": _split,
    "Dropout": _dropout,
    "Clip": _clip,
    "Pad": _pad,
    "Slice": _slice,
    "TopK": _topk,
    "BatchNormalization": _batchnorm,
}
# The meaning changed: other nodes may take the node's place.
_REPLACED: dict[str, Callable[[Edit, ir.Node, Static], None]] = {
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Upsample": _upsample,
    "Resize": _upsample,
}
