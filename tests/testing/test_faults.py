"""Planted faults move what a model computes; equivalent forms do not."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge import NoiseFloor, Variation
from modelcheck.model import Model, load
from modelcheck.model.permutation import longest_reduction
from modelcheck.testing.faults import EQUIVALENTS, FAULTS, Equivalent, Fault
from modelcheck.testing.models import models
from modelcheck.testing.net import Net
from modelcheck.testing.rounding import rounding_noise
from modelcheck.testing.runner import Outputs, Runner

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TRAINED = ("digits_resnet", "digits_depthwise", "digits_twohead", "digits_mlp", "digits_vit")

# The trained models that have what a fault needs.
CONVOLUTIONAL = ("digits_resnet", "digits_depthwise", "digits_twohead")
NEEDS = {
    "padding moved by one": CONVOLUTIONAL,
    "BatchNormalization's epsilon times 100": CONVOLUTIONAL,
    "BatchNormalization folded": CONVOLUTIONAL,
    "one layer's weight transposed": (*CONVOLUTIONAL, "digits_vit"),
}


@cache
def trained(name: str) -> Model:
    return load(FIXTURES / f"{name}.onnx")


@cache
def images() -> dict[str, np.ndarray]:
    return {"image": np.load(FIXTURES / "digits_test.npz")["image"][:64]}


def worst(a: Outputs, b: Outputs) -> float:
    """max |a - b| / max |a|, over all outputs; infinite where b is not finite."""
    differences = [float(np.abs(b[k] - a[k]).max() / np.abs(a[k]).max()) for k in a]
    return max(d if np.isfinite(d) else np.inf for d in differences)


@cache
def limit(runner: Runner, name: str) -> float:
    """The judge's limit for the exact claim, its noise floor taken from rounding."""
    model = trained(name)
    largest = max(worst(a, b) for a, b in rounding_noise(model, [images()], runner))
    rounding = Variation("rounding", "onnxruntime", {"y": largest}, {})
    return NoiseFloor((rounding,), longest_reduction(model)).limit


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_a_planted_fault_moves_the_outputs_of_a_trained_model(
    runner: Runner, fault: Fault, name: str
) -> None:
    model = trained(name)
    (expected,) = runner.outputs(model, images())
    allowed = limit(runner, name)
    for seed in range(3):
        faulty = fault.plant(model, np.random.default_rng(seed))
        assert (faulty is not None) == (name in NEEDS.get(fault.name, TRAINED))
        if faulty is not None:
            (actual,) = runner.outputs(faulty, images())
            assert worst(expected, actual) > allowed, seed


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("equivalent", EQUIVALENTS, ids=lambda e: e.name)
def test_an_equivalent_form_does_not(runner: Runner, equivalent: Equivalent, name: str) -> None:
    model = trained(name)
    rewritten = equivalent.rewrite(model, np.random.default_rng(0))
    assert (rewritten is not None) == (name in NEEDS.get(equivalent.name, TRAINED))
    if rewritten is not None:
        (expected,), (actual,) = (runner.outputs(m, images()) for m in (model, rewritten))
        assert worst(expected, actual) <= limit(runner, name)


@given(model=models(), seed=st.integers(0, 99))
def test_faults_and_equivalents_are_valid_models_of_the_same_signature(
    runner: Runner, model: Model, seed: int
) -> None:
    before = model.to_proto().SerializeToString(deterministic=True)
    for make in [*(f.plant for f in FAULTS), *(e.rewrite for e in EQUIVALENTS)]:
        made = make(model, np.random.default_rng(seed))
        if made is not None:
            assert made.signature == model.signature
            runner.check(made)
    assert model.to_proto().SerializeToString(deterministic=True) == before


def test_nothing_is_planted_where_there_is_nothing_to_spoil() -> None:
    net = Net()
    net.outputs.append(net.add("Relu", [net.input((3, 4, 4))]))
    model = net.model()
    assert [f.name for f in FAULTS if f.plant(model, np.random.default_rng(0))] == []
    kept = [e.name for e in EQUIVALENTS if e.rewrite(model, np.random.default_rng(0))]
    assert kept == ["itself", "nodes renamed"]


def test_a_renamed_model_differs_only_in_names() -> None:
    model = trained("digits_resnet")
    renamed = EQUIVALENTS[2].rewrite(model, np.random.default_rng(0))
    assert renamed is not None
    assert renamed != model
    assert [n.op_type for n in renamed.graph] == [n.op_type for n in model.graph]
    assert not {n.name for n in renamed.graph} & {n.name for n in model.graph}
