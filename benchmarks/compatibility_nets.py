"""The small nets on which benchmarks/compatibility.py tries every form: fixtures and made ones.

A made net is named after the one thing that it is there for. Its batch is free, its weights and
its inputs come from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelcheck.model import Model, load
from modelcheck.recipe import DataSettings
from modelcheck.testing.net import Net, Tensor

_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
_CHANNELS = 8


@dataclass(frozen=True)
class Subject:
    """A model with its data. `data` writes what is made into the folder."""

    name: str
    load: Callable[[], Model]
    data: Callable[[Path, int], DataSettings]
    trained: bool


def subjects() -> list[Subject]:
    """The fixtures, then the made nets."""
    fixtures = [_fixture(path) for path in sorted(_FIXTURES.glob("*.onnx"))]
    return [*fixtures, *(_made(make) for make in _NETS)]


def _fixture(path: Path) -> Subject:
    def data(folder: Path, count: int) -> DataSettings:
        return DataSettings(path=_FIXTURES / "digits_test.npz", count=count)

    return Subject(path.stem, lambda: load(path), data, trained=True)


def _made(make: Callable[[Net], Tensor]) -> Subject:
    name = make.__name__.strip("_").replace("_", "-")

    def data(folder: Path, count: int) -> DataSettings:
        path = folder / f"{name}.npz"
        if not path.exists():
            (spec,) = build().signature.inputs
            shape = (count, *(size or 1 for size in spec.shape[1:]))
            samples = np.random.default_rng(0).standard_normal(shape)
            np.savez(path, **{spec.name: samples.astype(np.float32)})
        return DataSettings(path=path, count=count)

    def build() -> Model:
        net = Net(batch=None)
        net.outputs.append(make(net))
        return net.model()

    return Subject(name, build, data, trained=False)


def _conv(net: Net, x: Tensor, out: int = _CHANNELS, kernel: int = 3, group: int = 1) -> Tensor:
    """A convolution that keeps the size, with a bias."""
    weight = net.weight((out, x.channels // group, kernel, kernel))
    bias = net.weight((out,), fan_in=32)
    pads = [kernel // 2] * 4
    return net.add("Conv", [x, weight, bias], (out, *x.spatial), group=group, pads=pads)


def _batchnorm(net: Net, x: Tensor) -> Tensor:
    scale, bias, mean = (net.weight((x.channels,), fan_in=32, offset=o) for o in (1.0, 0.0, 0.0))
    variance = net.constant(net.random.uniform(0.5, 2.0, x.channels))
    return net.add("BatchNormalization", [x, scale, bias, mean, variance])


def _relu(net: Net, x: Tensor) -> Tensor:
    return net.add("Relu", [x])


def _stem(net: Net, size: int) -> Tensor:
    """What stands before the thing: a convolution with BatchNormalization and ReLU."""
    return _relu(net, _batchnorm(net, _conv(net, net.input((3, size, size)))))


def _flat(net: Net, x: Tensor) -> Tensor:
    return net.add("Flatten", [x], (int(np.prod(x.shape)),))


def _gemm(net: Net) -> Tensor:
    x = net.input((32,))
    for out in (32, 16):
        weight = net.weight((out, *x.shape))
        x = net.add("Gemm", [x, weight, net.weight((out,), fan_in=32)], (out,), transB=1)
        x = _relu(net, x) if out == 32 else x
    return x


def _matmul_add(net: Net) -> Tensor:
    x = net.input((32,))
    for out in (32, 16):
        weight = net.weight((*x.shape, out), fan_in=32)
        x = net.add("MatMul", [x, weight], (out,))
        x = net.add("Add", [x, net.weight((out,), fan_in=32)])
        x = _relu(net, x) if out == 32 else x
    return x


def _depthwise(net: Net) -> Tensor:
    """3x3 without ReLU, on maps whose H*W 8 does not divide, before a pointwise convolution."""
    x = _batchnorm(net, _conv(net, _stem(net, 7), group=_CHANNELS))
    return _conv(net, net.add("Tanh", [x]), kernel=1)


def _grouped(net: Net) -> Tensor:
    """12 channels a group, which is no multiple of 8, without ReLU; then 4 a group."""
    x = _batchnorm(net, _conv(net, _stem(net, 8), out=24, group=2))
    return _conv(net, net.add("Tanh", [x]), out=16, group=4)


def _pointwise_7x7(net: Net) -> Tensor:
    """1x1 without ReLU, on maps whose H*W 8 does not divide."""
    x = _stem(net, 7)
    return _conv(net, _conv(net, x, out=16, kernel=1), out=16, kernel=1)


def _conv_sigmoid(net: Net) -> Tensor:
    x = net.add("Sigmoid", [_conv(net, _stem(net, 8))])
    return _conv(net, x, kernel=1)


def _silu(net: Net) -> Tensor:
    x = _conv(net, _stem(net, 8))
    return _conv(net, net.add("Mul", [x, net.add("Sigmoid", [x])]))


def _squeeze_excite(net: Net) -> Tensor:
    x = _stem(net, 8)
    s = net.add("GlobalAveragePool", [x], (_CHANNELS, 1, 1))
    s = _conv(net, _relu(net, _conv(net, s, out=4, kernel=1)), kernel=1)
    return _conv(net, net.add("Mul", [x, net.add("Sigmoid", [s])]))


def _average_pool(net: Net) -> Tensor:
    x = _stem(net, 8)
    x = net.add("AveragePool", [x], (_CHANNELS, 4, 4), kernel_shape=[2, 2], strides=[2, 2])
    return _conv(net, x)


def _residual(net: Net) -> Tensor:
    x = _stem(net, 8)
    x = net.add("MaxPool", [x], (_CHANNELS, 4, 4), kernel_shape=[2, 2], strides=[2, 2])
    x = _relu(net, net.add("Add", [x, _conv(net, _relu(net, _conv(net, x)))]))
    x = net.add("GlobalAveragePool", [x], (_CHANNELS, 1, 1))
    return net.add("Gemm", [_flat(net, x), net.weight((_CHANNELS, 10))], (10,))


def _concat(net: Net) -> Tensor:
    x = _stem(net, 8)
    parts = [_relu(net, _conv(net, x, kernel=kernel)) for kernel in (1, 3)]
    return _conv(net, net.add("Concat", parts, (2 * _CHANNELS, *x.spatial), axis=1))


def _transposed(net: Net) -> Tensor:
    x = _stem(net, 4)
    weight = net.weight((_CHANNELS, _CHANNELS, 2, 2), fan_in=_CHANNELS)
    x = net.add("ConvTranspose", [x, weight], (_CHANNELS, 8, 8), strides=[2, 2])
    return _conv(net, _relu(net, x))


_NETS = (
    _gemm, _matmul_add, _depthwise, _grouped, _pointwise_7x7, _conv_sigmoid, _silu,
    _squeeze_excite, _average_pool, _residual, _concat, _transposed,
)  # fmt: skip
