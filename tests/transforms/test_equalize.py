"""equalize: the same function to the last bit, and channels of one size for int8."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from quantizing import Net, Quantizer, images, quantizing, worst_sqnr_db
from small_graphs import Runner

from modelcheck.errors import UsageError
from modelcheck.model import Model
from modelcheck.transforms import Context, equalize, quantize
from modelcheck.transforms.equalize import _Reader  # its algebra in every kind of group
from modelcheck.transforms.graph import Slot


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with quantizing() as made:
        yield made


def unequal(net: Net, weight: str) -> str:
    """Make the output channels of a weight differ a hundredfold."""
    array = net.weights[weight]
    factors = np.logspace(-1, 1, array.shape[0]).reshape(-1, *[1] * (array.ndim - 1))
    net.weights[weight] = (array * factors).astype(np.float32)
    return weight


def plain() -> tuple[Net, str]:
    net = Net("n", 3, 8, 8)
    y = net.op("Conv", ["x", unequal(net, net.weight(8, 3, 3, 3)), net.weight(8)], pads=[1] * 4)
    return net, net.op("Relu", [y])


def dense() -> Model:
    net, y = plain()
    return net.model(net.conv(y, 8, 4), "n", 4, 8, 8)


def depthwise() -> Model:
    net, y = plain()
    y = net.op("Conv", [y, net.weight(8, 1, 3, 3)], pads=[1] * 4, group=8)
    return net.model(net.conv(net.op("LeakyRelu", [y], alpha=0.1), 8, 4), "n", 4, 8, 8)


def grouped() -> Model:
    net, y = plain()
    y = net.op("MaxPool", [y], kernel_shape=[2, 2])
    return net.model(net.op("Conv", [y, net.weight(4, 4, 1, 1)], group=2), "n", 4, 7, 7)


def concatenated() -> Model:
    """Two branches behind one layer, beside one another, before the next."""
    net, y = plain()
    branches = [net.op("Relu", [net.conv(y, 8, 4)]), net.op("Relu", [net.conv(y, 8, 6)])]
    joined = net.op("Concat", branches, axis=1)
    return net.model(net.op("Conv", [joined, net.weight(2, 10, 1, 1)]), "n", 2, 8, 8)


def transposed() -> Model:
    net = Net("n", 3, 8, 8)
    weight = net.weight(3, 4, 2, 2)
    net.weights[weight][:, 1] *= 30
    y = net.op("ConvTranspose", ["x", weight], strides=[2, 2])
    return net.model(net.op("Conv", [y, net.weight(2, 4, 1, 1)]), "n", 2, 16, 16)


MODELS = {
    "dense": dense(), "depthwise": depthwise(), "grouped": grouped(),
    "concatenated": concatenated(), "transposed": transposed(),
}  # fmt: skip
SAMPLES = images(0, 1, 3, 8, 8)


@pytest.mark.parametrize("name", MODELS)
def test_every_bit_stays(quantizer: Quantizer, runner: Runner, name: str) -> None:
    original = MODELS[name]
    changed = equalize()(original, quantizer.context(SAMPLES))
    assert changed is not original
    runner.check(changed)
    x = images(7, 1, 3, 8, 8)[0]
    expected, actual = runner.onnxruntime(original, x), runner.onnxruntime(changed, x)
    assert all(np.array_equal(expected[key], actual[key]) for key in expected)


def test_int8_loses_less_where_small_channels_count_as_much(
    quantizer: Quantizer, runner: Runner
) -> None:
    net, y = plain()
    weight = net.weight(4, 8, 1, 1)
    net.weights[weight] /= np.logspace(-1, 1, 8, dtype=np.float32).reshape(1, -1, 1, 1)
    original = net.model(net.op("Conv", [y, weight]), "n", 4, 8, 8)
    context = quantizer.context(SAMPLES)
    x = images(7, 1, 3, 8, 8)[0]
    expected = runner.onnxruntime(original, x)
    found = {
        key: worst_sqnr_db(expected, runner.onnxruntime(quantize()(model, context), x))
        for key, model in {"as it is": original, "equal": equalize()(original, context)}.items()
    }
    assert found["equal"] > found["as it is"] + 6


def test_what_is_equal_already_stays(quantizer: Quantizer) -> None:
    net = Net("n", 3, 8, 8)
    weight = net.weight(4, 3, 1, 1)
    net.weights[weight] = np.repeat(net.weights[weight][:1], 4, 0)
    second = net.weight(2, 4, 1, 1)
    net.weights[second] = np.repeat(net.weights[second][:, :1], 4, 1)
    y = net.op("Conv", [net.op("Conv", ["x", weight]), second])
    original = net.model(y, "n", 2, 8, 8)
    assert equalize()(original, quantizer.context(SAMPLES)) is original


def test_a_dead_channel_is_left_as_it_is(quantizer: Quantizer, runner: Runner) -> None:
    net, y = plain()
    (weight,) = (n for n, a in net.weights.items() if a.shape == (8, 3, 3, 3))
    (bias,) = (n for n, a in net.weights.items() if a.shape == (8,))
    net.weights[weight][2], net.weights[bias][2] = 0, 0
    original = net.model(net.conv(y, 8, 4), "n", 4, 8, 8)
    changed = equalize()(original, quantizer.context(SAMPLES))
    assert all(np.isfinite(array).all() for array in changed.weights.values())
    expected = runner.onnxruntime(original, SAMPLES[0])
    actual = runner.onnxruntime(changed, SAMPLES[0])
    assert all(np.array_equal(expected[key], actual[key]) for key in expected)


@pytest.mark.parametrize(
    ("then", "reason"), [("Sigmoid", "takes no factors along"), ("output", "leaves the model")]
)
def test_results_that_anything_else_reads_are_left_alone(
    quantizer: Quantizer, then: str, reason: str
) -> None:
    net = Net("n", 3, 8, 8)
    y = net.conv("x", 3, 4)
    y = y if then == "output" else net.conv(net.op(then, [y]), 4, 4)
    original = net.model(y, "n", 4, 8, 8)
    context = quantizer.context(SAMPLES)
    assert equalize()(original, context) is original
    assert any(reason in left.reason for left in context.left_alone)


def test_without_samples_it_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="needs data"):
        equalize()(dense(), Context())


@pytest.mark.parametrize(("groups", "first", "count"), [(1, 2, 3), (2, 0, 6), (6, 0, 6), (2, 3, 2)])
def test_input_channels_lie_where_groups_put_them(groups: int, first: int, count: int) -> None:
    """Against a convolution written as one matrix, with zeros between the groups."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 6 // groups, 1, 1))
    reader = _Reader(Slot(dense().edit().graph.node(0), 1, 1, 0, groups), first)

    def whole(part: np.ndarray) -> np.ndarray:
        full = np.zeros((6, 6))
        for out in range(6):
            group = out // (6 // groups)
            full[out, group * (6 // groups) : (group + 1) * (6 // groups)] = part[out, :, 0, 0]
        return full

    factor = np.arange(2.0, 2.0 + count)
    expected = whole(weight)
    expected[:, first : first + count] *= factor
    assert np.array_equal(whole(reader.scaled(weight, factor)), expected)
    largest = np.abs(whole(weight)).max(axis=0)[first : first + count]
    assert np.array_equal(reader.largest(weight, count), largest)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_weight_that_is_not_finite_spoils_no_other_channel(
    quantizer: Quantizer, value: float
) -> None:
    net, y = plain()
    weight = net.weight(2, 8, 1, 1)
    net.weights[weight][0, 1] = value
    original = net.model(net.op("Conv", [y, weight]), "n", 2, 8, 8)
    assert equalize()(original, quantizer.context(SAMPLES)) is original


def test_numbers_near_the_ends_of_float32_stay(quantizer: Quantizer) -> None:
    net, y = plain()
    weight = net.weight(2, 8, 1, 1)
    net.weights[weight] = np.full_like(net.weights[weight], 3e38)
    original = net.model(net.op("Conv", [y, weight]), "n", 2, 8, 8)
    assert equalize(balance=1.0)(original, quantizer.context(SAMPLES)) is original
