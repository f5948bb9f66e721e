"""Planted faults move what a model computes; equivalent forms do not."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from modelcheck.model import Model, load
from modelcheck.model.saving import write_private
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.testing.faults import FAULTS
from modelcheck.testing.float64 import Arrays, Float64, moved, outputs
from modelcheck.testing.models import models, sample
from modelcheck.testing.net import Net, Tensor
from modelcheck.testing.planting import Equivalent, Fault
from modelcheck.testing.runner import Runner

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TRAINED = ("digits_resnet", "digits_depthwise", "digits_twohead", "digits_mlp", "digits_vit")
IMAGES = [{"image": np.load(FIXTURES / "digits_test.npz")["image"][i : i + 8]} for i in (0, 8)]

# A fault that counts moves an output by more (issue 4); a rewrite rounds weights to float32 once.
COUNTS, ROUNDING = 1e-5, 1e-6


@cache
def trained(name: str) -> Model:
    return load(FIXTURES / f"{name}.onnx")


@cache
def operators() -> Model:
    """What real models have and the trained fixtures have not."""
    net = Net(seed=1)
    x = net.input((4, 6, 6))
    y = net.add("Conv", [x, net.weight((4, 4, 3, 3))], pads=[1] * 4)
    step, zero = net.constant(2.0**-5), net.constant(0, np.int8)
    y = net.add("DequantizeLinear", [net.add("QuantizeLinear", [y, step, zero]), step, zero])
    pads = net.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    y = net.add("Pad", [y, pads], (4, 8, 8))
    y = net.add("Conv", [y, net.weight((4, 4, 3, 3))], (4, 6, 6))
    bounds = [net.constant([n], np.int64) for n in (1, 5, 3)]
    y = net.add("Slice", [y, *bounds], (4, 6, 4))
    y = net.add("HardSigmoid", [y], alpha=0.2)
    y = net.add("Transpose", [y], (4, 6, 4), perm=[0, 3, 2, 1])
    scales = net.constant([1.0, 1.0, 2.0, 2.0])
    y = net.add("Resize", [y, "", scales], (4, 12, 8), mode="linear")
    net.outputs.append(net.add("Concat", [y, net.add("Neg", [y])], (8, 12, 8), axis=1))
    return net.model()


@cache
def recurrent() -> Model:
    net = Net(seed=1)
    x = net.input((3, 4))
    weights = [net.weight((1, 20, n)) for n in (4, 5)]
    net.nodes.append(helper.make_node("LSTM", [x.name, *weights], ["y"], "n", hidden_size=5))
    net.outputs.append(Tensor("y", (1, 3, 5)))
    return net.model()


def evaluated(model: Model, folder: Path) -> list[Arrays]:
    path = folder / "model.onnx"
    write_private(model, path)
    return outputs(path, IMAGES)


def furthest(expected: list[Arrays], actual: list[Arrays]) -> float:
    return max(moved(a, b) for a, b in zip(expected, actual, strict=True))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_a_planted_fault_moves_the_outputs(tmp_path: Path, fault: Fault) -> None:
    """Of every trained model that has what it needs, or of a small net of rarer operators."""
    planted = 0
    for name in TRAINED:
        faulty = fault.plant(trained(name), np.random.default_rng(5))
        if faulty is not None:
            planted += 1
            before, after = evaluated(trained(name), tmp_path), evaluated(faulty, tmp_path)
            assert furthest(before, after) > COUNTS, name
    for model in () if planted else (operators(), recurrent()):
        faulty = fault.plant(model, np.random.default_rng(5))
        if faulty is not None:
            planted += 1
            arrays = sample(model.signature)
            before, after = (Float64(m.to_proto()).run(arrays) for m in (model, faulty))
            assert moved(before, after) > COUNTS
    assert planted


@pytest.mark.parametrize("equivalent", EQUIVALENTS, ids=lambda e: e.name)
def test_an_equivalent_form_does_not(tmp_path: Path, equivalent: Equivalent) -> None:
    for name in TRAINED:
        rewritten = equivalent.rewrite(trained(name), np.random.default_rng(5))
        if rewritten is not None:
            before, after = evaluated(trained(name), tmp_path), evaluated(rewritten, tmp_path)
            assert furthest(before, after) < ROUNDING, name


@pytest.mark.long
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


@pytest.mark.long
@given(model=models(), seed=st.integers(0, 99))
def test_equivalent_forms_of_any_model_are_equal_in_float64(model: Model, seed: int) -> None:
    arrays = sample(model.signature, seed)
    expected = Float64(model.to_proto()).run(arrays)
    for equivalent in EQUIVALENTS:
        made = equivalent.rewrite(model, np.random.default_rng(seed))
        if made is not None:
            assert moved(expected, Float64(made.to_proto()).run(arrays)) < 1e-4, equivalent.name


def test_names_of_kinds_are_unique_and_many() -> None:
    assert len({f.name for f in FAULTS}) == len(FAULTS) >= 22
    assert len({e.name for e in EQUIVALENTS}) == len(EQUIVALENTS)


def test_nothing_is_planted_where_there_is_nothing_to_spoil() -> None:
    net = Net()
    net.outputs.append(net.add("Sqrt", [net.input((3, 4, 4))]))
    model = net.model()
    assert [f.name for f in FAULTS if f.plant(model, np.random.default_rng(0))] == []
    kept = [e.name for e in EQUIVALENTS if e.rewrite(model, np.random.default_rng(0))]
    assert kept == ["itself", "nodes renamed"]


def test_a_renamed_model_differs_only_in_names() -> None:
    model = trained("digits_resnet")
    rename = next(e for e in EQUIVALENTS if e.name == "nodes renamed")
    renamed = rename.rewrite(model, np.random.default_rng(0))
    assert renamed is not None
    assert renamed != model
    assert [n.op_type for n in renamed.graph] == [n.op_type for n in model.graph]
    assert not {n.name for n in renamed.graph} & {n.name for n in model.graph}


def test_a_reordered_model_holds_the_same_nodes_in_another_order() -> None:
    model = trained("digits_resnet")
    reorder = next(e for e in EQUIVALENTS if e.name == "nodes reordered")
    reordered = reorder.rewrite(model, np.random.default_rng(0))
    assert reordered is not None
    before, after = ([n.name for n in m.graph] for m in (model, reordered))
    assert before != after
    assert sorted(map(str, before)) == sorted(map(str, after))
