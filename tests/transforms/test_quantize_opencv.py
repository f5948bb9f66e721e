"""OpenCV computes the quantized models that `quantize` writes as onnxruntime does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from small_graphs import CLASSIC, NEW, Runner

from modelcheck.errors import ModelcheckError
from modelcheck.model import Model

FORMS = ("qdq", "qoperator")
ENGINES = {"classic": CLASSIC, "new": NEW}
# Both compute in int8 with the same grids; what differs is a rounding of a few of the numbers.
SAME_DB = 35


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with quantizing() as quantizer:
        yield quantizer


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DIGITS)
def test_trained_nets_give_what_onnxruntime_gives(quantizer, runner: Runner, name, form, engine):
    quantized = quantizer(digits(name), calibration_images(20), form=form).model
    for count in (1, 50):
        inputs = judged_images(count)
        expected = runner.onnxruntime(quantized, inputs)
        actual = runner.opencv(quantized, inputs, engine=ENGINES[engine])
        assert worst_sqnr_db(expected, actual) >= SAME_DB


def _grouped() -> Model:
    net = Net(1, 8, 8, 8)
    y = net.conv(net.op("Tanh", [net.conv("x", 8, 24, group=2)]), 24, 4)
    return net.model(y, 1, 4, 8, 8)


def _depthwise() -> Model:
    net = Net(1, 8, 7, 7)
    y = net.conv(net.op("Tanh", [net.conv("x", 8, 8, group=8)]), 8, 32)
    return net.model(y, 1, 32, 7, 7)


def _pointwise() -> Model:
    net = Net(1, 8, 7, 7)
    y = net.conv(net.op("Tanh", [net.conv("x", 8, 32, 1)]), 32, 32)
    return net.model(y, 1, 32, 7, 7)


def _small_map() -> Model:
    net = Net(1, 8, 7, 7)
    y = net.conv(net.op("Tanh", [net.conv("x", 8, 8)]), 8, 32)
    return net.model(y, 1, 32, 7, 7)


def _sigmoid() -> Model:
    net = Net(1, 8, 8, 8)
    y = net.conv(net.op("Sigmoid", [net.conv("x", 8, 16)]), 16, 4)
    return net.model(y, 1, 4, 8, 8)


def _pooled() -> Model:
    net = Net(1, 8, 8, 8)
    y = net.op("MaxPool", [net.conv("x", 8, 16)], kernel_shape=[2, 2], strides=[2, 2])
    return net.model(net.op("Tanh", [y]), 1, 16, 4, 4)


# What the new engine of OpenCV 5.0.0 gets wrong in the plainest int8 form.
FAULTS: dict[str, Callable[[], Model]] = {
    "grouped": _grouped,
    "depthwise": _depthwise,
    "pointwise": _pointwise,
    "small map": _small_map,
    "sigmoid": _sigmoid,
    "pooled": _pooled,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FAULTS)
def test_known_faults_of_an_engine_are_avoided(quantizer, runner: Runner, name, form, engine):
    quantized = quantizer(FAULTS[name](), images(0, *_shape(name)), form=form).model
    x = images(50, *_shape(name))[0]
    expected = runner.onnxruntime(quantized, x)
    actual = runner.opencv(quantized, x, engine=ENGINES[engine])
    assert worst_sqnr_db(expected, actual) >= SAME_DB


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FAULTS)
def test_sparing_has_a_reason(quantizer, runner: Runner, name, form):
    """When this fails for a new OpenCV, a fault is gone: let `spare` no longer avoid it."""
    options = {"form": form, "spare": False}
    quantized = quantizer(FAULTS[name](), images(0, *_shape(name)), **options).model
    assert not quantizer(FAULTS[name](), images(0, *_shape(name)), **options).left_alone
    x = images(50, *_shape(name))[0]
    expected = runner.onnxruntime(quantized, x)
    if name == "pooled":
        with pytest.raises(ModelcheckError, match="CV_8SC1"):
            runner.opencv(quantized, x, engine=NEW)
    else:
        actual = runner.opencv(quantized, x, engine=NEW)
        assert worst_sqnr_db(expected, actual) < 25


def test_layers_that_are_spared_are_named(quantizer):
    for name in ("grouped", "depthwise", "pointwise", "small map"):
        for form in FORMS:
            left = quantizer(FAULTS[name](), images(0, *_shape(name)), form=form).left_alone
            assert list(left) == ["conv0"]
            assert "OpenCV 5.0's new engine" in left["conv0"]
    left = quantizer(_sigmoid(), images(0, *_shape("sigmoid")), form="qoperator").left_alone
    assert list(left) == ["conv0"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("engine", ENGINES)
def test_residual_blocks_and_convolutions_without_kernel_shape(
    quantizer, runner: Runner, engine, form
):
    net = Net(1, 8, 12, 12)
    y = net.op("Relu", [net.conv("x", 8, 16)])
    z = net.conv(net.op("Relu", [net.conv(y, 16, 16)]), 16, 16)
    y = net.conv(net.op("Relu", [net.op("Add", [y, z])]), 16, 4)
    original = net.model(y, 1, 4, 12, 12)
    quantized = quantizer(original, images(0, 1, 8, 12, 12), form=form)
    assert not quantized.left_alone
    x = images(50, 1, 8, 12, 12)[0]
    expected = runner.onnxruntime(quantized.model, x)
    actual = runner.opencv(quantized.model, x, engine=ENGINES[engine])
    assert worst_sqnr_db(expected, actual) >= SAME_DB
    assert np.isfinite(actual[y]).all()


def _shape(name: str) -> tuple[int, ...]:
    spec = FAULTS[name]().signature.inputs[0]
    return tuple(d or 1 for d in spec.shape or ())
