"""Convolutions in groups, in the sizes that engines have fast code for.

groups-in-eights        Groups of 2 or 4 channels, so many as have 8 together, as one group:
                            [Y_1; Y_2] = [W_1, 0; 0, W_2]·[X_1; X_2]
                        OpenCV 5's new engine computes 8 channels at a time, full or not: 3x3 in 4
                        groups of 4 channels at 40x40 0.54 for 0.28 ms, in 32 groups of 2 at 28x28
                        2.0 for 0.53, 1x1 in 16 groups of 4 0.21 for 0.11. Classic loses a tenth.
                        All groups as one lost everywhere (0.4 to 0.9 for 2 to 8 groups), and so did
                        depthwise ones in blocks of 8 (0.46 to 0.74).
depthwise-in-threes     A depthwise kernel of 5x5 as four of 3x3 on shifted tensors:
                            W * X = sum of W[a:a+3, b:b+3] * X[a:, b:] over a, b in {0, 3},
                        W zero beyond its end.
                        OpenCV's classic engine has fast code for 3x3 alone: nets of three such
                        layers and as many 1x1 ones took 3.0 for 2.1 ms (128 channels, 20x20), 2.3
                        for 1.8 (96, 22x22), 10.0 for 3.8 (48, 44x44), 5.6 for 5.2 (240, 14x14); at
                        7x7 nothing is gained, and the new engine loses (0.6).
                        As 25 products and sums of shifted tensors it lost everywhere (0.15 to 0.5),
                        and as products with banded matrices too, but for 7x7 on classic (1.2).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir

from modelcheck.model.static.layers import window
from modelcheck.transforms.graph import CannotChange, layer_name
from modelcheck.transforms.rules.padding import PAD_TAKES_INPUTS, padded
from modelcheck.transforms.rules.rule import Rule, Site

_BLOCK = 8
_MERGED = (2, 4)  # channels of a group; of 1 it is depthwise, of 8 it is as it should be
_WIDE, _NARROW = 5, 3  # kernels


def _in_eights(site: Site) -> bool:
    node, edit = site.node, site.edit
    groups = node.attributes.get_int("group", 1)
    if groups == 1:
        return False
    weight = site.weight(1)
    channels, together = weight.shape[1], _BLOCK // weight.shape[1]
    if channels not in _MERGED:
        return False
    if groups % together:
        raise CannotChange(f"its {groups} groups are not so many times {together}")
    outputs = len(weight) // groups
    merged = np.zeros((len(weight), _BLOCK, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        begin = group % together * channels
        rows = slice(group * outputs, (group + 1) * outputs)
        merged[rows, begin : begin + channels] = weight[rows]
    edit.own_constant(node, 1, merged, "merged")
    edit.set_attribute(node, ir.AttrInt64("group", groups // together))
    return True


def _in_threes(site: Site) -> bool:
    node, edit, stem = site.node, site.edit, layer_name(site.node)
    groups = node.attributes.get_int("group", 1)
    if groups == 1:
        return False
    weight = site.weight(1)
    if weight.shape[1:] != (1, _WIDE, _WIDE) or len(weight) != groups:
        return False
    if set(site.ints("dilations", (1, 1))) != {1}:
        raise CannotChange("it is dilated")
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise CannotChange("its padding is automatic: apply the rule 'explicit-pads' first")
    _, *size = site.dims(node.inputs[0], rank=4)
    strides = site.ints("strides", (1, 1))
    result = [int(d) for d in window(node, tuple(size), (_WIDE, _WIDE)) if d is not None]
    x = _padded(site)
    terms: list[ir.Value] = []
    for begins in product((0, _NARROW), repeat=2):
        tile = np.zeros((groups, 1, _NARROW, _NARROW), weight.dtype)
        taken = weight[:, :, begins[0] : begins[0] + _NARROW, begins[1] : begins[1] + _NARROW]
        tile[:, :, : taken.shape[2], : taken.shape[3]] = taken
        ends = [b + (n - 1) * s + _NARROW for b, n, s in zip(begins, result, strides, strict=True)]
        inputs: list[ir.Value | None] = [
            site.cut(x, begins, ends, [2, 3], "tile"),
            edit.initializer(f"{stem}.tile", tile),
        ]
        if not terms:  # one of them takes the bias
            inputs.extend(node.inputs[2:])
        terms.append(
            edit.node(
                "Conv",
                inputs,
                f"{stem}/three",
                like=node.outputs[0],
                group=groups,
                kernel_shape=[_NARROW] * 2,
                strides=strides,
            )  # fmt: skip
        )
    y = terms[0]
    for term in terms[1:]:
        y = edit.node("Add", [y, term], f"{stem}/sum", like=node.outputs[0])
    edit.remove(node, heir=y)
    return True


def _padded(site: Site) -> ir.Value:
    """x with the layer's own padding, and a row and a column for the zeros beyond the kernel."""
    top, left, bottom, right = site.ints("pads", (0,) * 4)
    if site.node.attributes.get_string("auto_pad", "NOTSET") == "VALID":
        top = left = bottom = right = 0
    return padded(site, [(top, bottom + 1), (left, right + 1)])


IN_EIGHTS = Rule("groups-in-eights", frozenset(("Conv",)), _in_eights)
IN_THREES = Rule("depthwise-in-threes", frozenset(("Conv",)), _in_threes, opset=PAD_TAKES_INPUTS)
