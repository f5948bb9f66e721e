"""Which int8 convolutions OpenCV 5.0's new engine computes wrongly, from their sizes alone.

Its int8 kernels take 8 pixels or channels at a time, and what is left over is wrong where the
result goes to int8 at once: no activation, or anything else, stands before the rounding. Found by
running some thousand small networks in it and in onnxruntime (5.0.0, x86-64, November 2026); 4.14
and 5.0's classic engine compute all of them rightly. What `quantize` spares and what `inspect`
warns of are both asked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from modelcheck.model.matchers import padded
from modelcheck.model.static import product

GROUPED, TAIL, SMALL = "int8-grouped", "int8-tail", "int8-small-map"
_BLOCK = 8
# Where kernels are larger than 1x1, only small maps were wrong, and not all of them: the largest
# had 102 pixels. Of more than one block of channels the largest had 9.
_SMALL, _SMALLEST = 104, 16


@dataclass(frozen=True, slots=True)
class Int8Conv:
    """The sizes of a convolution; `pixels` are those of its result, None where they are unknown."""

    kernel: Sequence[int]
    groups: int
    in_per_group: int
    out_per_group: int
    strided: bool
    padded: bool
    pixels: int | None


def int8_conv(node: ir.Node, weight: Sequence[int], size: Sequence[int | None] | None) -> Int8Conv:
    """The sizes of a Conv with a weight of this shape and a result of this (spatial) size."""
    groups = node.attributes.get_int("group", 1)
    out_channels, in_per_group, *kernel = weight
    return Int8Conv(
        kernel=kernel,
        groups=groups,
        in_per_group=in_per_group,
        out_per_group=out_channels // max(groups, 1),
        strided=any(s != 1 for s in node.attributes.get_ints("strides", ())),
        padded=padded(node),
        pixels=None if size is None else product(size),
    )


def conv_fault(conv: Int8Conv) -> str | None:
    """The id of the pattern that a convolution falls under whose result is rounded at once.

    Pixels that are not known count as unfavourable.
    """
    per_group = conv.out_per_group
    if conv.groups > 1 and per_group > _BLOCK and per_group % _BLOCK:
        return GROUPED
    pixels = conv.pixels
    if pixels is not None and pixels % _BLOCK == 0:
        return None
    whole_blocks = conv.groups == 1 or per_group % _BLOCK == 0
    if whole_blocks and set(conv.kernel) == {1} and not conv.strided:
        return TAIL
    if len(conv.kernel) == 1:
        return TAIL
    depthwise = conv.groups > 1 and conv.in_per_group == per_group == 1
    one_block = depthwise or (conv.groups == 1 and per_group <= _BLOCK)
    few = pixels is None or pixels <= (_SMALL if one_block else _SMALLEST)
    few_channels = one_block or conv.groups * per_group <= 3 * _BLOCK
    return SMALL if conv.padded and few and few_channels else None
