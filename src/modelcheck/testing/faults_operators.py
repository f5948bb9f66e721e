"""Faults in what a single operator does: its attributes, its bounds, or what operator it is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelcheck.model.static import Static
from modelcheck.testing.planting import Change, become, sizes, some, some_layer, some_node
from modelcheck.testing.planting import Layer as _Layer
from modelcheck.transforms.edit import Edit


def padding_moved(edit: Edit, random: np.random.Generator) -> bool:
    """One more pixel at one end of an axis, one less at the other."""
    found = []
    for node in edit.graph:
        pads = node.attributes.get_ints("pads", ())
        if node.domain or node.op_type not in ("Conv", "MaxPool", "AveragePool"):
            continue
        found += [(node, i) for i in range(len(pads) // 2) if pads[i] or pads[i + len(pads) // 2]]
    convolutions = [(node, i) for node, i in found if node.op_type == "Conv"]
    chosen = some(convolutions or found, random)
    if chosen is None:
        return False
    node, axis = chosen
    pads = list(node.attributes.get_ints("pads"))
    begin, end = axis, axis + len(pads) // 2
    source, target = (end, begin) if pads[end] else (begin, end)
    pads[source] -= 1
    pads[target] += 1
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    return True


def dilation_raised(edit: Edit, random: np.random.Generator) -> bool:
    """dilation + 1 along every axis, and (k - 1)/2 more padding at both ends: the shapes stay."""

    def fits(layer: _Layer) -> bool:
        kernel = layer.weight.shape[2:]
        automatic = layer.node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
        odd = layer.node.op_type == "Conv" and all(k % 2 for k in kernel)
        return odd and max(kernel) > 1 and not automatic

    layer = some_layer(edit, random, fits)
    if layer is None:
        return False
    node, kernel = layer.node, layer.weight.shape[2:]
    n = len(kernel)
    dilations = node.attributes.get_ints("dilations", (1,) * n)
    pads = node.attributes.get_ints("pads", (0,) * 2 * n)
    node.attributes["dilations"] = ir.AttrInt64s("dilations", [d + 1 for d in dilations])
    more = [p + (kernel[i % n] - 1) // 2 for i, p in enumerate(pads)]
    node.attributes["pads"] = ir.AttrInt64s("pads", more)
    return True


def replaced(before: str, after: str, **attributes: float | int) -> Change:
    """One operator of a kind becomes one of another kind."""

    def change(edit: Edit, random: np.random.Generator) -> bool:
        node = some_node(edit, random, (before,))
        if node is None:
            return False
        become(node, after, **attributes)
        return True

    return change


def slope_raised(edit: Edit, random: np.random.Generator) -> bool:
    """HardSigmoid's alpha times 1.2: one exporter's 1/5 for another's 1/6."""
    node = some_node(edit, random, ("HardSigmoid",))
    if node is None:
        return False
    alpha = node.attributes.get_float("alpha", 0.2)
    node.attributes["alpha"] = ir.AttrFloat32("alpha", 1.2 * alpha)
    return True


def bound_lowered(edit: Edit, random: np.random.Generator) -> bool:
    """Clip's upper bound times 0.9: before opset 11 an attribute, then an input."""
    static = Static(edit.graph, edit.opset)

    def bound(node: ir.Node) -> float | None:
        if edit.opset < 11:
            return node.attributes.get_float("max")
        array = static.constant(node.inputs[2]) if len(node.inputs) > 2 else None
        return None if array is None else float(array.reshape(()))

    node = some_node(edit, random, ("Clip",), lambda node: bool(bound(node)))
    if node is None:
        return False
    lower = 0.9 * (bound(node) or 0.0)
    if edit.opset < 11:
        node.attributes["max"] = ir.AttrFloat32("max", lower)
    else:
        old = static.constant(node.inputs[2])
        assert old is not None
        edit.set_input(node, 2, edit.initializer("planted", np.full(old.shape, lower, old.dtype)))
    return True


def pooling_changed(edit: Edit, random: np.random.Generator) -> bool:
    """Maximum for average or average for maximum, over the same windows or over everything."""
    other = {
        "MaxPool": "AveragePool",
        "AveragePool": "MaxPool",
        "GlobalAveragePool": "GlobalMaxPool",
        "GlobalMaxPool": "GlobalAveragePool",
    }
    node = some_node(
        edit,
        random,
        tuple(other),
        lambda n: len(n.outputs) == 1 and max(n.attributes.get_ints("dilations", (1,))) == 1,
    )
    if node is None:
        return False
    node.op_type = other[node.op_type]
    for name in ("count_include_pad", "storage_order", "dilations"):
        node.attributes.pop(name, None)
    return True


def mean_made_maximum(edit: Edit, random: np.random.Generator) -> bool:
    """A ReduceMean becomes a ReduceMax over the same axes."""
    node = some_node(edit, random, ("ReduceMean",), lambda n: edit.opset < 18)
    if node is None:
        return False
    node.op_type = "ReduceMax"
    return True


def interpolation_changed(edit: Edit, random: np.random.Generator) -> bool:
    """Resize's nearest becomes linear, and anything else nearest."""
    node = some_node(edit, random, ("Resize", "Upsample"))
    if node is None:
        return False
    mode = node.attributes.get_string("mode", "nearest")
    after = "linear" if mode == "nearest" else "nearest"
    node.attributes["mode"] = ir.AttrString("mode", after)
    return True


def corners_moved(edit: Edit, random: np.random.Generator) -> bool:
    """A linear Resize aligns the corners where it did not, or half pixels where it did."""
    key = "coordinate_transformation_mode"
    node = some_node(
        edit, random, ("Resize",), lambda n: n.attributes.get_string("mode", "nearest") == "linear"
    )
    if node is None:
        return False
    aligned = node.attributes.get_string(key, "half_pixel") == "align_corners"
    node.attributes[key] = ir.AttrString(key, "half_pixel" if aligned else "align_corners")
    return True


def border_repeated(edit: Edit, random: np.random.Generator) -> bool:
    """Pad repeats the border where it put a constant, or reflected."""
    static = Static(edit.graph, edit.opset)

    def pads(node: ir.Node) -> bool:
        given = static.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        amounts = node.attributes.get_ints("pads", ()) if given is None else given
        return node.attributes.get_string("mode", "constant") != "edge" and bool(np.any(amounts))

    node = some_node(edit, random, ("Pad",), pads)
    if node is None:
        return False
    node.attributes["mode"] = ir.AttrString("mode", "edge")
    return True


def softmax_axis_changed(edit: Edit, random: np.random.Generator) -> bool:
    """Softmax over another axis that is longer than 1."""
    static = Static(edit.graph, edit.opset)

    def axes(node: ir.Node) -> list[int]:
        dims = sizes(static, node.inputs[0]) or ()
        used = node.attributes.get_int("axis", -1 if edit.opset >= 13 else 1)
        return [i for i, d in enumerate(dims) if d > 1 and i != used % len(dims)]

    node = some_node(edit, random, ("Softmax",), lambda node: bool(axes(node)))
    if node is None:
        return False
    node.attributes["axis"] = ir.AttrInt64("axis", axes(node)[-1])
    return True


def zero_point_off_by_one(edit: Edit, random: np.random.Generator) -> bool:
    """A quantizer or dequantizer of an activation takes z + 1 (or z - 1 at the type's end)."""
    chosen = _some_quantizer(edit, random, 2)
    if chosen is None:
        return False
    node, zero = chosen
    step = -1 if zero.max() == np.iinfo(zero.dtype).max else 1
    edit.set_input(node, 2, edit.initializer("planted", np.asarray(zero + step, zero.dtype)))
    return True


def scale_off(edit: Edit, random: np.random.Generator) -> bool:
    """A quantizer or dequantizer of an activation takes 1.01 s."""
    chosen = _some_quantizer(edit, random, 1)
    if chosen is None:
        return False
    node, scale = chosen
    edit.set_input(node, 1, edit.initializer("planted", np.asarray(scale * 1.01, scale.dtype)))
    return True


def _some_quantizer(
    edit: Edit, random: np.random.Generator, index: int
) -> tuple[ir.Node, np.ndarray] | None:
    """A quantizer or dequantizer of no constant, and its scale (1) or zero point (2)."""
    static = Static(edit.graph, edit.opset)
    found = []
    for node in edit.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.inputs) > index:
            array = static.constant(node.inputs[index])
            if array is not None and static.constant(node.inputs[0]) is None:
                found.append((node, array))
    return some(found, random)
