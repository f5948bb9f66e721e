"""The gate under the exact claim, with the real engines: planted faults out, rewrites in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from modelcheck.data import open_samples
from modelcheck.judge import Blame, Outcome
from modelcheck.model import Model, load
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import Target
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.testing.faults import FAULTS
from modelcheck.testing.planting import Equivalent, Fault
from modelcheck.verification import Plan, Verification, Verified, verify

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODELS = ("digits_resnet", "digits_depthwise", "digits_twohead")
TARGETS = tuple(TargetSettings(Target.parse(f"cpu:{e}:threads=1")) for e in ("new", "classic"))


@cache
def original(name: str) -> Model:
    return load(FIXTURES / f"{name}.onnx")


def judged(name: str, candidate: Model) -> Verification:
    net = original(name)
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=32)
    judging = Judging(checks=frozenset({CheckKind.EQUIVALENCE}))
    *_, last = verify(Plan(net, candidate, samples, TARGETS, judging=judging))
    assert isinstance(last, Verified)
    return last.result


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_rejected_and_blamed_on_the_candidate(name: str, fault: Fault) -> None:
    faulty = fault.plant(original(name), np.random.default_rng(5))
    if faulty is None:
        pytest.skip(f"{name} has nothing for '{fault.name}'")
    result = judged(name, faulty)
    for target in result.targets:
        assert target.outcome is Outcome.FAIL, target.checks
        assert {c.blame for c in target.checks if c.outcome is Outcome.FAIL} == {Blame.TRANSFORM}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rewrite", EQUIVALENTS, ids=lambda rewrite: rewrite.name)
def test_an_equivalent_rewrite_is_accepted(name: str, rewrite: Equivalent) -> None:
    same = rewrite.rewrite(original(name), np.random.default_rng(5))
    if same is None:
        pytest.skip(f"{name} has nothing for '{rewrite.name}'")
    result = judged(name, same)
    assert result.outcome is Outcome.PASS, [check.message for check in result.checks]


def test_every_fault_and_every_rewrite_applies_to_some_model() -> None:
    random = np.random.default_rng
    for fault in FAULTS:
        assert any(fault.plant(original(m), random(5)) is not None for m in MODELS), fault.name
    for rewrite in EQUIVALENTS:
        assert any(rewrite.rewrite(original(m), random(5)) is not None for m in MODELS), (
            rewrite.name
        )
