"""One real run, for every test of reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcheck.data import open_samples, split
from modelcheck.model import load
from modelcheck.recipe import Recipe, TargetSettings, apply_steps, parse_step
from modelcheck.report import Report, make_report
from modelcheck.targets import Target
from modelcheck.verification import Plan, Verified, verify

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture(scope="session")
def report() -> Report:
    """digits_resnet with BatchNormalization folded, on the CPU: a pass."""
    original = load(FIXTURES / "digits_resnet.onnx")
    data = split(
        open_samples(FIXTURES / "digits_test.npz", original.signature, count=20), None, False
    )
    steps = apply_steps(original, [parse_step("fold-batchnorm")])
    targets = (TargetSettings(Target(threads=1)),)
    *_, last = verify(Plan(original, steps.model, data.judged, targets))
    assert isinstance(last, Verified)
    return make_report(
        last.result, steps=steps, data=data, recipe=Recipe(steps=(parse_step("fold-batchnorm"),)),
        command="modelcheck apply", seconds=1.5,
    )  # fmt: skip
