"""Rows of kernels as channels, where an engine computes channels in blocks that are not full.

rows-into-channels      A convolution of few channels and a kernel of k rows as one of m times as
                        many channels and ceil(k / m) rows. With Z_j[t] = x[t + d·j], x padded by
                        zero rows, strides s and dilations d,
                            y[o] = sum_i W[i] x[s·o + d·i] = sum_q sum_j W[m·q + j] Z_j[s·o + d·m·q]
                        for i = m·q + j, W zero beyond k. Of each Z_j only every s-th row is made
                        where the others are not read. Columns stay as they are.
                        m is the smallest that makes the fewest products, channels counted in
                        blocks of 8; for 8, 12 or 16 it is 1, and nothing is written.

OpenCV 5's new engine fills up the 3 channels of an image, or the one, to 8. First layers there, by
themselves: 5x5 of super_resolution (one channel, 224x224) 24.9 for 9.6 ms, 9x9 of fns_candy 24.8
for 10.3, 7x7 in steps of two of person_reid 1.92 for 1.23, 3x3 in steps of two of fastestdet 3.5
for 2.8; whole nets: super_resolution 1.20, winml_cifar 1.13, fastestdet and person_reid 1.08,
ultraface 1.03 to 1.04, yunet 1.02 to 1.03, prisma_seg and road_seg 1.0. Within a net it does not
pay (xfeat, with a few layers of 4 channels, 0.96): what is cut there is taken out of its blocks.
Classic is slower for 3x3 (0.7 of the layer's speed), and at times faster for larger kernels (9x9
1.17, 5x5 at 28x28 1.6).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelcheck.transforms.graph import layer_name
from modelcheck.transforms.rules.convolution import Convolution, read
from modelcheck.transforms.rules.padding import padded
from modelcheck.transforms.rules.rule import Rule, Site

_BLOCK = 8
_WORTH_A_COPY = 1.25  # 1.2 times fewer products (yolox_nano, 12 channels) did not pay for one
_PAD_AND_SLICE_TAKE_INPUTS = 11  # opset


def _into_channels(site: Site) -> bool:
    node, edit, stem = site.node, site.edit, layer_name(site.node)
    if node.attributes.get_int("group", 1) != 1:
        return False
    weight = site.weight(1)
    rows, stacked = weight.shape[2], _stacked(weight.shape[1], weight.shape[2])
    if stacked == 1:
        return False
    conv = read(site)
    left = -(-rows // stacked)  # rows of the new kernel
    step, stride, dilation = _steps(conv, stacked, left)
    n = len(conv.size)
    z = _stack(site, conv, stacked, made=(conv.result[0] - 1) * stride + dilation * (left - 1) + 1,
               step=step)  # fmt: skip
    inputs: list[ir.Value | None] = [
        z,
        edit.initializer(f"{stem}.stacked", _weight(weight, stacked, left)),
    ]
    inputs.extend(node.inputs[2:])
    y = edit.node(
        "Conv", inputs, f"{stem}/stacked", like=node.outputs[0],
        kernel_shape=[left, *conv.kernel[1:]], strides=[stride, *conv.strides[1:]],
        dilations=[dilation, *conv.dilations[1:]],
        pads=[0, *conv.pads[1:n], 0, *conv.pads[n + 1 :]],
    )  # fmt: skip
    edit.remove(node, heir=y)
    return True


def _stacked(channels: int, rows: int) -> int:
    """How many rows of the kernel shall be channels; 1 where too little is gained by more."""

    def products(stacked: int) -> int:
        return -(-stacked * channels // _BLOCK) * -(-rows // stacked)

    best = min(range(1, rows + 1), key=lambda stacked: (products(stacked), stacked))
    return best if products(1) >= _WORTH_A_COPY * products(best) else 1


def _steps(conv: Convolution, stacked: int, left: int) -> tuple[int, int, int]:
    """Which rows are made (every so many), and the stride and dilation over them."""
    stride, reach = conv.strides[0], conv.dilations[0] * stacked
    if left == 1:
        return stride, 1, 1
    if reach % stride == 0:
        return stride, 1, reach // stride
    return 1, stride, reach


def _stack(site: Site, conv: Convolution, stacked: int, *, made: int, step: int) -> ir.Value:
    """(N, C, H, ...) -> (N, stacked·C, made, ...): Z_0, then Z_1, and so on."""
    edit, stem = site.edit, layer_name(site.node)
    x = site.node.inputs[0]
    assert x is not None
    n, first = len(conv.size), conv.pads[0]
    last = step * (made - 1) + conv.dilations[0] * (stacked - 1)  # the last row that is read
    beyond = max(last + 1 - first - conv.size[0], 0)
    if first or beyond:
        x = padded(site, [(first, beyond), *[(0, 0)] * (n - 1)])
    begins = [conv.dilations[0] * j for j in range(stacked)]
    parts = [
        site.cut(x, [begin], [begin + step * (made - 1) + 1], [2], "rows", steps=[step])
        for begin in begins
    ]
    return edit.node("Concat", parts, f"{stem}/stack", like=None, axis=1)


def _weight(weight: np.ndarray, stacked: int, left: int) -> np.ndarray:
    """(O, C, k, ...) -> (O, stacked·C, left, ...)."""
    outputs, channels, rows, *rest = weight.shape
    whole = np.zeros((outputs, channels, left * stacked, *rest), weight.dtype)
    whole[:, :, :rows] = weight
    apart = np.moveaxis(whole.reshape(outputs, channels, left, stacked, *rest), 3, 1)
    return np.ascontiguousarray(apart.reshape(outputs, stacked * channels, left, *rest))


INTO_CHANNELS = Rule(
    "rows-into-channels", frozenset(("Conv",)), _into_channels, opset=_PAD_AND_SLICE_TAKE_INPUTS
)
