"""Operators for onnx's reference evaluator, in numpy, where its own take minutes on real nets.

Windows are walked tap by tap: every position of the kernel is one strided slice of the padded
input, so a convolution is a sum of matrix products and no im2col is ever built.

    Conv           y[o] = sum_t W[:, :, t] x[s·o + d·t]
    ConvTranspose  y[s·i + d·t] += W[:, :, t]' x[i]
    MaxPool, AveragePool: the largest, the mean, over t

GlobalMaxPool, BatchNormalization and Softmax are here because onnx's give wrong answers for some
ranks and opsets, QuantizeLinear and DequantizeLinear because it has them only from opset 19 on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

Array = np.ndarray
Index = tuple[Any, ...]


@dataclass(frozen=True)
class _Window:
    """Kernel, strides, dilations, and the padding before and after each spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    sizes: tuple[int, ...]  # of the result

    def padded(self, x: Array, value: float) -> Array:
        """x with its padding, and as much behind it as the last window reaches."""
        widths = []
        for axis, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            reach = (self.sizes[axis] - 1) * self.strides[axis]
            reach += (self.kernel[axis] - 1) * self.dilations[axis] + 1
            widths.append((before, max(after, reach - before - x.shape[2 + axis])))
        return np.pad(x, [(0, 0), (0, 0), *widths], constant_values=value)

    def taps(self) -> Iterator[tuple[Index, Index]]:
        """Each position in the kernel, and the padded input that lies under it: the last axes."""
        for tap in itertools.product(*map(range, self.kernel)):
            starts = [t * d for t, d in zip(tap, self.dilations, strict=True)]
            under = (
                slice(start, start + (size - 1) * stride + 1, stride)
                for start, size, stride in zip(starts, self.sizes, self.strides, strict=True)
            )
            yield (..., *tap), (..., *under)


def _window(size: Sequence[int], kernel: Sequence[int], how: Mapping[str, Any]) -> _Window:
    """The windows of an operator over axes of this size, by its attributes."""
    n = len(kernel)
    strides = tuple(how["strides"] or (1,) * n)
    dilations = tuple(how.get("dilations") or (1,) * n)
    reaches = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    if how["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        results = [-(-d // s) for d, s in zip(size, strides, strict=True)]
        totals = [
            max(0, (r - 1) * s + reach - d)
            for r, s, reach, d in zip(results, strides, reaches, size, strict=True)
        ]
        less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
        before, after = (less, more) if how["auto_pad"] == "SAME_UPPER" else (more, less)
    else:
        unpadded = how["auto_pad"] == "VALID" or not how["pads"]
        both = (0,) * 2 * n if unpadded else how["pads"]
        before, after = list(both[:n]), list(both[n:])
        spare = [size[i] + before[i] + after[i] - reaches[i] for i in range(n)]
        results = [x // s + 1 for x, s in zip(spare, strides, strict=True)]
        for i, s in enumerate(strides if how.get("ceil_mode") else ()):
            # One more window over what is left, unless it began in the padding behind.
            results[i] += spare[i] % s > 0 and results[i] * s < size[i] + before[i]
    return _Window(tuple(kernel), strides, dilations, tuple(before), tuple(after), tuple(results))


class Conv(OpRun):
    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **how: Any) -> tuple[Array]:
        batch, group, outs, ins = len(x), how["group"], w.shape[0], w.shape[1]
        window = _window(x.shape[2:], w.shape[2:], how)
        padded = window.padded(x, 0.0)
        padded = padded.reshape(batch, group, ins, *padded.shape[2:])
        grouped = w.reshape(group, outs // group, *w.shape[1:])
        y = np.zeros((batch, group, outs // group, math.prod(window.sizes)), x.dtype)
        for tap, under in window.taps():
            piece = padded[under].reshape(batch, group, ins, -1)
            weight = grouped[tap]
            y += weight * piece if ins == outs // group == 1 else weight @ piece
        return (_with_bias(y.reshape(batch, outs, *window.sizes), b),)


class ConvTranspose(OpRun):
    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **how: Any) -> tuple[Array]:
        if how["output_shape"] or how["auto_pad"] not in (None, "NOTSET"):
            raise NotImplementedError("ConvTranspose with output_shape or auto_pad")
        (batch, ins, *size), (_, outs, *kernel) = x.shape, w.shape
        n, group = len(size), how["group"]
        strides, dilations = how["strides"] or (1,) * n, how["dilations"] or (1,) * n
        pads, extra = how["pads"] or (0,) * 2 * n, how["output_padding"] or (0,) * n
        full = [
            (size[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 + extra[i]
            for i in range(n)
        ]
        grouped = w.reshape(group, ins // group, outs, *kernel)
        flat = x.reshape(batch, group, ins // group, -1)
        y = np.zeros((batch, group, outs, *full), x.dtype)
        window = _Window(tuple(kernel), tuple(strides), tuple(dilations), (), (), tuple(size))
        for tap, under in window.taps():
            weight = grouped[tap].swapaxes(1, 2)
            product = (weight @ flat).reshape(batch, group, outs, *size)
            y[under] += product
        inner: Index = (..., *(slice(pads[i], full[i] - pads[n + i]) for i in range(n)))
        return (_with_bias(y.reshape(batch, group * outs, *full)[inner], b),)


def _with_bias(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias.reshape(1, -1, *(1,) * (y.ndim - 2))


class MaxPool(OpRun):
    op_domain = ""

    def _run(self, x: Array, **how: Any) -> tuple[Array]:
        window = _window(x.shape[2:], how["kernel_shape"], how)
        padded = window.padded(x, -np.inf)
        y = np.full((*x.shape[:2], *window.sizes), -np.inf, x.dtype)
        for _, under in window.taps():
            np.maximum(y, padded[under], out=y)
        return (y,)


class AveragePool(OpRun):
    """What lies behind the padding is never counted, padding where count_include_pad says so."""

    op_domain = ""

    def _run(self, x: Array, **how: Any) -> tuple[Array]:
        window = _window(x.shape[2:], how["kernel_shape"], how)
        padded, ones = window.padded(x, 0.0), np.ones((1, 1, *x.shape[2:]), x.dtype)
        if how["count_include_pad"]:
            widths = [(0, 0), (0, 0), *zip(window.before, window.after, strict=True)]
            ones = np.pad(ones, widths, constant_values=1)
            grown = [(0, p - o) for p, o in zip(padded.shape[2:], ones.shape[2:], strict=True)]
            ones = np.pad(ones, [(0, 0), (0, 0), *grown])
        else:
            ones = window.padded(ones, 0.0)
        y = np.zeros((*x.shape[:2], *window.sizes), x.dtype)
        count = np.zeros((1, 1, *window.sizes), x.dtype)
        for _, under in window.taps():
            y += padded[under]
            count += ones[under]
        return (y / count,)


class GlobalMaxPool(OpRun):
    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class BatchNormalization(OpRun):
    """In inference: onnx's own takes a momentum that is written down for training mode."""

    op_domain = ""

    def _run(self, x: Array, *parameters: Array, **how: Any) -> tuple[Array]:
        if how.get("training_mode"):
            raise NotImplementedError("BatchNormalization in training mode")
        ones = (1,) * (x.ndim - 2)
        scale, bias, mean, variance = (a.reshape(-1, *ones) for a in parameters)
        return ((x - mean) / np.sqrt(variance + how["epsilon"]) * scale + bias,)


class Softmax(OpRun):
    """Before opset 13 over all axes from `axis` on, which onnx's own ignores."""

    op_domain = ""

    def _run(self, x: Array, axis: int = -1) -> tuple[Array]:
        axes: tuple[int, ...] = (axis,)
        if self.run_params["opsets"][""] < 13:  # whose default is 1, not -1
            given = any(a.name == "axis" for a in self.onnx_node.attribute)
            axes = tuple(range(axis % x.ndim if given else 1, x.ndim))
        powers = np.exp(x - x.max(axis=axes, keepdims=True))
        return (powers / powers.sum(axis=axes, keepdims=True),)


class QuantizeLinear(OpRun):
    """q = clip(round(x / s) + z), halves to even."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, zero: Array, **how: Any) -> tuple[Array]:
        axis, ends = how["axis"], np.iinfo(zero.dtype)
        q = np.rint(x / _along(scale, x, axis)) + _along(zero, x, axis)
        return (np.clip(q, ends.min, ends.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    """x = s (q - z)"""

    op_domain = ""

    def _run(self, q: Array, scale: Array, zero: Array | None = None, **how: Any) -> tuple[Array]:
        axis = how["axis"]
        offset = 0.0 if zero is None else _along(zero.astype(np.float64), q, axis)
        return ((q.astype(np.float64) - offset) * _along(scale, q, axis),)


def _along(a: Array, x: Array, axis: int) -> Array:
    """One value for all of x, or one for each place along the axis."""
    return (
        a.reshape(()) if a.size == 1 else a.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    )


OPERATORS: tuple[type[OpRun], ...] = (
    Conv, ConvTranspose, MaxPool, AveragePool, GlobalMaxPool, BatchNormalization, Softmax,
    QuantizeLinear, DequantizeLinear,
)  # fmt: skip
