"""The search for worst inputs, with real processes: what is rare is found, kept and replayed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelcheck import gate
from modelcheck.data import Samples, from_arrays, open_samples
from modelcheck.errors import UsageError
from modelcheck.judge import Check, Limits, Outcome, WorstCaseEvidence
from modelcheck.model import Model, load
from modelcheck.recipe import CheckKind, Judging, Recipe, TargetSettings
from modelcheck.targets import Target
from modelcheck.transforms import Claim
from modelcheck.verification import Plan, Verification, Verified, verify

pytestmark = pytest.mark.long

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
JUDGING = Judging(checks=frozenset({CheckKind.EQUIVALENCE}))
SIDE = 12


def net(*, ceiling: float | None = None, zero_above: float | None = None) -> Model:
    """A convolution that blurs, then what is wrong for bright images only.

    `ceiling` cuts off what is above it; `zero_above` divides by zero there: NaN.
    """
    weights = np.full((2, 1, 3, 3), 1 / 9, np.float32)
    initializers = {"w": weights}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1])]
    if ceiling is not None:
        initializers |= {"low": np.float32(-100), "high": np.float32(ceiling)}
        nodes.append(helper.make_node("Clip", ["c", "low", "high"], ["y"]))
    elif zero_above is not None:
        initializers |= {"edge": np.float32(zero_above)}
        nodes += [
            helper.make_node("Sub", ["edge", "c"], ["room"]),
            helper.make_node("Relu", ["room"], ["left"]),
            helper.make_node("Div", ["left", "left"], ["one"]),
            helper.make_node("Mul", ["c", "one"], ["y"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["c"], ["y"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g",
        [value("x", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [value("y", TensorProto.FLOAT, [1, 2, SIDE, SIDE])],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    return Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))


def images(count: int = 20) -> np.ndarray:
    """Blurred, no image is brighter than 0.8, though pixels reach 1."""
    random = np.random.default_rng(0)
    flat = random.uniform(0.1, 0.75, (count, 1, 1, 1, 1))
    array = flat + random.uniform(-0.05, 0.05, (count, 1, 1, SIDE, SIDE))
    array[:, 0, 0, 0, 0] = 1.0
    return array.astype(np.float32)


def searched(original: Model, candidate: Model | None, **options: object) -> Verification:
    """On cpu:new, with 60 inputs if nobody says another number."""
    samples = options.pop("samples", None) or from_arrays({"x": images()}, original.signature)
    limits = Limits(**{"search_inputs": 60, **options.pop("limits", {})})  # type: ignore[arg-type]
    targets = options.pop("targets", ("cpu:new:threads=1",))
    settings = tuple(TargetSettings(Target.parse(t), limits) for t in targets)  # type: ignore[attr-defined]
    plan = Plan(original, candidate, samples, settings, judging=JUDGING, claim=Claim.LOSSY)  # type: ignore[arg-type]
    *_, last = verify(replace(plan, **options))  # type: ignore[arg-type]
    assert isinstance(last, Verified)
    return last.result


def evidence(result: Verification) -> WorstCaseEvidence:
    found = result.targets[0].worst_case
    assert found is not None
    return found


def gated(result: Verification) -> Check:
    return next(c for c in result.checks if c.kind == "worst-case")


def test_a_fault_that_no_sample_shows_is_found_and_shrunk() -> None:
    result = searched(net(), net(ceiling=0.8))
    found = evidence(result)
    assert found.data_worst < 1e-6
    assert found.worst is not None
    assert found.shrunk is not None
    assert found.worst.score.error > 0.02
    assert found.shrunk.score.error > found.worst.score.error / 2
    assert "of 144 values changed" in found.shrunk.text
    assert found.tried <= found.asked == 60
    assert result.outcome is Outcome.PASS  # evidence, as nobody set a limit


def test_a_limit_makes_a_gate_of_it() -> None:
    candidate = net(ceiling=0.8)
    failed = searched(net(), candidate, limits={"max_worst_error": 0.01})
    assert failed.outcome is Outcome.FAIL
    assert "sample" in gated(failed).message
    shrunk = evidence(failed).shrunk
    assert shrunk is not None
    assert shrunk.score.error > 0.01
    passed = searched(net(), candidate, limits={"max_worst_error": 0.9})
    assert gated(passed).outcome is Outcome.PASS
    assert passed.outcome is Outcome.PASS


def test_in_a_model_and_itself_nothing_is_found(tmp_path: Path) -> None:
    model = load(FIXTURES / "digits_resnet.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=16)
    result = searched(
        model, model, samples=samples, worst_folder=tmp_path / "worst",
        limits={"max_worst_error": 1e-4}, claim=Claim.EXACT,
    )  # fmt: skip
    found = evidence(result)
    assert result.outcome is Outcome.PASS
    assert found.error < 1e-5
    assert found.worst is None
    assert not (tmp_path / "worst").exists()
    assert found.flips is None or not found.flips.flipped


def test_the_same_seed_finds_the_same() -> None:
    first, again = (evidence(searched(net(), net(ceiling=0.8), seed=3)) for _ in range(2))
    assert first == again


def test_what_was_found_is_replayed_first_also_for_another_candidate(tmp_path: Path) -> None:
    folder = tmp_path / "worst"
    first = evidence(searched(net(), net(ceiling=0.8), worst_folder=folder))
    assert first.worst is not None
    again = evidence(
        searched(net(), net(ceiling=0.79), worst_folder=folder, limits={"search_inputs": 4})
    )
    assert again.replayed == 1
    assert again.replayed_worst >= first.worst.score.error / 2
    assert len(list(folder.glob("*.npz"))) == 2


def test_what_is_found_on_one_target_is_replayed_on_the_next(tmp_path: Path) -> None:
    targets = ("cpu:new:threads=1", "cpu:classic:threads=1")
    result = searched(net(), net(ceiling=0.8), worst_folder=tmp_path, targets=targets)
    second = result.targets[1].worst_case
    assert second is not None
    assert second.replayed >= 1
    assert second.error >= evidence(result).error - 1e-6


def test_where_nothing_can_be_saved_the_verdict_stands(tmp_path: Path) -> None:
    folder = tmp_path / "worst"
    folder.write_text("a file where the folder should be")
    result = searched(
        net(), net(ceiling=0.8), worst_folder=folder, limits={"max_worst_error": 0.01}
    )
    assert result.outcome is Outcome.FAIL
    assert any("could not be saved" in warning for warning in result.warnings)
    assert not evidence(result).file


def test_saved_inputs_outside_of_the_present_data_are_not_replayed(tmp_path: Path) -> None:
    searched(net(), net(ceiling=0.8), worst_folder=tmp_path)
    darker = from_arrays({"x": images() / 2}, net().signature)
    found = evidence(searched(net(), net(ceiling=0.8), worst_folder=tmp_path, samples=darker))
    assert found.replayed == 0
    assert found.error < 1e-6


def test_an_output_that_is_not_finite_fails_without_a_limit() -> None:
    result = searched(net(), net(zero_above=0.8), targets=("cpu:classic:threads=1",))
    assert result.outcome is Outcome.FAIL
    assert "NaN" in gated(result).message


def test_an_original_alone_is_searched_too() -> None:
    found = evidence(searched(net(), None, limits={"max_worst_error": 0.01}))
    assert found.tried > 0
    assert found.error < 1e-6


def test_what_cannot_be_varied_is_inconclusive() -> None:
    constant = from_arrays({"x": np.ones((20, 1, 1, SIDE, SIDE), np.float32)}, net().signature)
    result = searched(net(), net(), samples=constant, limits={"max_worst_error": 0.1})
    assert gated(result).outcome is Outcome.INCONCLUSIVE


def test_labels_flip_near_samples_of_low_margin() -> None:
    model = load(FIXTURES / "digits_mlp.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=300, seed=1)
    candidate = rounded_weights(model, levels=7)
    found = evidence(searched(model, candidate, samples=samples, limits={"search_inputs": 300}))
    assert found.flips is not None
    assert found.flips.tried > 0
    assert found.flips.flipped > 0
    assert found.flips.margin > 0


def rounded_weights(model: Model, *, levels: int) -> Model:
    """Every weight rounded to a few levels: roughly the same model."""
    proto = onnx.load(FIXTURES / f"{model.name.removesuffix('.onnx')}.onnx")
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim == 2 and array.dtype == np.float32:
            step = np.abs(array).max() / levels
            rounded = (np.rint(array / step) * step).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return Model.from_proto(proto)


def test_a_search_without_equivalence_is_refused() -> None:
    model = net()
    samples: Samples = from_arrays({"x": images()}, model.signature)
    recipe = Recipe(
        targets=(TargetSettings(Target(), Limits(search_inputs=10, min_speedup=0.1)),),
        judging=Judging(checks=frozenset({CheckKind.SPEED})),
    )
    inputs = gate.Inputs(model, gate.split(samples, None, False, allow_synthetic=False))
    with pytest.raises(UsageError, match="equivalence is not judged"):
        gate.judge(inputs, model, Claim.EXACT, recipe)
