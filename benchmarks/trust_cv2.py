"""Nets that break only on cv2: equal in onnxruntime and on paper, and cv2 runs only one rightly.

What simplifiers do to a model: padding drawn into a pooling, explicit pads written as auto_pad,
1/(1 + exp(-x)) recognized as Sigmoid, a kernel's zero ring cut off. Each original runs rightly on
the engine named, its candidate does not (OPENCV.md). Whoever compares in onnxruntime sees nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from modelcheck.model import Model
from modelcheck.testing.net import Net, Tensor

_CHANNELS, _SIDE = 8, 16


@dataclass(frozen=True)
class Trap:
    """A form that an engine gets wrong, and one of the same function that it gets right."""

    name: str
    engine: str
    sound: Callable[[Net, Tensor], Tensor]
    broken: Callable[[Net, Tensor], Tensor]

    def models(self, seed: int) -> tuple[Model, Model]:
        """(original, candidate), of the same weights."""
        return _model(self.sound, seed), _model(self.broken, seed)


def _model(form: Callable[[Net, Tensor], Tensor], seed: int) -> Model:
    net = Net(seed=seed)
    x = net.input((3, _SIDE, _SIDE))
    weight = net.weight((_CHANNELS, 3, 3, 3))
    x = net.add("Conv", [x, weight], (_CHANNELS, _SIDE, _SIDE), pads=[1, 1, 1, 1])
    y = form(net, net.add("Relu", [x]))
    net.nodes[-1].output[0] = "y"  # in either form
    net.outputs.append(Tensor("y", y.shape))
    return net.model()


def _padded_before(net: Net, x: Tensor) -> Tensor:
    pads = net.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    wide = net.add("Pad", [x, pads], (_CHANNELS, _SIDE + 2, _SIDE + 2))
    return net.add("AveragePool", [wide], x.shape, kernel_shape=[3, 3])


def _padding_counted(net: Net, x: Tensor) -> Tensor:
    return net.add("AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)


def _even(**padding: object) -> Callable[[Net, Tensor], Tensor]:
    def form(net: Net, x: Tensor) -> Tensor:
        weight = net.weight((_CHANNELS, _CHANNELS, 2, 2))
        return net.add("Conv", [x, weight], kernel_shape=[2, 2], **padding)

    return form


def _sigmoid_written_out(net: Net, x: Tensor) -> Tensor:
    power = net.add("Exp", [net.add("Neg", [_of_int8(net, x)])])
    gate = net.add("Reciprocal", [net.add("Add", [power, net.constant([1.0])])])
    return _through_int8(net, gate, 2.0**-8, zero=-128)


def _sigmoid(net: Net, x: Tensor) -> Tensor:
    gate = net.add("Sigmoid", [_of_int8(net, x)])
    return _through_int8(net, gate, 2.0**-8, zero=-128)


def _of_int8(net: Net, x: Tensor) -> Tensor:
    """An int8 convolution in QDQ form that any right engine rounds alike.

    Scales are powers of two, so that its sums are exact; weights are even and the bias is one odd
    step, so that no sum is half of a step of the result.
    """
    taken = _through_int8(net, x, 2.0**-5)
    small = 2 * net.random.integers(-50, 51, (_CHANNELS, _CHANNELS, 3, 3))
    bias = net.constant(np.full(_CHANNELS, 2.0**-12))
    zero, scale = net.constant(0, np.int8), net.constant(2.0**-7)
    held = net.add("DequantizeLinear", [net.constant(small, np.int8), scale, zero], small.shape)
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    return _through_int8(net, net.add("Conv", [taken, held, bias], x.shape, **attributes), 2.0**-3)


def _through_int8(net: Net, x: Tensor, scale: float, zero: int = 0) -> Tensor:
    ends = [net.constant(scale), net.constant(zero, np.int8)]
    return net.add("DequantizeLinear", [net.add("QuantizeLinear", [x, *ends]), *ends])


TRAPS = (
    Trap("padding counted by AveragePool", "classic", _padded_before, _padding_counted),
    Trap("auto_pad SAME_LOWER, even kernel", "new", _even(pads=[1, 1, 0, 0]),
         _even(auto_pad="SAME_LOWER")),
    Trap("auto_pad SAME_LOWER, even kernel", "classic", _even(pads=[1, 1, 0, 0]),
         _even(auto_pad="SAME_LOWER")),
    Trap("Sigmoid behind an int8 convolution", "new", _sigmoid_written_out, _sigmoid),
)  # fmt: skip


def traps(seeds: int) -> Iterator[tuple[Trap, int]]:
    """Every trap with so many seeds."""
    for trap in TRAPS:
        for seed in range(seeds):
            yield trap, seed
