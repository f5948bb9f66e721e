"""Static int8: accurate on trained nets, exact where it can be, nothing left out in silence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import TensorProto
from quantizing import (
    DIGITS,
    Net,
    Quantizer,
    calibration_images,
    digits,
    images,
    judged_images,
    quantizing,
    sqnr_db,
    worst_sqnr_db,
)
from small_graphs import Runner, constant, model, node, normal

from modelcheck.errors import UsageError
from modelcheck.transforms.diff import diff
from modelcheck.transforms.graph import slots
from modelcheck.transforms.quantize import quantize

FORMS = ("qdq", "qoperator")


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with quantizing() as quantizer:
        yield quantizer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DIGITS)
def test_trained_nets_stay_accurate(quantizer, runner: Runner, name, form):
    original = digits(name)
    quantized = quantizer(original, calibration_images(), form=form)
    runner.check(quantized.model)
    expected = runner.onnxruntime(original, judged_images())
    actual = runner.onnxruntime(quantized.model, judged_images())
    assert worst_sqnr_db(expected, actual) >= 25
    scores = next(iter(expected))
    same = expected[scores].argmax(1) == actual[scores].argmax(1)
    assert same.mean() >= 0.99


@pytest.mark.parametrize("options", [{"calibration": "percentile", "percentile": 99.9},
                                     {"activation": "uint8"}, {"per_channel": False},
                                     {"round_last": True}])  # fmt: skip
def test_every_option_stays_accurate(quantizer, runner: Runner, options):
    original = digits("digits_resnet")
    quantized = quantizer(original, calibration_images(), **options)
    expected = runner.onnxruntime(original, judged_images())
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, judged_images())) >= 25


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DIGITS)
def test_every_layer_is_int8_or_named(quantizer, name, form):
    original = digits(name)
    quantized = quantizer(original, calibration_images(5), form=form)
    layers = [slot.layer for slot in slots(original.graph)]
    stored = diff(original, quantized.model).layers_after
    assert set(quantized.left_alone) <= set(layers)
    assert stored.get("int8", 0) == len(layers) - len(quantized.left_alone)
    assert stored.get("int8", 0) >= len(layers) - 1


def test_the_same_samples_give_the_same_model_and_the_input_stays(quantizer):
    original = digits("digits_twohead")
    before = digits("digits_twohead").digest
    first = quantizer(original, calibration_images(5)).model
    assert quantizer(original, calibration_images(5)).model.digest == first.digest
    assert first.digest != before
    assert original.digest == before
    assert original.to_proto() == digits("digits_twohead").to_proto()
    assert first.signature == original.signature


def test_weights_on_the_int8_grid_are_kept_exactly(quantizer):
    net = Net("n", 3, 6, 6)
    net.conv("x", 3, 4)
    steps = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3))
    steps[:, 0, 0, 0] = 127
    scales = np.float32([0.5, 0.013, 1e-3, 7]).reshape(4, 1, 1, 1)
    net.weights["w0"] = (steps * scales).astype(np.float32)
    quantized = quantizer(net.model("conv0", "n", 4, 6, 6), images(0, 1, 3, 6, 6))
    np.testing.assert_array_equal(quantized.model.weights["w0.int8"], steps)
    np.testing.assert_allclose(quantized.stored("w0"), net.weights["w0"], rtol=3e-7)


def test_excluded_layers_are_untouched_and_named(quantizer):
    original = digits("digits_resnet")
    quantized = quantizer(original, calibration_images(5), exclude=["stem.*", "head"])
    assert quantized.left_alone == {"stem.conv": "excluded", "head": "excluded"}
    for name in ("stem.conv", "head"):
        old = next(n for n in original.graph if n.name == name)
        new = next(n for n in quantized.model.graph if n.name == name)
        assert new.op_type == old.op_type
        for value in old.inputs[1:]:
            assert value.name in [v.name for v in new.inputs]
            old_weight, new_weight = (m.weights[value.name] for m in (original, quantized.model))
            np.testing.assert_array_equal(old_weight, new_weight)


def test_an_exclusion_that_names_no_layer_is_an_error(quantizer):
    with pytest.raises(UsageError, match="names no layer"):
        quantizer(digits("digits_mlp"), calibration_images(1), exclude=["haed"])


def test_without_calibration_data_it_says_how_to_give_them():
    with pytest.raises(UsageError, match="--calibration-data"):
        quantize()(digits("digits_mlp"))


def test_a_model_without_layers_is_given_back_itself(quantizer):
    original = model([node("Relu", ["x"], ["y"])], {}, {"x": ["n", 4]}, {"y": ["n", 4]})
    assert quantizer(original, images(0, 1, 4)).model is original


@pytest.mark.parametrize("form", FORMS)
def test_a_quantized_model_is_not_quantized_again(quantizer, form):
    once = quantizer(digits("digits_mlp"), calibration_images(5), form=form).model
    assert quantizer(once, calibration_images(5), form=form).model is once


def test_a_layer_that_was_spared_is_spared_when_the_others_are_quantized_already(quantizer):
    net = Net("n", 4, 3, 3)
    model = net.model(net.conv(net.conv("x", 4, 4), 4, 4), "n", 4, 3, 3)
    once = quantizer(model, images(0, 4, 4, 3, 3))
    assert len(once.left_alone) == 1, "the first convolution is on a small map"
    assert quantizer(once.model, images(0, 4, 4, 3, 3)).model is once.model


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_that_is_always_zero_does_no_harm(quantizer, runner: Runner, form):
    net = Net("n", 3, 6, 6)
    zero = net.op("Mul", ["x", net.weight(1, scale=0)])
    y = net.conv(net.op("Relu", [net.conv(zero, 3, 4)]), 4, 4)
    original = net.model(y, "n", 4, 6, 6)
    quantized = quantizer(original, images(0, 1, 3, 6, 6), form=form)
    for name, weight in quantized.model.weights.items():
        assert not name.endswith(".scale") or (weight > 0).all()
    x = images(99, 1, 3, 6, 6)[0]
    expected = runner.onnxruntime(original, x)
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, x)) >= 30


@pytest.mark.parametrize("form", FORMS)
def test_the_bias_of_dead_and_of_tiny_channels_survives(quantizer, runner: Runner, form):
    net = Net("n", 3, 6, 6)
    y = net.conv("x", 3, 4)
    net.weights["w0"][0] = 0
    net.weights["w0"][1] *= np.float32(1e-12)
    net.weights["w1"][:] = [3.3, -2.2, 1.1, 0.5]
    original = net.model(y, "n", 4, 6, 6)
    quantized = quantizer(original, images(0, 1, 3, 6, 6), form=form)
    x = images(99, 1, 3, 6, 6)[0]
    expected, actual = (runner.onnxruntime(m, x)[y] for m in (original, quantized.model))
    for channel in range(4):
        assert sqnr_db(expected[:, channel], actual[:, channel]) >= 30


def test_a_layer_whose_input_is_not_finite_is_left_alone_and_named(quantizer):
    net = Net("n", 3, 6, 6)
    infinite = net.op("Log", [net.op("Relu", ["x"])])
    bad = net.conv(infinite, 3, 4)
    good = net.conv("x", 3, 4)
    y = net.op("Add", [bad, good])
    quantized = quantizer(net.model(y, "n", 4, 6, 6), images(0, 1, 3, 6, 6))
    assert list(quantized.left_alone) == [bad]
    assert "is not finite" in quantized.left_alone[bad]
    assert quantized.operators().count("QuantizeLinear") == 1


KINDS = {
    "grouped": lambda net: net.conv("x", 8, 16, group=4),
    "depthwise": lambda net: net.conv("x", 8, 8, group=8),
    "strided": lambda net: net.conv("x", 8, 6, strides=[2, 2]),
    "asymmetric": lambda net: net.conv("x", 8, 6, pads=[0, 1, 2, 1]),
    "auto_pad": lambda net: net.op("Conv", ["x", net.weight(6, 8, 3, 3)], auto_pad="SAME_UPPER"),
    "dilated": lambda net: net.conv("x", 8, 6, dilations=[2, 2], pads=[2] * 4),
    "transposed": lambda net: net.op(
        "ConvTranspose", ["x", net.weight(8, 6, 2, 2), net.weight(6)], strides=[2, 2]
    ),
    "transposed and grouped": lambda net: net.op(
        "ConvTranspose", ["x", net.weight(8, 3, 2, 2), net.weight(6)], group=2, strides=[2, 2]
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_convolution(quantizer, runner: Runner, kind, form):
    net = Net("n", 8, 8, 8)
    y = KINDS[kind](net)
    original = net.model(y, "n", "c", "h", "w")
    quantized = quantizer(original, images(0, 1, 8, 8, 8), form=form)
    if form == "qoperator" and kind.startswith("transposed"):
        assert quantized.left_alone == {y: "ONNX has no operator on integers for it"}
        return
    assert not quantized.left_alone
    runner.check(quantized.model)
    x = images(0, 1, 8, 8, 8)[3]
    expected = runner.onnxruntime(original, x)
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, x)) >= 30


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_along_one_and_three_axes(quantizer, runner: Runner, rank, form):
    net = Net("n", 4, *[8] * rank)
    inputs = ["x", net.weight(8, 4, *[3] * rank), net.weight(8)]
    y = net.op("Relu", [net.op("Conv", inputs, pads=[1] * 2 * rank)])
    original = net.model(y, "n", 8, *[8] * rank)
    samples = images(0, 1, 4, *[8] * rank)
    quantized = quantizer(original, samples, form=form)
    assert not quantized.left_alone
    expected = runner.onnxruntime(original, samples[0])
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, samples[0])) >= 30


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attributes", [{}, {"transB": 1}, {"alpha": 0.5, "beta": 2.0}])
@pytest.mark.parametrize("bias", [None, (6,), (1, 6), (1,)])
def test_every_gemm_becomes_an_int8_matrix_product(
    quantizer, runner: Runner, attributes, bias, form
):
    net = Net("n", 12)
    matrix = net.weight(6, 12) if "transB" in attributes else net.weight(12, 6)
    inputs = ["x", matrix] + ([net.weight(*bias)] if bias else [])
    original = net.model(net.op("Gemm", inputs, **attributes), "n", 6)
    quantized = quantizer(original, images(0, 3, 12), form=form)
    assert "Gemm" not in quantized.operators()
    assert not quantized.left_alone
    x = images(0, 3, 12)[2]
    expected = runner.onnxruntime(original, x)
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, x)) >= 30


def test_products_that_int8_cannot_say_are_left_alone_and_named(quantizer):
    net = Net(4, 4)
    first = net.op("Gemm", ["x", net.weight(4, 4)], transA=1)
    second = net.op("MatMul", [net.weight(4, 4), first])
    third = net.op("MatMul", [second, net.weight(2, 4, 4)])
    quantized = quantizer(net.model(third, 2, 4, 4), images(0, 4, 4))
    assert set(quantized.left_alone) == {first, second, third}


def test_layers_that_share_a_weight_share_its_int8(quantizer, runner: Runner):
    net = Net("n", 4, 8, 8)
    shared = net.weight(4, 4, 3, 3)
    y = net.op("Conv", [net.op("Conv", ["x", shared], pads=[1] * 4), shared], pads=[1] * 4)
    original = net.model(y, "n", 4, 8, 8)
    quantized = quantizer(original, images(0, 1, 4, 8, 8))
    int8 = [name for name in quantized.model.weights if name.endswith(".int8")]
    assert int8 == ["w0.int8"]
    assert "w0" not in quantized.model.weights
    x = images(0, 1, 4, 8, 8)[0]
    expected = runner.onnxruntime(original, x)
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, x)) >= 30


def test_weights_may_be_constant_nodes_and_moved_about(quantizer):
    nodes = [
        constant("w", normal(0, 4, 3, 3, 3)),
        node("Conv", ["x", "w"], ["c"], name="c"),
        node("Flatten", ["c"], ["f"]),
        node("Reshape", ["m", "shape"], ["matrix"]),
        node("MatMul", ["f", "matrix"], ["y"], name="m"),
    ]
    weights = {"m": normal(1, 4, 4, 4, 5), "shape": np.array([64, 5])}
    original = model(nodes, weights, {"x": ["n", 3, 6, 6]}, {"y": ["n", 5]})
    quantized = quantizer(original, images(0, 1, 3, 6, 6))
    assert not quantized.left_alone
    assert diff(original, quantized.model).layers_after == {"int8": 2}
    assert "Reshape" not in quantized.operators()


def test_batchnorm_and_constant_add_are_folded_into_the_layer(quantizer, runner: Runner):
    net = Net("n", 3, 6, 6)
    y = net.op("Conv", ["x", net.weight(4, 3, 3, 3)], pads=[1] * 4)
    y = net.op("Add", [y, net.weight(4, 1, 1)])
    statistics = [net.weight(4) for _ in range(4)]
    net.weights[statistics[3]] = np.abs(net.weights[statistics[3]]) + 1
    y = net.conv(net.op("Relu", [net.op("BatchNormalization", [y, *statistics])]), 4, 4)
    y = net.op("Add", [y, net.weight(1, 4, 1, 1)])
    original = net.model(y, "n", 4, 6, 6)
    quantized = quantizer(original, images(0, 1, 3, 6, 6))
    assert {"Add", "BatchNormalization"}.isdisjoint(quantized.operators())
    x = images(0, 1, 3, 6, 6)[0]
    expected = runner.onnxruntime(original, x)
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, x)) >= 30


def test_a_float16_model_keeps_its_inputs_and_outputs(quantizer, runner: Runner):
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="c"),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "v"], ["y"], name="y"),
    ]
    weights = {
        "w": normal(0, 4, 3, 3, 3, dtype=np.float16),
        "v": normal(1, 2, 4, 1, 1, dtype=np.float16),
    }
    original = model(
        nodes, weights, {"x": ["n", 3, 6, 6]}, {"y": ["n", 2, 4, 4]}, dtype=TensorProto.FLOAT16
    )
    samples = [{"x": s["x"].astype(np.float16)} for s in images(0, 1, 3, 6, 6)]
    quantized = quantizer(original, samples)
    assert quantized.model.signature == original.signature
    assert diff(original, quantized.model).layers_after == {"int8": 2}
    expected = runner.onnxruntime(original, samples[0])
    actual = runner.onnxruntime(quantized.model, samples[0])
    assert actual["y"].dtype == np.float16
    assert worst_sqnr_db(expected, actual) >= 30


def test_the_last_results_leave_unrounded_unless_asked(quantizer):
    net = Net("n", 3, 8, 8)
    y = net.conv(net.op("Relu", [net.conv("x", 3, 4)]), 4, 4)
    original = net.model(y, "n", 4, 8, 8)
    makers = {}
    for round_last in (False, True):
        quantized = quantizer(original, images(0, 1, 3, 8, 8), round_last=round_last)
        makers[round_last] = quantized.model.graph.outputs[0].producer().op_type
    assert makers == {False: "Conv", True: "DequantizeLinear"}


def test_branches_of_a_concat_are_rounded_once(quantizer):
    net = Net("n", 3, 6, 6)
    branches = [net.op("Relu", [net.conv("x", 3, 4)]) for _ in range(2)]
    pooled = net.op("MaxPool", [net.op("Concat", branches, axis=1)], kernel_shape=[2, 2])
    quantized = quantizer(net.model(net.conv(pooled, 8, 4), "n", 4, 5, 5), images(0, 1, 3, 6, 6))
    grids = {
        n.inputs[1].name: n.inputs[0].name
        for n in quantized.model.graph
        if n.op_type == "QuantizeLinear"
    }
    assert set(grids) == {"x.scale", f"{pooled}.scale"}


def behind_a_convolution(cut: str, *bounds: float):
    net = Net("n", 3, 8, 8)
    given = [net.conv("x", 3, 8)]
    for bound in bounds:
        given.append(net.weight())
        net.weights[given[-1]] = np.array(bound, np.float32)
    return net.model(net.conv(net.op(cut, given), 8, 4), "n", 4, 8, 8)


@pytest.mark.parametrize("bounds", [(), (0.0, 6.0)])
def test_what_rounding_cuts_off_is_left_to_it(quantizer, runner: Runner, bounds):
    original = behind_a_convolution("Clip" if bounds else "Relu", *bounds)
    samples = [{"x": 0.2 * s["x"]} for s in images(0, 1, 3, 8, 8)]
    quantized = quantizer(original, samples)
    assert {"Relu", "Clip"}.isdisjoint(quantized.operators())
    expected = runner.onnxruntime(original, samples[0])
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, samples[0])) >= 30


@pytest.mark.parametrize("form", FORMS)
def test_a_clip_whose_bounds_are_attributes_is_what_it_is(quantizer, runner: Runner, form):
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="c", pads=[1] * 4),
        node("Clip", ["c"], ["r"], min=1.0, max=6.0),
        node("Conv", ["r", "v"], ["y"], name="y", pads=[1] * 4),
    ]
    weights = {"w": 0.2 * normal(0, 16, 16, 3, 3), "v": 0.2 * normal(1, 16, 16, 3, 3)}
    shape = [1, 16, 16, 16]
    original = model(nodes, weights, {"x": shape}, {"y": shape}, opset=10)
    samples = images(0, *shape)
    quantized = quantizer(original, samples, per_channel=False, form=form, spare=False)
    expected = runner.onnxruntime(original, samples[0])
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, samples[0])) >= 25


@pytest.mark.parametrize("form", FORMS)
def test_a_relu_beside_signed_numbers_still_cuts_off(quantizer, runner: Runner, form):
    net = Net("n", 3, 6, 6)
    cut = net.op("Relu", [net.conv("x", 3, 4)])
    signed = net.op("Tanh", [net.conv("x", 3, 4)])
    y = net.conv(net.op("Concat", [cut, signed], axis=1), 8, 4)
    original = net.model(y, "n", 4, 6, 6)
    quantized = quantizer(original, images(0, 1, 3, 6, 6), form=form)
    x = images(0, 1, 3, 6, 6)[0]
    expected = runner.onnxruntime(original, x)
    assert worst_sqnr_db(expected, runner.onnxruntime(quantized.model, x)) >= 30


@pytest.mark.parametrize("form", FORMS)
def test_a_corrected_bias_keeps_the_mean_of_every_channel(quantizer, runner: Runner, form):
    net = Net("n", 3, 8, 8)
    weight = net.weight(8, 3, 3, 3)
    net.weights[weight][0] *= 40  # one scale for all is coarse for the others
    original = net.model(net.op("Conv", ["x", weight, net.weight(8)]), "n", 8, 6, 6)
    samples = [{"x": s["x"] + 2} for s in images(0, 1, 3, 8, 8)]

    def drift(**options: object) -> float:
        quantized = quantizer(original, samples, per_channel=False, form=form, **options).model
        means = []
        for sample in samples:
            expected, actual = (runner.onnxruntime(m, sample) for m in (original, quantized))
            ((name, array),) = expected.items()
            means.append((actual[name] - array).mean(axis=(0, 2, 3)))
        return float(np.abs(np.mean(means, axis=0))[1:].max())

    assert drift(correct_bias=True) < drift() / 3


def test_percentile_cuts_off_outliers_that_minmax_keeps(quantizer):
    net = Net("n", 3, 32, 32)
    original = net.model(net.conv("x", 3, 4), "n", 4, 32, 32)
    samples = images(0, 1, 3, 32, 32)
    samples[0]["x"].flat[5] = 1000
    scales = {
        calibration: float(
            quantizer(original, samples, calibration=calibration, percentile=99.9)
            .model.weights["x.scale"]
        )
        for calibration in ("minmax", "percentile")
    }  # fmt: skip
    assert scales["minmax"] == pytest.approx(1000 / 255, rel=0.01)
    assert scales["percentile"] == pytest.approx(2 * 3.3 / 255, rel=0.1)


def test_layers_in_subgraphs_are_named(quantizer):
    from onnx import helper

    inner = [node("Conv", ["x", "w"], ["inner_y"], name="inner")]
    value = helper.make_tensor_value_info("inner_y", TensorProto.FLOAT, ["n", 4, 4, 4])
    body = helper.make_graph(inner, "body", [], [value])
    nodes = [
        node("If", ["flag"], ["i"], then_branch=body, else_branch=body, name="choice"),
        node("Conv", ["i", "v"], ["y"], name="outer"),
    ]
    weights = {"w": normal(0, 4, 3, 3, 3), "v": normal(1, 4, 4, 1, 1), "flag": np.array(True)}
    original = model(nodes, weights, {"x": ["n", 3, 6, 6]}, {"y": ["n", 4, 4, 4]})
    quantized = quantizer(original, images(0, 1, 3, 6, 6))
    assert quantized.left_alone == {"inner": "it is in a subgraph of 'choice'"}
    assert "w" in quantized.model.weights
    assert diff(original, quantized.model).layers_after == {"int8": 1}
