"""The rows of quantized networks."""

from __future__ import annotations

import numpy as np
from faulty_case import Case, Make
from int8_graph import STEP, Graph

from modelcheck.model import Model

_SAME = {"pads": [1] * 4}


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


def qlinear_matmul(*, constant: bool) -> Make:
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


INT8_CASES: dict[str, Case] = {
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
        qlinear_matmul(constant=False), _float_matmul, qlinear_matmul(constant=True)
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
    "dynamic-quantization": Case(
        _dynamic, _dense("MatMul", 4, bias="float"), _dense("MatMul", 4, bias="")
    ),
}  # fmt: skip
