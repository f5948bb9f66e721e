"""Other forms of the same mathematics: the same function, and really another form."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from modelcheck.data import open_samples
from modelcheck.model import Model, load
from modelcheck.model.static import Static
from modelcheck.process import Workspace
from modelcheck.reference import ReferenceActivations, open_reference
from modelcheck.testing.models import models, sample
from modelcheck.testing.net import Net
from modelcheck.testing.runner import Runner
from modelcheck.transforms import Context, quantize, quantize_weights
from modelcheck.verification.variations import (
    channels_permuted,
    sums_split,
    weights_as_floats,
    weights_rounded,
)

SUMS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@cache
def quantized() -> Model:
    net = load(FIXTURES / "digits_resnet.onnx")
    samples = open_samples(FIXTURES / "digits_calibration.npz", net.signature, count=16)
    with Workspace() as workspace, open_reference(net, workspace) as reference:
        activations = ReferenceActivations(reference, samples, workspace)
        return quantize(form="qdq").apply(net, Context(activations=activations))


def difference(runner: Runner, a: Model, b: Model) -> float:
    """max |a - b| / max |a| over the outputs, on one sample."""
    x = sample(a.signature)
    (expected,), (actual,) = runner.outputs(a, x), runner.outputs(b, x)
    return max(
        float(np.abs(expected[k] - actual[k]).max() / max(1e-3, np.abs(expected[k]).max()))
        for k in expected
    )


@given(models())
def test_split_sums_are_the_same_function(runner: Runner, model: Model) -> None:
    split = sums_split(model, 3)
    if split is not None:
        assert split.digest != model.digest
        assert difference(runner, model, split) < 1e-3
        assert split.signature == model.signature


@given(models())
def test_weights_rounded_anew_differ_in_their_last_bits(model: Model) -> None:
    rounded = weights_rounded(model, 3)
    if rounded is None:
        return
    before = {n.name: n for n in model.graph}
    for node in rounded.graph:
        if node.op_type != "Conv":
            continue
        kept = Static(model.graph, model.opset).constant(before[node.name].inputs[1])
        anew = Static(rounded.graph, rounded.opset).constant(node.inputs[1])
        assert kept is not None
        assert anew is not None
        np.testing.assert_array_max_ulp(kept, anew, 2)
    assert rounded.signature == model.signature


@given(models())
def test_weights_rounded_anew_are_the_same_function(runner: Runner, model: Model) -> None:
    rounded = weights_rounded(model, 3)
    if rounded is not None:
        assert rounded.digest != model.digest or not any(n.op_type in SUMS for n in model.graph)
        assert difference(runner, model, rounded) < 1e-3


def test_a_layer_alone_is_split_under_the_name_of_its_output(runner: Runner) -> None:
    net = Net()
    x = net.input((3, 8, 8))
    net.outputs.append(net.add("Conv", [x, net.weight((4, 3, 3, 3))], (4, 6, 6)))
    model = net.model()
    split = sums_split(model, 0)
    assert split is not None
    assert [node.op_type for node in split.graph] == ["Conv", "Conv", "Add"]
    assert difference(runner, model, split) < 1e-6


def test_other_seeds_split_otherwise() -> None:
    model = load(FIXTURES / "digits_mlp.onnx")
    first, second = sums_split(model, 0), sums_split(model, 1)
    assert first is not None
    assert second is not None
    assert first.digest != second.digest


@pytest.mark.parametrize("form", [weights_as_floats, lambda m: channels_permuted(m, 2)])
def test_a_quantized_net_has_other_forms_too(runner: Runner, form: object) -> None:
    model = quantized()
    other = form(model)  # type: ignore[operator]
    assert other is not None
    assert other.digest != model.digest
    # A rounding the other way somewhere moves the outputs by one step of int8 at most.
    assert difference(runner, model, other) < 1e-2


def test_weights_alone_in_int8_become_the_floats_that_they_stand_for(runner: Runner) -> None:
    model = quantize_weights()(load(FIXTURES / "digits_mlp.onnx"))
    floats = weights_as_floats(model)
    assert floats is not None
    assert not any(node.op_type == "DequantizeLinear" for node in floats.graph)
    assert difference(runner, model, floats) < 1e-6


def test_a_model_without_anything_of_the_kind_has_no_such_form() -> None:
    net = Net()
    net.outputs.append(net.add("Relu", [net.input((3, 4, 4))]))
    model = net.model()
    assert channels_permuted(model, 0) is None
    assert sums_split(model, 0) is None
    assert weights_as_floats(model) is None
