"""What a target hides: a candidate that is another model in onnxruntime never passes as exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelcheck.data import open_samples
from modelcheck.judge import Blame, Limits, Outcome, parse_limit
from modelcheck.model import Model, load
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import Target
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.testing.faults import FAULTS
from modelcheck.verification import Plan, Verification, Verified, verify

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
