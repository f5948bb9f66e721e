"""Convolutions as matrix products, where an engine's product is faster than its convolution.

1x1     Y[n, o, p] = sum_c W[o, c] X[n, c, p] + b[o],    p one of H·W pixels:
        Reshape (N, C, H·W), MatMul with W (1, O, C) on the left, Add, Reshape (N, O, H', W')
k×k     The same with k·k times as many channels: tap (i, j) is X padded, and cut to the pixels
        that W[:, :, i, j] multiplies:
            X_ij[n, c, y, x] = Xpad[n, c, s·y + d·i, s·x + d·j],   s strides, d dilations
        Pad, k·k Slices, Concat on channels (N, k·k·C, H', W'), then as above. With a bias, and N
        known, a channel of ones is stacked too, which the product multiplies with it: a pass over
        the result less than Add (squeezenet on 5.0 new, seven such layers: 1.04x to 1.05x).
G groups are a further axis of the product: W (1, G, O/G, C/G).
Gemm    Of a batch of one the same without the axis of the batch, W (O, C), X (C, H·W), and with the
        bias (O, 1) inside: OpenCV's classic engine saves a pass over the result.

Source: the lowering of convolutions of K. Chellapilla et al., 2006 (im2col).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import onnx_ir as ir

from modelcheck.model.static.layers import window
from modelcheck.transforms.graph import CannotChange, layer_name
from modelcheck.transforms.rules.padding import padded
from modelcheck.transforms.rules.rule import Rule, Site

_PAD_AND_SLICE_TAKE_INPUTS, _GEMM_BROADCASTS, _GEMM_WITHOUT_BIAS = 11, 7, 11  # opsets


@dataclass(frozen=True)
class Convolution:
    """The numbers of one Conv. Spatial tuples have one entry for each spatial axis."""

    weight: np.ndarray  # (O, C/G, *kernel)
    bias: np.ndarray | None  # (O,)
    groups: int
    channels: int
    size: tuple[int, ...]  # of the input
    result: tuple[int, ...]  # of the output
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]  # all begins, then all ends

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight.shape[2:]

    @property
    def is_pointwise(self) -> bool:
        """Whether it mixes channels and nothing else."""
        return self.size == self.result and set(self.kernel) == {1} and not any(self.pads)


def read(site: Site) -> Convolution:
    node, weight = site.node, site.weight(1)
    n = weight.ndim - 2
    channels, *size = site.dims(node.inputs[0], rank=weight.ndim)
    groups = node.attributes.get_int("group", 1)
    if groups > 1 and weight.shape[1] == 1:
        raise CannotChange("it is depthwise: a product for each channel gains nothing")
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID"):
        raise CannotChange("its padding is automatic: apply the rule 'explicit-pads' first")
    result = window(node, tuple(size), weight.shape[2:])
    return Convolution(
        weight=weight,
        bias=site.bias(2),
        groups=groups,
        channels=channels,
        size=tuple(size),
        result=tuple(int(d) for d in result if d is not None),
        strides=site.ints("strides", (1,) * n),
        dilations=site.ints("dilations", (1,) * n),
        pads=(0,) * (2 * n) if auto == "VALID" else site.ints("pads", (0,) * (2 * n)),
    )


def _pointwise(site: Site, *, gemm: bool = False) -> bool:
    conv = read(site)
    if not conv.is_pointwise:
        return False
    x = site.node.inputs[0]
    assert x is not None
    if gemm:
        _check_gemm(site, conv)
        _add_up(site, conv, x)
    else:
        _multiply(site, conv, _matrix(conv), x)
    return True


def _windowed(site: Site, *, gemm: bool = False) -> bool:
    conv = read(site)
    if conv.is_pointwise:
        return False
    if conv.groups > 1:
        raise CannotChange("it has groups")
    if gemm:
        _check_gemm(site, conv)
        _add_up(site, conv, _stacked(site, _taps(site, conv)))
        return True
    matrix, taps = _matrix(conv), _taps(site, conv)
    if conv.bias is not None and len(taps) > 1 and (ones := _ones(site, conv)) is not None:
        matrix = np.column_stack((matrix, conv.bias))
        taps, conv = [*taps, ones], replace(conv, bias=None)
    _multiply(site, conv, matrix, _stacked(site, taps))
    return True


def _check_gemm(site: Site, conv: Convolution) -> None:
    """Gemm knows neither a batch nor groups."""
    dims = site.static.dims(site.node.inputs[0])
    if dims is None or dims[0] != 1:
        raise CannotChange("its batch is not fixed to 1")
    if conv.groups > 1:
        raise CannotChange("it has groups")


def _add_up(site: Site, conv: Convolution, x: ir.Value) -> None:
    """Put a Gemm in the convolution's place; x has a channel for each tap and channel."""
    edit, stem = site.edit, layer_name(site.node)
    matrix, outputs = _matrix(conv), conv.weight.shape[0]
    x = site.reshaped(x, (matrix.shape[1], int(np.prod(conv.result))), "pixels")
    factors = [edit.initializer(f"{stem}.matrix", np.ascontiguousarray(matrix)), x]
    bias = conv.bias
    if bias is None and edit.opset < _GEMM_WITHOUT_BIAS:
        bias = np.zeros(outputs, matrix.dtype)
    if bias is not None:
        factors.append(edit.initializer(f"{stem}.bias", bias.reshape(outputs, 1)))
    y = edit.node("Gemm", factors, f"{stem}/product", like=None)
    y = site.reshaped(y, (1, outputs, *conv.result), "image")
    y.type = site.node.outputs[0].type
    edit.remove(site.node, heir=y)


def _matrix(conv: Convolution) -> np.ndarray:
    """The weights as (outputs, taps · channels): taps before channels, as they are stacked."""
    return np.moveaxis(conv.weight, 1, -1).reshape(conv.weight.shape[0], -1)


def _multiply(site: Site, conv: Convolution, matrix: np.ndarray, x: ir.Value) -> None:
    """Put the product in the convolution's place; x has a channel for each column."""
    edit, node, stem = site.edit, site.node, layer_name(site.node)
    outputs, pixels = conv.weight.shape[0], int(np.prod(conv.result))
    groups = (conv.groups,) if conv.groups > 1 else ()
    rows, columns = outputs // conv.groups, matrix.shape[1]
    matrix = matrix.reshape(1, *groups, rows, columns)
    # Without groups a one-dimensional convolution has the right shape already.
    reshaped = bool(groups) or len(conv.result) != 1
    if reshaped:
        x = site.reshaped(x, (None, *groups, columns, pixels), "pixels")
    left = edit.initializer(f"{stem}.matrix", np.ascontiguousarray(matrix))
    y = edit.node("MatMul", [left, x], f"{stem}/product", like=None)
    if conv.bias is not None:
        bias = conv.bias.reshape(1, *groups, rows, 1)
        y = edit.node("Add", [y, edit.initializer(f"{stem}.bias", bias)], f"{stem}/bias", like=None)
    if reshaped:
        y = site.reshaped(y, (None, outputs, *conv.result), "image")
    y.type = node.outputs[0].type
    edit.remove(node, heir=y)


def _taps(site: Site, conv: Convolution) -> list[ir.Value]:
    """(N, C, *size) -> for each place in the kernel what it multiplies, (N, C, *result)."""
    x = site.node.inputs[0]
    assert x is not None
    if any(conv.pads):
        n = len(conv.size)
        x = padded(site, list(zip(conv.pads[:n], conv.pads[n:], strict=True)))
    axes = range(2, 2 + len(conv.size))
    taps = []
    for tap in product(*map(range, conv.kernel)):
        begins = np.array(tap) * conv.dilations
        ends = begins + (np.array(conv.result) - 1) * conv.strides + 1
        taps.append(site.cut(x, begins.tolist(), ends.tolist(), axes, "tap", steps=conv.strides))
    return taps


def _ones(site: Site, conv: Convolution) -> ir.Value | None:
    """A channel of ones, (N, 1, *result), where the batch N is known; no layer shares it.

    OpenCV's classic engine refuses a constant that two Concats read.
    """
    dims = site.static.dims(site.node.inputs[0])
    if dims is None or dims[0] is None:
        return None
    ones = np.ones((dims[0], 1, *conv.result), conv.weight.dtype)
    return site.edit.initializer(f"{layer_name(site.node)}.ones", ones)


def _stacked(site: Site, taps: Sequence[ir.Value]) -> ir.Value:
    if len(taps) == 1:
        return taps[0]
    return site.edit.node("Concat", taps, f"{layer_name(site.node)}/taps", like=None, axis=1)


_CONV = frozenset(("Conv",))
POINTWISE = Rule("conv1x1-as-matmul", _CONV, _pointwise)
WINDOWED = Rule("conv-as-matmul", _CONV, _windowed, opset=_PAD_AND_SLICE_TAKE_INPUTS)
POINTWISE_GEMM = Rule(
    "conv1x1-as-gemm", _CONV, partial(_pointwise, gemm=True), opset=_GEMM_BROADCASTS
)
WINDOWED_GEMM = Rule(
    "conv-as-gemm", _CONV, partial(_windowed, gemm=True), opset=_PAD_AND_SLICE_TAKE_INPUTS
)
