"""What a target hides: a candidate that is another model in onnxruntime never passes as exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelcheck.data import open_samples
from modelcheck.errors import Unsupported
from modelcheck.judge import Blame, Check, Limits, Outcome, parse_limit
from modelcheck.model import Model, load
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.reference import Reference
from modelcheck.targets import Target
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.testing.faults import FAULTS
from modelcheck.verification import Plan, Verification, Verified, verify
from modelcheck.verification.in_reference import check_weights

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture(scope="module")
def vit() -> Model:
    return load(FIXTURES / "digits_vit.onnx")


def judged(
    original: Model, candidate: Model, *engines: str, limits: Limits | None = None
) -> Verification:
    samples = open_samples(FIXTURES / "digits_test.npz", original.signature, count=4)
    targets = tuple(
        TargetSettings(Target.parse(f"cpu:{e}:threads=1"), limits or Limits()) for e in engines
    )
    judging = Judging(checks=frozenset({CheckKind.EQUIVALENCE}))
    *_, last = verify(Plan(original, candidate, samples, targets, judging=judging))
    assert isinstance(last, Verified)
    return last.result


def test_a_softmax_axis_that_the_new_engine_ignores_is_found_in_onnxruntime(vit: Model) -> None:
    fault = next(f for f in FAULTS if f.name == "Softmax over another axis")
    faulty = fault.plant(vit, np.random.default_rng(0))
    assert faulty is not None
    new, classic = judged(vit, faulty, "new", "classic").targets
    # The engine ages: once it looks at the axis, the ordinary check fails and this one is silent.
    (failed,) = [check for check in new.checks if check.outcome is Outcome.FAIL]
    assert failed.kind in ("in onnxruntime", "equivalence")
    assert failed.blame is Blame.TRANSFORM
    assert classic.outcome is Outcome.FAIL


@pytest.mark.parametrize(("limit", "looked"), [("max-error=auto", True), ("max-error=0.9", False)])
def test_a_declared_number_is_what_counts_and_auto_is_the_default(
    vit: Model, limit: str, looked: bool
) -> None:
    fault = next(f for f in FAULTS if f.name == "Softmax over another axis")
    faulty = fault.plant(vit, np.random.default_rng(0))
    assert faulty is not None
    result = judged(vit, faulty, "new", limits=Limits(parse_limit(limit)))
    assert (result.outcome is Outcome.FAIL) == looked


def test_an_equivalent_form_shows_no_such_check(vit: Model) -> None:
    rename = next(e for e in EQUIVALENTS if e.name == "nodes renamed")
    same = rename.rewrite(vit, np.random.default_rng(0))
    assert same is not None
    result = judged(vit, same, "new")
    assert result.outcome is Outcome.PASS
    assert "in onnxruntime" not in {check.kind for check in result.checks}


def test_a_candidate_that_only_the_target_runs_is_not_shown_to_be_the_same(
    vit: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Reference.load

    def load_original_only(self: Reference, path: Path, **more: Any) -> None:
        if more.get("key") == "candidate":
            raise Unsupported("Resize_679: 'Linear' mode only supports 2-D inputs")
        real(self, path, **more)

    monkeypatch.setattr(Reference, "load", load_original_only)
    rename = next(e for e in EQUIVALENTS if e.name == "nodes renamed")
    same = rename.rewrite(vit, np.random.default_rng(0))
    assert same is not None
    result = judged(vit, same, "new")
    assert result.outcome is Outcome.INCONCLUSIVE
    (check,) = [check for check in result.checks if check.outcome is Outcome.INCONCLUSIVE]
    assert "does not run the candidate: Resize_679" in check.message


def with_nan_before_a_relu() -> tuple[Model, Model]:
    """Relu(x * w): with NaN in w, where onnxruntime and cv2 give the 0 of the original."""

    def made(last: float) -> Model:
        node = helper.make_node
        graph = helper.make_graph(
            [node("Conv", ["image", "w", "b"], ["c"]), node("Relu", ["c"], ["y"])], "g",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, 8, 8])],
            [numpy_helper.from_array(np.array([0.1, last], np.float32).reshape(2, 1, 1, 1), "w"),
             numpy_helper.from_array(np.array([0.0, -99.0], np.float32), "b")],
        )  # fmt: skip
        opset = [helper.make_opsetid("", 13)]
        return Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))

    return made(0.1), made(float("nan"))


def test_nan_in_a_weight_never_passes_whatever_engines_make_of_it() -> None:
    original, faulty = with_nan_before_a_relu()
    passed = Check("equivalence", "cpu new", Outcome.PASS, "it agrees", Blame.NONE)
    check = check_weights(faulty, passed)
    assert check is not None
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)
    assert "initializer 'w' holds NaN at [1, 0, 0, 0]" in check.message
    assert check_weights(original, passed) is None
    assert judged(original, faulty, "new", "classic").outcome is Outcome.FAIL
