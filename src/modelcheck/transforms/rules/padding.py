"""Padding: what engines get wrong, written so that they get it right, and what they do apart.

explicit-pads      auto_pad SAME_UPPER and SAME_LOWER as numbers, where the size is known:
                       total = max(0, (ceil(in / s) - 1)·s + d·(k - 1) + 1 - in)
                   SAME_UPPER puts the odd pixel at the end, SAME_LOWER at the begin. OpenCV 4.14
                   and 5.0's classic engine put it at the end for both; 5.0's new one begins with
                   (kernel - 1) / 2 pixels whatever the stride (docs/known-faults.md). Over one
                   dimension other pads at the end than at the begin are a Pad before a Conv: the
                   older engines get the size wrong.
pad-before-pool    AveragePool with count_include_pad = Pad with zeros, then AveragePool without
                   padding: the mean over k·k elements, zeros included. OpenCV 4.14 and 5.0's
                   classic engine leave the zeros out of the count (error 0.54).
pad-before-conv    the padding of a convolution that OpenCV 4.14 and 5.0's classic engine get wrong
                   as a Pad before it: depthwise 3x3 ones with rows beyond the image, and over one
                   dimension what differs at the two ends (model/float_faults.py).
pad-into-conv      a Pad with zeros before a convolution, and nothing else, as the convolution's own
                   padding, a pass over the tensor less, where that is none of the forms above. Nets
                   from TensorFlow have them: 12 of 133 ms of road_seg_adas_0001 on 5.0 new.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.model.float_faults import other_size, rows_beyond
from modelcheck.model.same_padding import same_padding
from modelcheck.model.static import ints
from modelcheck.model.uses import only_user
from modelcheck.transforms.graph import CannotChange, constant, is_standard, layer_name
from modelcheck.transforms.rules.rule import Rule, Site

PAD_TAKES_INPUTS = 11  # opset


def _explicit_pads(site: Site) -> bool:
    node = site.node
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if not auto.startswith("SAME"):
        return False
    _, *size = site.dims(node.inputs[0])
    if node.op_type == "Conv":
        kernel = site.ints("kernel_shape", tuple(site.weight(1).shape[2:]))
    else:
        kernel = site.ints("kernel_shape", ())
    strides = site.ints("strides", (1,) * len(size))
    dilations = site.ints("dilations", (1,) * len(size))
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = same_padding(size, reach, strides, lower=auto == "SAME_LOWER")
    begins, ends = [before for before, _ in pads], [after for _, after in pads]
    if len(size) == 1 and begins != ends:
        # Classic engines take the padding at the begin for that at the end too.
        if node.op_type != "Conv" or site.edit.opset < PAD_TAKES_INPUTS:
            raise CannotChange("over one dimension, engines need the same pads at both ends")
        site.edit.set_input(node, 0, padded(site, [(begins[0], ends[0])]))
        begins = ends = [0]
    site.edit.set_attribute(node, ir.AttrInt64s("pads", begins + ends))
    site.edit.set_attribute(node, ir.AttrString("auto_pad", "NOTSET"))
    return True


def padded(site: Site, pads: Sequence[tuple[int, int]]) -> ir.Value:
    """The node's input with so many zeros at the begin and the end of each spatial axis."""
    x, stem = site.node.inputs[0], layer_name(site.node)
    assert x is not None
    begins, ends = zip(*pads, strict=True)
    widths = np.array([0, 0, *begins, 0, 0, *ends], np.int64)
    given = site.edit.initializer(f"{stem}.pads", widths)
    return site.edit.node("Pad", [x, given], f"{stem}/pad", like=None)


def _pad_before_pool(site: Site) -> bool:
    node, edit = site.node, site.edit
    pads = site.ints("pads", ())
    if not node.attributes.get_int("count_include_pad", 0):
        return False
    if node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME"):
        raise CannotChange("its padding is automatic: apply the rule 'explicit-pads' first")
    if node.attributes.get_int("ceil_mode", 0):
        raise CannotChange("with ceil_mode a window may reach beyond the padding")
    if not any(pads):
        return False
    n = len(pads) // 2
    edit.set_input(node, 0, padded(site, list(zip(pads[:n], pads[n:], strict=True))))
    edit.set_attribute(node, ir.AttrInt64s("pads", [0] * len(pads)))
    edit.set_attribute(node, ir.AttrInt64("count_include_pad", 0))
    return True


def _pad_before_conv(site: Site) -> bool:
    node, pads = site.node, site.ints("pads", ())
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto != "NOTSET" or not any(pads) or not _is_wrong(site, node.inputs[0], pads):
        return False
    n = len(pads) // 2
    site.edit.set_input(node, 0, padded(site, list(zip(pads[:n], pads[n:], strict=True))))
    site.edit.set_attribute(node, ir.AttrInt64s("pads", [0] * len(pads)))
    return True


def _is_wrong(site: Site, x: ir.Value | None, pads: Sequence[int]) -> bool:
    """Whether 4.14 and 5.0's classic engine get the convolution of x with such padding wrong."""
    weight, n = site.weight(1), len(pads) // 2
    known = site.static.dims(x)
    size = (None,) * n if known is None or len(known) != n + 2 else known[2:]
    kernel, ones = weight.shape[2:], (1,) * n
    strides, dilations = site.ints("strides", ones), site.ints("dilations", ones)
    groups = site.node.attributes.get_int("group", 1)
    if n == 1:
        return other_size(dilations[0] * (kernel[0] - 1) + 1, strides[0], pads, size[0])
    depthwise = n == 2 and groups > 1 and weight.shape[:2] == (groups, 1)
    return depthwise and rows_beyond(kernel, strides, dilations, pads, size[0])


def _pad_into_conv(site: Site) -> bool:
    node = site.node
    pad = None if node.inputs[0] is None else node.inputs[0].producer()
    if pad is None or not is_standard(pad, "Pad") or only_user(pad.outputs[0]) is not node:
        return False
    added = _zeros_added(site, pad)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if added is None or added[:2] != (0, 0) or auto not in ("NOTSET", "VALID"):
        return False
    n = len(added) // 2
    if added[n : n + 2] != (0, 0) or min(added) < 0:
        return False
    more = (*added[2:n], *added[n + 2 :])
    given = (0,) * len(more) if auto == "VALID" else site.ints("pads", (0,) * len(more))
    pads = [a + b for a, b in zip(given, more, strict=True)]
    x = pad.inputs[0]
    assert x is not None
    if _is_wrong(site, x, pads):
        raise CannotChange("OpenCV's older engines get such padding of a convolution wrong")
    site.edit.set_input(node, 0, x)
    site.edit.remove_unused(pad)
    site.edit.set_attribute(node, ir.AttrInt64s("pads", pads))
    site.edit.set_attribute(node, ir.AttrString("auto_pad", "NOTSET"))
    return True


def _zeros_added(site: Site, pad: ir.Node) -> tuple[int, ...] | None:
    """How many zeros a Pad puts at the begin of each axis, then at the end; None if others."""
    if pad.attributes.get_string("mode", "constant") != "constant":
        return None
    _, _, value, axes = (*pad.inputs, None, None, None)[:4]
    if value is None:
        is_zero = pad.attributes.get_float("value", 0.0) == 0.0  # as before opset 11
    else:
        tensor = constant(value)
        is_zero = tensor is not None and not tensor.numpy().any()
    widths = ints(pad, "pads", 1, site.static)
    return tuple(widths) if is_zero and axes is None and widths is not None else None


EXPLICIT_PADS = Rule("explicit-pads", frozenset(("Conv", "MaxPool", "AveragePool")), _explicit_pads)
PAD_BEFORE_POOL = Rule(
    "pad-before-pool", frozenset(("AveragePool",)), _pad_before_pool, opset=PAD_TAKES_INPUTS
)
PAD_BEFORE_CONV = Rule(
    "pad-before-conv", frozenset(("Conv",)), _pad_before_conv, opset=PAD_TAKES_INPUTS
)
PAD_INTO_CONV = Rule("pad-into-conv", frozenset(("Conv",)), _pad_into_conv)
