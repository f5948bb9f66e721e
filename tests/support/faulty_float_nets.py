"""The rows of float operators, shapes and values."""

from __future__ import annotations

import numpy as np
from faulty_case import Case, Make, full
from int8_graph import Graph

from modelcheck.model import Model


def _window(op: str, kernel: int, size: int = 8, **attributes: object) -> Make:
    def make() -> Model:
        g = Graph(1, 4, size, size)
        if op == "Conv":
            return g.model(g.conv("x", 4, 4, kernel, kernel, **attributes))
        return g.model(g.op(op, "x", kernel_shape=[kernel] * 2, **attributes))

    return make


def _padded_pool() -> Model:
    g = Graph(1, 4, 8, 8)
    y = g.op("Pad", "x", g.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    return g.model(g.op("AveragePool", y, kernel_shape=[3, 3]))


def _padded_convolution(begin: int, end: int) -> Make:
    def make() -> Model:
        g = Graph(1, 4, 8, 8)
        pads = g.constant([0, 0, begin, begin, 0, 0, end, end], np.int64)
        return g.model(g.conv(g.op("Pad", "x", pads), 4, 4, 1, 1))

    return make


def _depthwise(stride: int, *pads: int, rows: int = 0) -> Make:
    """A 3x3 convolution of each channel by itself, behind a Pad by so many rows below or not."""

    def make() -> Model:
        g = Graph(1, 4, 8, 8)
        y = "x"
        if rows:
            y = g.op("Pad", y, g.constant([0, 0, 0, 0, 0, 0, rows, 0], np.int64))
        return g.model(g.conv(y, 4, 1, 3, 3, group=4, strides=[stride] * 2, pads=pads))

    return make


def _one_dimension(stride: int, *pads: int, before: bool = False) -> Make:
    def make() -> Model:
        g = Graph(1, 4, 12)
        if before:
            begin, end = pads
            y = g.op("Pad", "x", g.constant([0, 0, begin, 0, 0, end], np.int64))
            return g.model(g.conv(y, 4, 4, 3, strides=[stride]), rank=3)
        return g.model(g.conv("x", 4, 4, 3, pads=pads, strides=[stride]), rank=3)

    return make


def _normalized_behind(activation: str, *, written_out: bool = False) -> Make:
    """Conv, an activation, and a BatchNormalization or what it does; SiLU is x · Sigmoid(x)."""

    def make() -> Model:
        g = Graph(1, 4, 8, 8)
        y = g.conv("x", 4, 4, 3, 3)
        y = g.op("Mul", y, g.op("Sigmoid", y)) if activation == "SiLU" else g.op(activation, y)
        scale, shift, mean = (g.normal(4) for _ in range(3))
        variance = 0.5 + np.abs(g.normal(4))
        if not written_out:
            given = map(g.constant, (scale, shift, mean, variance))
            return g.model(g.op("BatchNormalization", y, *given))
        scale = scale / np.sqrt(variance + 1e-5)
        factor, addend = (v.reshape(4, 1, 1) for v in (scale, shift - scale * mean))
        return g.model(g.op("Add", g.op("Mul", y, g.constant(factor)), g.constant(addend)))

    return make


def _transposed(**attributes: object) -> Make:
    def make() -> Model:
        g = Graph(1, 4, 8, 8)
        weight = g.constant(g.normal(4, 4, 3, 3, fan_in=36))
        return g.model(g.op("ConvTranspose", "x", weight, kernel_shape=[3, 3], **attributes))

    return make


def _transposed_1d(*, as_2d: bool) -> Make:
    def make() -> Model:
        g = Graph(1, 4, 9)
        if not as_2d:
            weight = g.constant(g.normal(4, 4, 3, fan_in=12))
            return g.model(g.op("ConvTranspose", "x", weight, strides=[2]), rank=3)
        weight, axis = g.constant(g.normal(4, 4, 1, 3, fan_in=12)), g.constant([2], np.int64)
        y = g.op("ConvTranspose", g.op("Unsqueeze", "x", axis), weight, strides=[1, 2])
        return g.model(g.op("Squeeze", y, axis), rank=3)

    return make


def _reshapes(*shapes: tuple[int, ...]) -> Make:
    def make() -> Model:
        g = Graph(1, 12, 4)
        y = "x"
        for shape in shapes:
            y = g.op("Reshape", y, g.constant(shape, np.int64))
        return g.model(g.op("Relu", y), rank=3)

    return make


def _softmax(opset: int, axis: int, *, flat: bool = False) -> Make:
    def make() -> Model:
        g = Graph(1, 5, 10, opset=opset)
        y = g.op("Flatten", "x") if flat else "x"
        y = g.op("Softmax", y, axis=axis)
        y = g.op("Reshape", y, g.constant([1, 5, 10], np.int64)) if flat else y
        return g.model(y, rank=3)

    return make


def _gelu_of_parts(*, one_first: bool, half_first: bool, half_early: bool = False) -> Make:
    """x / sqrt(2), Erf, + 1, then · x · 0.5 or · (x · 0.5)."""

    def make() -> Model:
        g = Graph(2, 12)
        one, half, root = (g.constant(v, np.float32) for v in (1.0, 0.5, 2.0**0.5))
        x = g.op("MatMul", "x", g.constant(g.normal(12, 12)))
        erf = g.op("Erf", g.op("Div", x, root))
        total = g.op("Add", *((one, erf) if one_first else (erf, one)))
        if half_early:
            return g.model(g.op("Mul", g.op("Mul", half, x), total), rank=2)
        y = g.op("Mul", x, total)
        return g.model(g.op("Mul", *((half, y) if half_first else (y, half))), rank=2)

    return make


def _matmul(left: tuple[int, ...], right: tuple[int, ...], *, rank: int = 4) -> Make:
    def make() -> Model:
        g = Graph(*left)
        return g.model(g.op("MatMul", "x", g.constant(g.normal(*right))), rank=rank)

    return make


def _matmul_squeezed() -> Model:
    g = Graph(2, 4, 5)
    y = g.op("MatMul", "x", g.constant(g.normal(5, 1)))
    return g.model(g.op("Squeeze", y, g.constant([2], np.int64)), rank=2)


def _prelu(*slope: int, transposed: bool = False) -> Make:
    def make() -> Model:
        g = Graph(1, 3, 4, 4)
        x = g.op("Transpose", "x", perm=[0, 3, 2, 1]) if transposed else "x"
        y = g.op("PRelu", x, g.constant(np.abs(g.normal(*slope))))
        return g.model(g.op("Transpose", y, perm=[0, 3, 2, 1]) if transposed else y)

    return make


def _gelu(approximate: str) -> Make:
    def make() -> Model:
        g = Graph(1, 4, 8, 8, opset=20)
        return g.model(g.op("Gelu", "x", approximate=approximate))

    return make


def _gelu_written_out() -> Model:
    """0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))"""
    g = Graph(1, 4, 8, 8)
    cube = g.op("Mul", g.op("Mul", "x", "x"), "x")
    inner = g.op("Add", "x", g.op("Mul", cube, g.constant(0.044715)))
    tanh = g.op("Tanh", g.op("Mul", inner, g.constant(np.sqrt(2 / np.pi))))
    half = g.op("Mul", "x", g.constant(0.5))
    return g.model(g.op("Mul", half, g.op("Add", tanh, g.constant(1.0))))


def _swish(alpha: float, *, written_out: bool = False) -> Make:
    def make() -> Model:
        g = Graph(1, 4, 8, 8, opset=24)
        if not written_out:
            return g.model(g.op("Swish", "x", alpha=alpha))
        gate = g.op("Sigmoid", g.op("Mul", "x", g.constant(alpha)))
        return g.model(g.op("Mul", "x", gate))

    return make


def _resize(mode: str, how: str, nearest: str = "floor") -> Make:
    def make() -> Model:
        g = Graph(1, 2, 6, 6)
        scales, more = g.constant([1, 1, 2, 2]), {"coordinate_transformation_mode": how}
        return g.model(g.op("Resize", "x", "", scales, mode=mode, nearest_mode=nearest, **more))

    return make


def _slice(start: int, end: int, step: int) -> Make:
    def make() -> Model:
        g = Graph(1, 3, 8, 8)
        return g.model(
            g.op("Slice", "x", *(g.constant([i], np.int64) for i in (start, end, 3, step)))
        )

    return make


def _pad(by: int) -> Make:
    def make() -> Model:
        g = Graph(1, 3, 8, 8)
        return g.model(g.op("Pad", "x", g.constant([0, 0, by, 0, 0, 0, 0, by], np.int64)))

    return make


def _cast(*, activations: bool) -> Make:
    def make() -> Model:
        g = Graph(1, 4, 8, 8)
        if activations:
            return g.model(g.op("Cast", g.op("Relu", g.op("Cast", "x", to=10)), to=1))
        weight = g.constant(g.normal(4, 4, 3, 3, fan_in=36), np.float16)
        return g.model(g.op("Conv", "x", g.op("Cast", weight, to=1)))

    return make


def _normalized(op: str) -> Make:
    def make() -> Model:
        g = Graph(1, 4, 8, 8)
        return g.model(g.op(op, "x", axis=1))

    return make


def one(
    op: str, *shape: int | str, rank: int | None = None, dtype: type = np.float32,
    clip: tuple[float, float] | None = None, **attributes: object,
) -> Make:  # fmt: skip
    """One operator, with a Clip before it or not."""

    def make() -> Model:
        g = Graph(*shape, dtype=dtype)
        x = "x" if clip is None else g.op("Clip", "x", *(g.constant(c) for c in clip))
        return g.model(g.op(op, x, **attributes), rank=len(shape) if rank is None else rank)

    return make


def _shape_of(*sizes: int | str) -> Make:
    def make() -> Model:
        g = Graph(*sizes)
        return g.model(g.op("Reshape", g.op("Relu", "x"), g.op("Shape", "x")))

    return make


def _norm(*turns: list[int], batch: int = 1) -> Make:
    """x plus its norm over these axes, one turn after the other; over all where none is named."""

    def make() -> Model:
        g = Graph(batch, 4, 5, 6)
        norm = "x"
        for axes in turns:
            norm = g.op("ReduceL2", norm, **({"axes": axes} if axes else {}))
        return g.model(g.op("Add", "x", norm))

    return make


_WIDE, _UPPER = {"auto_pad": "SAME_LOWER"}, {"auto_pad": "SAME_UPPER"}
_STRIDED, _SAME = {"strides": [2, 2]}, {"pads": [1] * 4}
_AXES = {"axes": [1, 2, 3], "keepdims": 0}


FLOAT_CASES: dict[str, Case] = {
    "same-lower": Case(
        _window("MaxPool", 2, **_WIDE), _window("MaxPool", 2, pads=[1, 1, 0, 0]),
        _window("MaxPool", 3, **_WIDE),
    ),
    "same-strided": Case(
        _window("Conv", 3, **_UPPER, **_STRIDED), _window("Conv", 3, pads=[0, 0, 1, 1], **_STRIDED),
        _window("Conv", 3, 7, **_UPPER, **_STRIDED),
    ),
    "counted-padding": Case(
        _window("AveragePool", 3, count_include_pad=1, **_SAME), _padded_pool,
        _window("AveragePool", 3, count_include_pad=1),
    ),
    "pointwise-padded": Case(
        _window("Conv", 1, pads=[1, 1, 1, 1]), _padded_convolution(1, 1), _window("Conv", 1)
    ),
    "pointwise-padded-at-one-end": Case(
        _window("Conv", 1, pads=[0, 0, 1, 1]), _padded_convolution(0, 1), _window("Conv", 1)
    ),
    "depthwise-padded-below": Case(
        _depthwise(1, 1, 1, 2, 1), _depthwise(1, 1, 1, 1, 1, rows=1), _depthwise(2, 0, 1, 2, 1),
        least=0.15,
    ),
    "one-dimension-padded-at-one-end": Case(
        _one_dimension(1, 2, 0), _one_dimension(1, 2, 0, before=True), _one_dimension(2, 1, 0)
    ),
    "batchnorm-behind-activation": Case(
        _normalized_behind("SiLU"), _normalized_behind("SiLU", written_out=True),
        _normalized_behind("Selu"), least=0.2,
    ),
    "reduced-over-three": Case(
        _norm([1, 2, 3]), _norm([2, 3], [1]), _norm([0, 2, 3], batch=2), least=0.02
    ),
    "reduced-over-three-between": Case(
        _norm([0, 2, 3], batch=3), _norm([2, 3], [0], batch=3), _norm([1, 2, 3], batch=3),
        least=0.02,
    ),
    "reduced-over-all": Case(_norm([0, 1, 2, 3]), _norm([]), _norm([0, 2, 3])),
    "dilated-pool": Case(
        _window("MaxPool", 3, dilations=[2, 2]), None, _window("MaxPool", 3, dilations=[1, 1])
    ),
    "transposed-size": Case(
        _transposed(**_STRIDED, **_UPPER),
        _transposed(**_STRIDED, **_SAME, output_padding=[1, 1]),
        _transposed(**_STRIDED, **_SAME),
    ),
    "transposed-dilated": Case(_transposed(dilations=[2, 2]), None, _transposed(**_STRIDED)),
    "transposed-1d": Case(
        _transposed_1d(as_2d=False), _transposed_1d(as_2d=True), _transposed(**_STRIDED)
    ),
    "transposed-1d-refused": Case(
        _transposed_1d(as_2d=False), _transposed_1d(as_2d=True), _transposed(**_STRIDED)
    ),
    "transposed-asymmetric": Case(
        _transposed(**_STRIDED, pads=[0, 0, 1, 1]),
        _transposed(**_STRIDED, **_SAME, output_padding=[1, 1]),
        _transposed(**_STRIDED, **_SAME),
    ),
    "gelu-constant-first": Case(
        _gelu_of_parts(one_first=True, half_first=False),
        _gelu_of_parts(one_first=False, half_first=False),
        _gelu_of_parts(one_first=True, half_first=False, half_early=True),
    ),
    "softmax-before-13": Case(_softmax(11, 1), _softmax(11, 1, flat=True), _softmax(11, 2)),
    "broadcast-matmul": Case(
        _matmul((2, 3, 4, 5), (3, 5, 4)), _matmul((2, 3, 4, 5), (2, 3, 5, 4)),
        _matmul((2, 3, 4, 5), (5, 4)),
    ),
    "matmul-vector-shape": Case(
        _matmul((2, 4, 5), (5,), rank=2), None, _matmul((2, 4, 5), (5, 1), rank=3)
    ),
    "matmul-vector": Case(
        _matmul((2, 4, 5), (5,), rank=2), _matmul_squeezed, _matmul((2, 4, 5), (5, 1), rank=3)
    ),
    "prelu-axis": Case(_prelu(4), _prelu(4, 1, 1, transposed=True), _prelu(3, 1, 1), least=0.1),
    "gelu-tanh": Case(_gelu("tanh"), _gelu_written_out, _gelu("none"), least=1.1e-4),
    "swish-alpha": Case(
        _swish(1.702), _swish(1.702, written_out=True), _swish(1.0), least=0.015
    ),
    "resize-nearest": Case(
        _resize("nearest", "half_pixel"), _resize("nearest", "asymmetric"),
        _resize("nearest", "half_pixel", "round_prefer_floor"),
    ),
    "resize-cubic": Case(
        _resize("cubic", "half_pixel"), None, _resize("linear", "half_pixel")
    ),
    "slice-backward": Case(_slice(-1, -9, -1), None, _slice(1, 8, 2)),
    "pad-negative": Case(_pad(-1), _slice(0, 7, 1), _pad(1)),
    "only-new": Case(_normalized("LpNormalization"), None, _normalized("Softmax")),
    "cast-to-float16": Case(_cast(activations=True), _cast(activations=False), one("Relu", 1, 8)),
    "output-of-rank-1": Case(
        one("ReduceMean", 2, 3, 4, 4, rank=1, **_AXES), None,
        one("ReduceMean", 2, 3, 4, 4, rank=2, axes=[2, 3], keepdims=0),
    ),
    "reshape-after-reshape": Case(
        _reshapes((3, 8, 2), (0, 4, -1)), _reshapes((3, 8, 2), (3, 4, -1)),
        _reshapes((1, 8, 6), (0, 4, -1)),
    ),
    "shape-of-free-sizes": Case(
        _shape_of(2, 3, "h", "w"), _shape_of(2, 3, 2, 2), one("Relu", "n", 3, "h")
    ),
    "shape-of-free-batch": Case(
        _shape_of("n", 3, 2, 2), _shape_of(2, 3, 2, 2), one("Relu", "n", 3, 2)
    ),
    "tanh-large": Case(
        one("Tanh", 1, 32), one("Tanh", 1, 32, clip=(-20, 20)), one("Sigmoid", 1, 32),
        x=full(60.0),
    ),
    "logsoftmax-wide": Case(
        one("LogSoftmax", 1, 32), one("LogSoftmax", 1, 32, clip=(-40, 40)),
        one("Softmax", 1, 32), x=full(200.0),
    ),
    "softplus-large": Case(
        one("Softplus", 1, 32), one("Softplus", 1, 32, clip=(-80, 80)), one("Elu", 1, 32),
        x=full(120.0),
    ),
    "int64-input": Case(
        one("Cast", 1, 4, dtype=np.int64, to=1), None, one("Relu", 1, 4),
        x=full(2.0**33),
    ),
}  # fmt: skip
