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
from modelcheck.testing.planting import Rewriting
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


def made(number: int, rewriting: Rewriting) -> tuple[str, Model]:
    """A model that has what the rewriting needs, and what became of it; the models take turns."""
    for turn in range(len(MODELS)):
        name = MODELS[(number + turn) % len(MODELS)]
        candidate = rewriting(original(name), np.random.default_rng(5))
        if candidate is not None:
            return name, candidate
    pytest.skip("no fixture has what it needs; benchmarks/trust_equivalence.py has real models")


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda n: FAULTS[n].name)
def test_a_planted_fault_is_rejected_and_blamed_on_the_candidate(number: int) -> None:
    name, faulty = made(number, FAULTS[number].plant)
    for target in judged(name, faulty).targets:
        assert target.outcome is Outcome.FAIL, target.checks
        assert {c.blame for c in target.checks if c.outcome is Outcome.FAIL} == {Blame.TRANSFORM}


@pytest.mark.parametrize("number", range(len(EQUIVALENTS)), ids=lambda n: EQUIVALENTS[n].name)
def test_an_equivalent_rewrite_is_accepted(number: int) -> None:
    name, same = made(number, EQUIVALENTS[number].rewrite)
    result = judged(name, same)
    assert result.outcome is Outcome.PASS, [check.message for check in result.checks]
