"""The int8 steps of weights: exact on their grid, and better than the nearest where they learn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from quantizing import (
    DIGITS,
    Net,
    Quantizer,
    calibration_images,
    digits,
    images,
    judged_images,
    quantizing,
    worst_sqnr_db,
)
from small_graphs import Runner

from modelcheck.transforms import second_moments as measuring
from modelcheck.transforms.calibration import nearest_steps, weight_scale
from modelcheck.transforms.graph import slots
from modelcheck.transforms.layer_products import patches, rows_of, weight_of

WAYS = (
    {"weight_range": "mse"},
    {"rounding": "learned"},
    {"weight_range": "mse", "rounding": "learned", "correct_bias": True},
)


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with quantizing() as quantizer:
        yield quantizer


LAYERS = {
    "plain": lambda net: net.conv("x", 8, 6),
    "grouped": lambda net: net.conv("x", 8, 16, group=4),
    "depthwise": lambda net: net.conv("x", 8, 16, group=8),
    "strided": lambda net: net.conv("x", 8, 6, strides=[2, 3]),
    "asymmetric": lambda net: net.conv("x", 8, 6, pads=[0, 1, 2, 1]),
    "same upper": lambda net: net.op(
        "Conv", ["x", net.weight(6, 8, 4, 3)], auto_pad="SAME_UPPER", strides=[1, 2]
    ),
    "same lower": lambda net: net.op(
        "Conv", ["x", net.weight(6, 8, 4, 3)], auto_pad="SAME_LOWER", strides=[2, 1]
    ),
    "valid": lambda net: net.op("Conv", ["x", net.weight(6, 8, 3, 3)], auto_pad="VALID"),
    "dilated": lambda net: net.conv("x", 8, 6, dilations=[2, 1], pads=[2, 0, 1, 1]),
    "product": lambda net: net.op("MatMul", ["x", net.weight(7, 5)]),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_times_patches_are_what_the_layer_gives(runner: Runner, kind: str) -> None:
    net = Net("n", 8, 9, 7)
    y = LAYERS[kind](net)
    for name, array in net.weights.items():
        if array.ndim == 1:
            net.weights[name] = np.zeros_like(array)
    original = net.model(y, "n", "c", "h", "w")
    (slot,) = slots(original.graph)
    weight = next(array for array in net.weights.values() if array.ndim > 1)
    x = images(0, 2, 8, 9, 7)[0]["x"]
    expected = runner.onnxruntime(original, {"x": x})[y]
    if kind == "product":
        expected = np.moveaxis(expected, -1, 1)
    rows = rows_of(slot, weight)
    np.testing.assert_array_equal(weight_of(slot, rows, weight.shape), weight)
    everywhere = patches(slot, x, weight.shape, 10**9, np.random.default_rng(0))
    given = rows @ everywhere.transpose(0, 2, 1)
    given = given.reshape(-1, given.shape[-1])
    flat = np.moveaxis(expected, 1, 0).reshape(expected.shape[1], -1)
    np.testing.assert_allclose(given, flat, atol=1e-5)
    some = patches(slot, x, weight.shape, 20, np.random.default_rng(0))
    assert some.shape == (rows.shape[0], 20, rows.shape[2])
    assert {p.tobytes() for p in some[0]} <= {p.tobytes() for p in everywhere[0]}


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_on_their_grid_are_kept_exactly(quantizer, options, per_channel) -> None:
    net = Net("n", 4, 6, 6)
    net.conv("x", 4, 4, group=2)
    y = net.op("MatMul", ["conv0", net.weight(6, 5)])
    random, scale = np.random.default_rng(0), np.float32(0.013)
    steps = {
        "w0": random.integers(-127, 128, (4, 2, 3, 3)),
        "w2": random.integers(-127, 128, (6, 5)),
    }
    steps["w0"][:, 0, 0, 0] = 127
    steps["w2"][0] = -127
    for name, array in steps.items():
        net.weights[name] = (array * scale).astype(np.float32)
    given = quantizer(
        net.model(y, "n", 4, 6, 5), images(0, 1, 4, 6, 6), per_channel=per_channel, **options
    )
    assert not given.left_alone
    for name, array in steps.items():
        np.testing.assert_array_equal(given.model.weights[f"{name}.int8"], array)


def correlated(seed: int, *shape: int, count: int = 8) -> list[dict[str, np.ndarray]]:
    """Samples whose neighbours and channels are much alike, as those of images are."""
    return [{"x": 0.2 * s["x"] + s["x"].mean(axis=1, keepdims=True) + 1}
            for s in images(seed, *shape, count=count)]  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_what_is_learned_changes_results_less_on_samples_not_seen(
    quantizer, runner: Runner, kind
) -> None:
    net = Net("n", 8, 9, 7)
    y = LAYERS[kind](net)
    for array in net.weights.values():
        array.flat[0] *= 30  # one coarse scale for all, so that weights are what is lost
    original = net.model(y, "n", "c", "h", "w")
    judged = correlated(100, 1, 8, 9, 7)

    def error(**options: object) -> float:
        made = quantizer(original, correlated(0, 1, 8, 9, 7), per_channel=False, **options)
        assert not made.left_alone
        runner.check(made.model)
        return sum(
            float(
                (
                    (runner.onnxruntime(original, s)[y] - runner.onnxruntime(made.model, s)[y]) ** 2
                ).sum()
            )
            for s in judged
        )

    assert error(rounding="learned") < error()


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("name", DIGITS)
def test_trained_nets_stay_accurate(quantizer, runner: Runner, name, options) -> None:
    original = digits(name)
    made = quantizer(original, calibration_images(20), **options)
    expected = runner.onnxruntime(original, judged_images())
    assert worst_sqnr_db(expected, runner.onnxruntime(made.model, judged_images())) >= 25


@pytest.mark.parametrize(
    "what", ["equal samples", "nearly zero", "nearly constant", "dead channels"]
)
def test_it_learns_of_inputs_that_say_little(quantizer, runner: Runner, what) -> None:
    net = Net("n", 8, 9, 9)
    original = net.model(net.op("Relu", [net.conv("x", 8, 6)]), "n", 6, 9, 9)
    samples = images(0, 1, 8, 9, 9, count=4)
    for sample in samples:
        if what == "equal samples":
            sample["x"][:] = samples[0]["x"]
        elif what == "nearly zero":
            sample["x"][:, 1:] = 0
        elif what == "nearly constant":
            sample["x"][:, 1:] = 3
        elif what == "dead channels":
            sample["x"][:, ::2] = 0
    made = quantizer(original, samples, rounding="learned", correct_bias=True)
    assert not made.left_alone
    expected, actual = (runner.onnxruntime(m, samples[0]) for m in (original, made.model))
    assert worst_sqnr_db(expected, actual) >= 30


def test_a_layer_that_cannot_learn_keeps_its_nearest_steps(quantizer) -> None:
    """A transposed convolution, and a weight that two layers read in other groups."""
    net = Net("n", 4, 6, 6)
    shared = net.weight(8, 2, 3, 3)
    first = net.op("Conv", ["x", shared], group=2, pads=[1] * 4)
    narrow = net.op("Conv", [first, net.weight(2, 8, 1, 1)])
    second = net.op("Conv", [narrow, shared], pads=[1] * 4)
    y = net.op("ConvTranspose", [second, net.weight(8, 3, 2, 2)], strides=[2, 2])
    original = net.model(y, "n", 3, 12, 12)
    samples = images(0, 1, 4, 6, 6)
    plain, learned = (
        quantizer(original, samples, rounding=r, spare=False) for r in ("nearest", "learned")
    )
    assert not learned.left_alone
    for name in (shared, "w2"):
        np.testing.assert_array_equal(
            plain.model.weights[f"{name}.int8"], learned.model.weights[f"{name}.int8"]
        )


def test_layers_that_share_a_weight_learn_one_set_of_steps(quantizer, runner: Runner) -> None:
    net = Net("n", 4, 8, 8)
    shared = net.weight(4, 4, 3, 3)
    y = net.op("Conv", [net.op("Conv", ["x", shared], pads=[1] * 4), shared], pads=[1] * 4)
    original = net.model(y, "n", 4, 8, 8)
    samples = images(0, 1, 4, 8, 8)
    made = quantizer(original, samples, rounding="learned", correct_bias=True)
    assert [name for name in made.model.weights if name.endswith(".int8")] == ["w0.int8"]
    expected = runner.onnxruntime(original, samples[0])
    assert worst_sqnr_db(expected, runner.onnxruntime(made.model, samples[0])) >= 30


def test_moments_held_a_few_at_a_time_are_the_same(quantizer, monkeypatch) -> None:
    original, samples = digits("digits_depthwise"), calibration_images(5)
    together = quantizer(original, samples, rounding="learned").model
    drawn = measuring._POSITIONS
    monkeypatch.setattr(measuring, "_POSITIONS", 10**9)  # all: else other ones are drawn
    everywhere = quantizer(original, samples, rounding="learned").model
    monkeypatch.setattr(measuring, "_HELD_BYTES", 1)
    assert quantizer(original, samples, rounding="learned").model == everywhere
    assert drawn < 10**9
    assert set(together.weights) == set(everywhere.weights)


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("tail", [1.0, 40.0])
def test_the_range_of_least_squares_loses_no_more_than_the_whole(axis, tail) -> None:
    weight = np.random.default_rng(0).normal(size=(6, 500)).astype(np.float32)
    weight[0, 3] = tail
    weight = weight.T if axis == 1 else weight
    x_scale = np.float32(0.1)

    def lost(chosen_by: str) -> np.ndarray:
        scale = weight_scale(weight, axis, bias=None, x_scale=x_scale, chosen_by=chosen_by)
        shape = [-1 if i == axis else 1 for i in range(2)] if axis is not None else []
        rounded = nearest_steps(weight, scale, axis) * scale.reshape(shape)
        others = tuple(i for i in range(2) if i != axis)
        return np.asarray(((weight - rounded) ** 2).sum(axis=others))

    whole, least = lost("max"), lost("mse")
    assert (least <= whole * (1 + 1e-5)).all()
    assert least.sum() < whole.sum()


def test_a_bias_still_fits_where_the_range_is_narrowed() -> None:
    weight = np.full((2, 9), 1e-9, np.float32)
    bias, x_scale = np.float32([5.0, 0.0]), np.float32(0.01)
    scale = weight_scale(weight, 0, bias=bias, x_scale=x_scale, chosen_by="mse")
    assert 5.0 / (float(x_scale) * float(scale[0])) <= 2**30 * 1.001
