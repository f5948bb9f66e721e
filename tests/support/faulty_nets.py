"""For each row of the table of known faults: the smallest net that shows it, and what is right.

`right` is the form that the row's remedy names. `like` is a net that looks much the same, and
must neither be matched nor go wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from int8_graph import STEP, Graph

from modelcheck.model import Model
from modelcheck.model.patterns import ALL, NEW

Make = Callable[[], Model]
# OpenCV and onnxruntime may round a number that lies between two steps to either of them.
INT8_ERROR, FLOAT_ERROR = 0.03, 1e-4


@dataclass(frozen=True)
class Case:
    """Nets of one row. `least` is the smallest error that counts as wrong: half of what was seen.

    `right` None: the remedy is another engine, or nothing that a net could show.
    """

    shows: Make
    right: Make | None
    like: Make
    least: float = 0.3
    x: Callable[[Model], np.ndarray] | None = None  # None: normal numbers


def normal(model: Model) -> np.ndarray:
    """Numbers for the net's input, of which the largest are near 3."""
    (spec,) = model.signature.inputs
    shape = [size or 2 for size in spec.shape or ()]
    random = np.random.default_rng(1)
    if spec.dtype.kind == "f":
        return random.standard_normal(shape).astype(spec.dtype)
    return random.integers(0, 100, shape).astype(spec.dtype)


def _full(value: float) -> Callable[[Model], np.ndarray]:
    """One number everywhere but in the first place."""

    def make(model: Model) -> np.ndarray:
        (spec,) = model.signature.inputs
        x = np.full([size or 1 for size in spec.shape or ()], value).astype(spec.dtype)
        x.reshape(-1)[0] = 0
        return x

    return make


def _int8_conv(
    *shape: int,
    sizes: tuple[int, ...] = (7, 7),
    relu: bool = False,
    rounded: bool = True,
    **attributes: object,
) -> Make:
    """x -> Q -> DQ -> Conv -> Relu? -> (Q -> DQ)?"""

    def make() -> Model:
        groups = attributes.get("group", 1)
        assert isinstance(groups, int)
        g = Graph(1, shape[1] * groups, *sizes)
        y = g.qdq_conv(g.rounded("x"), *shape, **attributes)
        y = g.op("Relu", y) if relu else y
        return g.model(g.rounded(y) if rounded else y, rank=2 + len(sizes))

    return make


def _sigmoid(*, rounded: bool, silu: bool = False) -> Make:
    def make() -> Model:
        g = Graph(1, 8, 8, 8)
        y = g.rounded(g.qdq_conv(g.rounded("x"), 16, 8, 3, 3, pads=[1] * 4))
        z = g.op("Sigmoid", y)
        z = g.rounded(z, 0, 1) if rounded else z
        return g.model(g.rounded(g.op("Mul", y, z)) if silu else z)

    return make


def _arithmetic(op: str, *, rounded: bool) -> Make:
    def make() -> Model:
        g = Graph(1, 8, 8, 8)
        z = g.op(op, g.rounded("x"), g.rounded(g.op("Relu", "x")))
        return g.model(g.rounded(z, -8, 8) if rounded else z)

    return make


def _bias(factor: float | None) -> Make:
    """An int32 bias with so many times the scale it should have; None: in float."""

    def make() -> Model:
        g = Graph(1, 8, 8, 8)
        weight = g.int8_weight(8, 8, 3, 3, fan_in=72)
        if factor is None:
            bias = g.constant(g.normal(8))
        else:
            bias = g.dequantized(g.int32_bias(8, STEP * factor, weight[1]))
        y = g.op("Conv", g.rounded("x"), g.dequantized(weight), bias, pads=[1] * 4)
        return g.model(g.rounded(y))

    return make


def _qgemm(*, bias: bool) -> Make:
    def make() -> Model:
        g = Graph(4, 32)
        weight = g.int8_weight(32, 16, fan_in=32)
        added = g.int32_bias(16, STEP, weight[1])[0] if bias else ""
        grid = g.grid()
        y = g.op("QGemm", *g.quantized("x"), *weight, added, *grid)
        return g.model(g.op("DequantizeLinear", y, *grid), rank=2)

    return make


def _dense(op: str, rows: int, *, bias: str, rounded: bool = True) -> Make:
    """A QDQ Gemm, or MatMul and Add; `bias`: 'int32', 'float' or ''."""

    def make() -> Model:
        g = Graph(rows, 32)
        x, weight = g.rounded("x"), g.int8_weight(32, 16, fan_in=32)
        added = {
            "int32": lambda: [g.dequantized(g.int32_bias(16, STEP, weight[1]))],
            "float": lambda: [g.constant(g.normal(16))],
            "": list,
        }[bias]()
        if op == "Gemm":
            y = g.op("Gemm", x, g.dequantized(weight), *added)
        else:
            y = g.op("MatMul", x, g.dequantized(weight))
            y = g.op("Add", y, *added) if added else y
        return g.model(g.rounded(y) if rounded else y, rank=2)

    return make


def _qlinear_pool(*, counted: int) -> Make:
    def make() -> Model:
        g = Graph(1, 8, 8, 8)
        grid = g.grid()
        pool = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": counted}
        y = g.op("QLinearAveragePool", *g.quantized("x"), *grid, **pool)
        return g.model(g.op("DequantizeLinear", y, *grid))

    return make


def _float_pool() -> Model:
    g = Graph(1, 8, 8, 8)
    y = g.op("AveragePool", g.rounded("x"), kernel_shape=[3, 3], pads=[1] * 4)
    return g.model(y)


def _qlinear_add(rows: int, *shape: int) -> Make:
    def make() -> Model:
        g = Graph(rows, 32)
        grid = g.grid(-8, 8)
        added = [g.constant(g.random.integers(-99, 99, shape), np.int8), g.constant(0.03)]
        y = g.op("QLinearAdd", *g.quantized("x"), *added, g.constant(0, np.int8), *grid)
        return g.model(g.op("DequantizeLinear", y, *grid), rank=2)

    return make


def _qlinear_matmul(*, constant: bool) -> Make:
    def make() -> Model:
        g = Graph(8, 8)
        other = g.int8_weight(8, 8, fan_in=8) if constant else g.quantized("x")
        grid = g.grid(-12, 12)
        y = g.op("QLinearMatMul", *g.quantized("x"), *other, *grid)
        return g.model(g.op("DequantizeLinear", y, *grid), rank=2)

    return make


def _float_matmul() -> Model:
    g = Graph(8, 8)
    return g.model(g.op("MatMul", g.rounded("x"), g.rounded("x")), rank=2)


def _qlinear_conv(*, kernel_shape: bool) -> Make:
    def make() -> Model:
        g = Graph(1, 8, 8, 8)
        y = g.qlinear_conv(g.quantized("x"), 8, 8, 3, 3, kernel_shape=kernel_shape)
        return g.model(g.op("DequantizeLinear", *y))

    return make


def _int8_maxpool(*, int8: bool, rounded: bool) -> Make:
    def make() -> Model:
        g = Graph(1, 8, 8, 8)
        x = g.rounded("x") if int8 else "x"
        y = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        return g.model(g.rounded(y) if rounded else y)

    return make


def _residual(*, shared: bool, deep: bool = True) -> Make:
    """A residual block of two int8 convolutions (or one), whose branches share a dequantizer."""

    def make() -> Model:
        g = Graph(1, 8, 8, 8)
        same = {"pads": [1] * 4}
        grid = g.quantized(g.op("Relu", g.qdq_conv(g.rounded("x"), 8, 8, 3, 3, **same)))
        first = g.op("DequantizeLinear", *grid)
        second = first if shared else g.op("DequantizeLinear", *grid)
        z = first
        if deep:
            z = g.rounded(g.op("Relu", g.qdq_conv(z, 8, 8, 3, 3, **same)))
        z = g.rounded(g.qdq_conv(z, 8, 8, 3, 3, **same))
        y = g.rounded(g.op("Relu", g.op("Add", second, z)))
        return g.model(g.qdq_conv(y, 4, 8, 1, 1))

    return make


def _dynamic() -> Model:
    g = Graph(4, 32)
    weight, x = g.int8_weight(32, 16, fan_in=32), g.quantized("x")
    y = g.op("MatMulInteger", x[0], weight[0], x[2], weight[2])
    return g.model(g.op("Cast", y, to=1), rank=2)


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


def _softmax(opset: int, axis: int, *, flat: bool = False) -> Make:
    def make() -> Model:
        g = Graph(1, 5, 10, opset=opset)
        y = g.op("Flatten", "x") if flat else "x"
        y = g.op("Softmax", y, axis=axis)
        y = g.op("Reshape", y, g.constant([1, 5, 10], np.int64)) if flat else y
        return g.model(y, rank=3)

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


def _one(
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


_WIDE, _UPPER = {"auto_pad": "SAME_LOWER"}, {"auto_pad": "SAME_UPPER"}
_STRIDED, _SAME = {"strides": [2, 2]}, {"pads": [1] * 4}
_AXES = {"axes": [1, 2, 3], "keepdims": 0}

CASES: dict[str, Case] = {
    "int8-tail": Case(
        _int8_conv(16, 16, 1, 1), _int8_conv(16, 16, 1, 1, rounded=False),
        _int8_conv(16, 16, 1, 1, sizes=(8, 8)),
    ),
    "int8-small-map": Case(
        _int8_conv(8, 1, 3, 3, group=8, **_SAME),
        _int8_conv(8, 1, 3, 3, group=8, rounded=False, **_SAME),
        _int8_conv(8, 1, 3, 3, group=8, relu=True, **_SAME),
    ),
    "int8-grouped": Case(
        _int8_conv(24, 4, 3, 3, group=2, sizes=(8, 8), **_SAME),
        _int8_conv(24, 4, 3, 3, group=2, sizes=(8, 8), rounded=False, **_SAME),
        _int8_conv(16, 4, 3, 3, group=2, sizes=(8, 8), **_SAME),
    ),
    "int8-sigmoid": Case(
        _sigmoid(rounded=True), _sigmoid(rounded=False), _sigmoid(rounded=True, silu=True),
    ),
    "int8-arithmetic": Case(
        _arithmetic("Sub", rounded=True), _arithmetic("Sub", rounded=False),
        _arithmetic("Add", rounded=True),
    ),
    "int8-bias-scale": Case(_bias(0.5), _bias(1.0), _bias(None), least=0.15),
    "qgemm-bias": Case(
        _qgemm(bias=True), _dense("MatMul", 4, bias="float"), _qgemm(bias=False)
    ),
    "qlinear-averagepool": Case(_qlinear_pool(counted=0), _float_pool, _qlinear_pool(counted=1)),
    "qlinear-add-constant": Case(
        _qlinear_add(4, 1, 32), _qlinear_add(4, 32), _qlinear_add(1, 1, 32)
    ),
    "qlinear-matmul-activations": Case(
        _qlinear_matmul(constant=False), _float_matmul, _qlinear_matmul(constant=True)
    ),
    "qlinearconv-kernel-shape": Case(
        _qlinear_conv(kernel_shape=False), _qlinear_conv(kernel_shape=True),
        _int8_conv(8, 8, 3, 3),
    ),
    "qdq-gemm-batch": Case(
        _dense("Gemm", 4, bias="int32"), _dense("MatMul", 4, bias="float"),
        _dense("Gemm", 1, bias="int32"),
    ),
    "qdq-gemm": Case(
        _dense("Gemm", 4, bias="int32"), _dense("MatMul", 4, bias="float"),
        _dense("Gemm", 4, bias="float"),
    ),
    "qdq-matmul-bias": Case(
        _dense("MatMul", 1, bias="int32"), _dense("MatMul", 1, bias="float"),
        _dense("MatMul", 4, bias=""),
    ),
    "int8-maxpool": Case(
        _int8_maxpool(int8=True, rounded=False), _int8_maxpool(int8=True, rounded=True),
        _int8_maxpool(int8=False, rounded=False),
    ),
    "shared-dequantizer": Case(
        _residual(shared=True), _residual(shared=False), _residual(shared=True, deep=False),
    ),
    "dynamic-quantization": Case(_dynamic, _dense("MatMul", 4, bias="float"), _one("Relu", 4, 32)),
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
    "cast-to-float16": Case(_cast(activations=True), _cast(activations=False), _one("Relu", 1, 8)),
    "output-of-rank-1": Case(
        _one("ReduceMean", 2, 3, 4, 4, rank=1, **_AXES), None,
        _one("ReduceMean", 2, 3, 4, 4, rank=2, axes=[2, 3], keepdims=0),
    ),
    "shape-of-free-sizes": Case(
        _shape_of(2, 3, "h", "w"), _shape_of(2, 3, 2, 2), _one("Relu", "n", 3, "h")
    ),
    "shape-of-free-batch": Case(
        _shape_of("n", 3, 2, 2), _shape_of(2, 3, 2, 2), _one("Relu", "n", 3, 2)
    ),
    "tanh-large": Case(
        _one("Tanh", 1, 32), _one("Tanh", 1, 32, clip=(-20, 20)), _one("Sigmoid", 1, 32),
        x=_full(60.0),
    ),
    "logsoftmax-wide": Case(
        _one("LogSoftmax", 1, 32), _one("LogSoftmax", 1, 32, clip=(-40, 40)),
        _one("Softmax", 1, 32), x=_full(200.0),
    ),
    "softplus-large": Case(
        _one("Softplus", 1, 32), _one("Softplus", 1, 32, clip=(-80, 80)), _one("Elu", 1, 32),
        x=_full(120.0),
    ),
    "int64-input": Case(
        _one("Cast", 1, 4, dtype=np.int64, to=1), None, _one("Relu", 1, 4),
        x=_full(2.0**33),
    ),
}  # fmt: skip


def _uint8_weights() -> Model:
    g = Graph(1, 8, 8, 8)
    return g.model(g.rounded(g.qdq_conv(g.rounded("x"), 8, 8, 3, 3, dtype=np.uint8)))


def _free_sizes() -> Model:
    g = Graph("n", 3, "h", "w")
    y = g.op("Relu", g.conv("x", 4, 3, 3, 3, pads=[1] * 4))
    return g.model(g.op("Flatten", g.op("GlobalAveragePool", y)), rank=2)


def _conv_of_rank_5() -> Model:
    g = Graph(1, 2, 4, 4, 4)
    return g.model(g.op("Relu", g.conv("x", 3, 2, 3, 3, 3)), rank=5)


# Faults that were told of, and that nets did not show on any engine that runs them.
NOT_FOUND: dict[str, tuple[Make, tuple[str, ...]]] = {
    "QLinearMatMul of two activations": (_qlinear_matmul(constant=False), (NEW,)),
    "weights dequantized from uint8": (_uint8_weights, ALL),
    "float16 inputs": (_one("Cast", 1, 4, 8, 8, dtype=np.float16, to=1), ALL),
    "rank 5": (_conv_of_rank_5, ALL),
    "free sizes": (_free_sizes, ALL),
}
# Rows without a net here, and why.
UNTESTED = {
    "over-2-gib": "takes more than 2 GiB, and was measured once",
    "qdq-conv-unfused": "is about speed: docs/benchmarks.md shows it",
    "reused-net-add": "modelcheck gives no Net a second shape; fixtures/README.md",
    "reused-net-matmul": "modelcheck gives no Net a second shape; fixtures/README.md",
}
