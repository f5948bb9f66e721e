"""Transposed convolutions as convolutions, which engines run several times as fast.

convtranspose-as-conv   With strides s, kernel k and pads p, on each spatial axis:
                            y[t] = sum of x[i] W[j] over s·i + j = t + p
                        Of the s phases r of t + p = s·q + r each sees the taps j = r + s·m alone:
                            y[s·q + r - p] = sum_m x[q - m] W[r + s·m],    m < M = ceil(k / s)
                        a convolution of M taps (zeros beyond k) with s times as many channels. The
                        phases are then put beside one another (depth to space), and what the pads
                        take away is cut off. An activation goes before that: engines fuse it there.

In two dimensions it takes (s·M)² / k² of the products: 1 for k = 2 and 4, 1.8 for k = 3 in steps of
two. prisma_seg went from 96 to 63 ms on OpenCV 5's new engine, and from 507 to 76 ms on classic.
A Pad takes what the classic engine gets wrong as pads of the convolution: two rows below a
depthwise 3x3, and over one dimension other pads at the end than at the begin.

Source: W. Shi et al., Is the deconvolution layer the same as a convolutional layer?, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.model.float_faults import rows_beyond
from modelcheck.transforms.graph import CannotChange, layer_name
from modelcheck.transforms.rules.activation import ELEMENTWISE, activations_behind
from modelcheck.transforms.rules.padding import PAD_TAKES_INPUTS, padded
from modelcheck.transforms.rules.rule import SLICE_TAKES_INPUTS, Rule, Site

_MOST_AXES = 2


@dataclass(frozen=True)
class _Axis:
    """One spatial axis, whatever its size."""

    taps: int  # of the convolution
    stride: int  # so many phases
    dilation: int
    pads: tuple[int, int]  # of the convolution
    cut: tuple[int, int]  # elements to drop once the phases stand beside one another

    @classmethod
    def of(
        cls, kernel: int, stride: int, dilation: int, pads: tuple[int, int], extra: int
    ) -> _Axis:
        if stride > 1 and dilation > 1:
            raise CannotChange("it has strides and dilations")
        taps, reach = -(-kernel // stride), dilation * (kernel - 1) + 1
        first = pads[0] // stride  # the first q that is in the output
        end = -(-(reach - stride + extra - pads[1]) // stride)  # of q, beyond the input
        if taps == 1 and end > 0:
            taps = 2  # one of them zeros: engines are wrong at 1x1 with pads (docs/known-faults.md)
        begin = dilation * (taps - 1) - first
        if begin < 0 or end < 0:
            raise CannotChange("its pads are wider than its kernel")
        beyond = stride * (end + 1) - reach - extra + pads[1]
        return cls(taps, stride, dilation, (begin, end), (pads[0] - stride * first, beyond))

    def phases(self, size: int) -> int:
        """How many elements each phase of an input of so many has."""
        return size + sum(self.pads) - self.dilation * (self.taps - 1)


def _as_conv(site: Site) -> bool:
    node, edit, stem = site.node, site.edit, layer_name(site.node)
    weight, bias = site.weight(1), site.bias(2)
    groups = node.attributes.get_int("group", 1)
    axes = _axes(site, weight)
    outputs, phases = weight.shape[1] * groups, int(np.prod([a.stride for a in axes]))
    if phases > 1:
        _batch_and_sizes(site, axes)  # before anything is changed
    apart = _goes_wrong(weight, groups, axes)
    if apart and edit.opset < PAD_TAKES_INPUTS:
        raise CannotChange("its padding needs a Pad of opset 11")
    x = padded(site, [a.pads for a in axes]) if apart else node.inputs[0]
    inputs = [x, edit.initializer(f"{stem}.phases", _phases(weight, groups, axes))]
    if bias is not None:
        inputs.append(edit.initializer(f"{stem}.bias", np.repeat(bias, phases)))
    y = edit.node(
        "Conv", inputs, f"{stem}/conv", like=None,
        kernel_shape=[a.taps for a in axes], dilations=[a.dilation for a in axes],
        pads=[0 if apart else a.pads[side] for side in (0, 1) for a in axes], group=groups,
    )  # fmt: skip
    last, behind = node, activations_behind(node.outputs[0])
    if phases > 1 and len(behind) == 1 and behind[0].op_type in ELEMENTWISE:
        last = behind[0]
        y = edit.copied(last, [y, *last.inputs[1:]], f"{stem}/activation")
    if phases > 1:
        y = _beside_one_another(site, y, outputs, axes)
    y = _cut(site, y, axes)
    y.type = last.outputs[0].type
    edit.remove(last, heir=y)
    if last is not node:
        edit.remove_unused(node)
    return True


def _goes_wrong(weight: np.ndarray, groups: int, axes: Sequence[_Axis]) -> bool:
    """Whether OpenCV's classic engine gets the convolution wrong for its padding."""
    if len(axes) == 1:
        return axes[0].pads[0] != axes[0].pads[1]
    depthwise = groups > 1 and weight.shape[:2] == (groups, 1) and {a.stride for a in axes} == {1}
    kernel, dilations = [a.taps for a in axes], [a.dilation for a in axes]
    pads = [a.pads[side] for side in (0, 1) for a in axes]
    return depthwise and rows_beyond(kernel, (1, 1), dilations, pads, None)


def _axes(site: Site, weight: np.ndarray) -> tuple[_Axis, ...]:
    node, n = site.node, weight.ndim - 2
    if n > _MOST_AXES:
        raise CannotChange("it has more than two spatial axes")
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        raise CannotChange("its padding is automatic")
    if node.attributes.get_ints("output_shape", ()):
        raise CannotChange("its padding follows from an output_shape")
    strides, dilations = site.ints("strides", (1,) * n), site.ints("dilations", (1,) * n)
    pads, extra = site.ints("pads", (0,) * (2 * n)), site.ints("output_padding", (0,) * n)
    return tuple(
        _Axis.of(weight.shape[2 + i], strides[i], dilations[i], (pads[i], pads[i + n]), extra[i])
        for i in range(n)
    )


def _phases(weight: np.ndarray, groups: int, axes: Sequence[_Axis]) -> np.ndarray:
    """(C, O/G, *kernel) -> (O·phases, C/G, *taps): taps turned around, phases behind outputs."""
    channels, outputs, *kernel = weight.shape
    wider = [(0, a.taps * a.stride - k) for a, k in zip(axes, kernel, strict=True)]
    padded = np.pad(weight, [(0, 0), (0, 0), *wider])
    split = padded.reshape(
        groups, channels // groups, outputs, *(d for a in axes for d in (a.taps, a.stride))
    )
    taps, phases = [3 + 2 * i for i in range(len(axes))], [4 + 2 * i for i in range(len(axes))]
    turned = np.flip(split, tuple(taps)).transpose(0, 2, *phases, 1, *taps)
    return np.ascontiguousarray(turned).reshape(-1, channels // groups, *(a.taps for a in axes))


def _beside_one_another(site: Site, y: ir.Value, outputs: int, axes: Sequence[_Axis]) -> ir.Value:
    """(N, O·phases, *q) -> (N, O, *s·q), in turns of four axes at most, which are fast.

    Of two axes the sizes need not be known if N is: 0 is a size that stays at its place. No
    Reshape with a 0 stands behind another one, which OpenCV 5's new engine gets wrong.
    """
    edit, stem = site.edit, layer_name(site.node)

    def turned(x: ir.Value, shape: Sequence[int | None], *perm: int) -> ir.Value:
        x = site.reshaped(x, shape, "phases")
        return edit.node("Transpose", [x], f"{stem}/beside", like=None, perm=perm)

    batch, sizes = _batch_and_sizes(site, axes)
    if len(axes) == 1:
        stride, (size,) = axes[0].stride, sizes or (0,)
        y = turned(y, (None, stride, size), 0, 2, 1)
        return site.reshaped(y, (None, outputs, stride * size), "whole")
    (s, r), (h, w) = (axes[0].stride, axes[1].stride), sizes or (0, 0)
    known = sizes is not None
    y = turned(y, (None, r, h, w), 2, 0, 3, 1)  # (N·O·s, r, h, w) -> (h, N·O·s, w, r)
    rows = (h, None, s, r * w) if known else (0, (batch or 1) * outputs, s, None)
    y = turned(y, rows, 1, 0, 2, 3)  # -> (N·O, h, s, r·w)
    whole = (None, outputs, s * h, r * w) if known else (batch, outputs, None, 0)
    return site.reshaped(y, whole, "whole")


def _batch_and_sizes(
    site: Site, axes: Sequence[_Axis]
) -> tuple[int | None, tuple[int, ...] | None]:
    """N, and how many elements each phase has; None for what is not known."""
    dims = site.static.dims(site.node.inputs[0])
    batch = dims[0] if dims else None
    try:
        sizes = site.dims(site.node.inputs[0], rank=2 + len(axes))[1:]
    except CannotChange:
        if len(axes) == 1 or batch is None:
            raise
        return batch, None
    return batch, tuple(a.phases(size) for a, size in zip(axes, sizes, strict=True))


def _cut(site: Site, y: ir.Value, axes: Sequence[_Axis]) -> ir.Value:
    cut = [i for i, a in enumerate(axes) if any(a.cut)]
    if not cut:
        return y
    begins, ends = ([axes[i].cut[side] for i in cut] for side in (0, 1))
    return site.cut(y, begins, [-end or None for end in ends], [2 + i for i in cut], "cut")


AS_CONV = Rule(
    "convtranspose-as-conv", frozenset(("ConvTranspose",)), _as_conv, opset=SLICE_TAKES_INPUTS
)
