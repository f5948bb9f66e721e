"""The layer that is at fault is the one that is named: real models on real engines."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from diagnose_nets import (
    applied,
    between,
    branches,
    diagnosed,
    pool_between,
    sigmoid_between,
    with_operator,
    with_scaled_weight,
)

from modelcheck.diagnose import Diagnosis, Origin
from modelcheck.errors import UsageError
from modelcheck.judge import Outcome
from modelcheck.model import Model
from modelcheck.model.permutation import permute_channels
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.transforms.fold_batchnorm import fold_batchnorm

ENGINES = ("cpu:new", "cpu:classic")


def named(found: Diagnosis) -> tuple[str, str]:
    assert found.first is not None
    assert found.worst is not None
    return found.first.part.name, found.worst.part.name


@pytest.mark.parametrize("engine", ENGINES)
def test_models_that_agree_name_no_layer(engine: str) -> None:
    found = diagnosed(branches(), fold_batchnorm()(branches()), engine)
    assert found.outcome is Outcome.PASS
    assert found.first is None
    assert found.worst is None


@pytest.mark.parametrize("layer", ["stem", "left", "right", "side", "main"])
def test_a_planted_fault_is_found_in_every_branch(layer: str) -> None:
    found = diagnosed(branches(), with_scaled_weight(branches(), layer))
    assert found.outcome is Outcome.FAIL
    assert named(found) == (layer, layer)
    assert found.worst is not None
    assert found.worst.origin is Origin.TRANSFORM


def test_of_two_faults_one_is_the_first_and_the_other_the_worst() -> None:
    faulty = with_operator(with_scaled_weight(branches(), "stem", 1.02), "right.sigmoid", "Tanh")
    assert named(diagnosed(branches(), faulty)) == ("stem", "right.sigmoid")


@pytest.mark.parametrize("rewrite", ["nodes renamed", "BatchNormalization folded"])
def test_a_fault_is_found_in_another_form_of_the_model(rewrite: str) -> None:
    change = next(e.rewrite for e in EQUIVALENTS if e.name == rewrite)
    faulty = change(with_scaled_weight(branches(), "stem"), np.random.default_rng(0))
    found = diagnosed(branches(), faulty)
    assert found.worst is not None
    assert "stem" in found.worst.part.layers


def test_a_weight_that_is_not_a_number_is_found() -> None:
    found = diagnosed(branches(), with_scaled_weight(branches(), "left", float("nan")))
    assert named(found) == ("left", "left")


def test_an_error_far_below_the_others_in_size_is_found() -> None:
    """A layer whose inputs are wrong is not at fault."""
    found = diagnosed(branches(), with_scaled_weight(branches(), "stem", 1.001))
    assert named(found) == ("stem", "stem")
    wrong = [layer.part.name for layer in found.layers if layer.origin is not None]
    assert wrong == ["stem"]


def test_a_model_alone_is_held_against_the_reference() -> None:
    found = diagnosed(pool_between(), None, "cpu:classic")
    assert named(found) == ("pool1", "pool1")
    assert found.worst is not None
    assert found.worst.origin is Origin.TARGET
    assert diagnosed(pool_between(), None, "cpu:new").outcome is Outcome.PASS


def test_what_the_target_does_to_the_original_too_is_not_where_the_two_part() -> None:
    found = diagnosed(pool_between(), with_scaled_weight(pool_between(), "conv2"), "cpu:classic")
    assert found.first is not None
    assert found.first.part.name == "conv2"
    pool = next(layer for layer in found.layers if layer.part.name == "pool1")
    assert pool.origin is Origin.TARGET


def test_what_only_a_fusion_breaks_is_found_by_running_layers_as_one() -> None:
    ((_, candidate),) = applied(sigmoid_between(), "quantize:spare=false")
    found = diagnosed(sigmoid_between(), candidate)
    assert found.worst is not None
    assert found.worst.part.name == "sigmoid1"
    assert found.worst.together == ("conv1",)
    assert found.worst.origin is Origin.FORM
    assert diagnosed(sigmoid_between(), candidate, "cpu:classic").worst is not None


def test_the_step_that_brought_the_error_in_is_named() -> None:
    steps = applied(
        sigmoid_between(), "fold-batchnorm", "prune-weights:amount=0.01", "quantize:spare=false"
    )
    found = diagnosed(sigmoid_between(), steps[-1][1], steps=steps)
    assert [step.name for step in found.steps] == ["fold-batchnorm", "prune-weights", "quantize"]
    assert found.guilty_step == 2


def test_a_candidate_that_does_not_load_has_the_layer_that_does_not() -> None:
    model = sigmoid_between()
    edited = model.edit()
    sigmoid = next(n for n in edited.graph if n.name == "sigmoid1")
    rounded = ir.node("DynamicQuantizeLinear", [sigmoid.inputs[0]], num_outputs=3, name="dynamic")
    for i, value in enumerate(rounded.outputs):
        value.name = f"dynamic:{i}"
    back = ir.node("DequantizeLinear", list(rounded.outputs), name="back")
    back.outputs[0].name = "back:y"
    sigmoid.replace_input_with(0, back.outputs[0])
    edited.graph.extend([rounded, back])
    found = diagnosed(model, Model.freeze(edited))
    assert found.outcome is Outcome.FAIL
    assert found.worst is not None
    assert found.worst.part.name == "sigmoid1"
    assert found.worst.trouble


def test_the_figures_of_whole_models_are_split_by_origin() -> None:
    found = diagnosed(branches(), with_scaled_weight(branches(), "left"))
    assert found.transform_db == pytest.approx(found.total_db, abs=0.1)
    assert found.target_db is not None
    assert found.target_db > 100


def test_models_with_other_outputs_are_no_pair() -> None:
    other = between(lambda net, x: x)
    with pytest.raises(UsageError, match="has no output 'side:y'"):
        diagnosed(branches(), other)


@pytest.mark.parametrize("engine", ENGINES)
def test_permuted_channels_are_no_fault(engine: str) -> None:
    permuted = permute_channels(branches(), 1)
    assert permuted.permuted_groups
    found = diagnosed(branches(), permuted.model, engine)
    assert found.outcome is Outcome.PASS
    assert any("permuted" in note for note in found.notes)


def test_a_fault_among_permuted_channels_is_found() -> None:
    faulty = with_scaled_weight(permute_channels(branches(), 1).model, "left", 1.05)
    found = diagnosed(branches(), faulty)
    assert found.outcome is Outcome.FAIL
    assert found.worst is not None
    assert "left" in found.worst.part.layers
