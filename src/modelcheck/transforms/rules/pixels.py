"""Pixels in numbers that int8 kernels compute in one go.

pixels-in-eights    A convolution that OpenCV 5.0's new engine gets wrong in int8 for its number of
                    pixels (model/int8_faults.py: int8-tail, int8-small-map) has more of them, so
                    many that height · width is a multiple of 8, the fewest that do; what is too
                    much is cut off:
                        conv(x)[..., y, x] = conv(padded x)[..., y, x]    for y < H, x < W
                    since more zeros at the end change none of the pixels before them. A Pad says
                    so, not the layer: classic is wrong for a depthwise 3x3 with more padding below
                    than above. Activations and further 1x1 convolutions behind it are computed on
                    all pixels, and cut off once.
                    In float32 it gains nothing: a Pad and a Slice more. It is there so that
                    `quantize` can take the layer. The ranges that `quantize` measures then know
                    the pixels that are cut off: f(b) of a layer f(W·x + b).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import onnx_ir as ir

from modelcheck.model.int8_faults import SMALL, TAIL, conv_fault, int8_conv
from modelcheck.model.static import Static
from modelcheck.model.uses import only_user
from modelcheck.transforms.graph import FLOATS, CannotChange, constant, is_standard, layer_name
from modelcheck.transforms.rules.activation import activations_behind
from modelcheck.transforms.rules.padding import PAD_TAKES_INPUTS, padded
from modelcheck.transforms.rules.rule import Rule, Site

_BLOCK = 8


def _in_eights(site: Site) -> bool:
    node, edit = site.node, site.edit
    weight = site.weight(1)
    size = _wrong_size(site, weight.shape, site.static)
    if size is not None:
        # It may stand in a chain that was given more pixels since the shapes were looked at.
        edit.graph.sort()
        size = _wrong_size(site, weight.shape, Static(edit.graph, edit.opset))
    if size is None:
        return False
    if node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME"):
        raise CannotChange("its padding is automatic: apply the rule 'explicit-pads' first")
    wider = _fitting(size)
    grown = [i for i, (d, w) in enumerate(zip(size, wider, strict=True)) if d != w]
    strides = site.ints("strides", (1,) * len(size))
    more = [(w - d) * s for d, w, s in zip(size, wider, strides, strict=True)]
    edit.set_input(node, 0, padded(site, [(0, end) for end in more]))
    last = _end_of_chain(site)
    axes = [2 + i for i in grown]
    edit.put_behind(last, site.cut(last, [0] * len(axes), [size[i] for i in grown], axes, "cut"))
    return True


def _wrong_size(site: Site, weight: Sequence[int], static: Static) -> list[int] | None:
    """The size of its result, where that makes it wrong in int8."""
    result = site.node.outputs[0]
    dims = static.dims(result)
    if dims is None or None in dims[2:]:
        raise CannotChange(f"the shape of '{result.name}' is not known")
    size = [d for d in dims[2:] if d is not None]
    return size if conv_fault(int8_conv(site.node, weight, size)) in (TAIL, SMALL) else None


def _fitting(size: Sequence[int]) -> tuple[int, ...]:
    """The smallest size from this one on that has a multiple of 8 pixels."""
    sizes = product(*(range(d, d + _BLOCK) for d in size))
    return min((s for s in sizes if np.prod(s) % _BLOCK == 0), key=lambda s: (np.prod(s), s))


def _end_of_chain(site: Site) -> ir.Value:
    """The last value that is computed pixel by pixel from this layer's, and from it alone."""
    at = site.node.outputs[0]
    while True:
        behind, following = activations_behind(at), only_user(at)
        if behind and behind[0].op_type != "PRelu":  # which may have a slope for each pixel
            further = behind[-1].outputs[0]
        elif (
            following is not None
            and _is_pointwise(following, at)
            and site.wanted(layer_name(following))
        ):
            further = following.outputs[0]
        else:
            return at
        at.shape = None  # it has more pixels than was said
        for node in behind[:-1]:
            node.outputs[0].shape = None
        at = further


def _is_pointwise(node: ir.Node, x: ir.Value) -> bool:
    """Whether it is a convolution that gives each pixel of x another number of channels."""
    if not is_standard(node, "Conv") or node.inputs[0] is not x:
        return False
    weight = constant(node.inputs[1])
    get = node.attributes.get_ints
    plain = set(get("strides", ())) <= {1} and not any(get("pads", ()))
    return (
        plain
        and weight is not None
        and weight.dtype in FLOATS
        and (set(weight.shape.numpy()[2:]) == {1})
    )


IN_EIGHTS = Rule("pixels-in-eights", frozenset(("Conv",)), _in_eights, opset=PAD_TAKES_INPUTS)
