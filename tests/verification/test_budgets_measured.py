"""Budgets from plan to verdict, with real processes; bounds are far from any machine's times."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcheck.data import open_samples
from modelcheck.judge import Limits, Outcome
from modelcheck.judge.budgets import KINDS, declared_budgets
from modelcheck.model import load
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import Target
from modelcheck.verification import Plan, Verification, Verified, verify
from modelcheck.verification.surroundings import Watch

pytestmark = pytest.mark.long

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
KEPT = {
    "max_p50": "1min", "max_p99": "1min", "min_throughput": "0.1/min",
    "max_first_inference": "1min", "max_peak_memory": "100GiB", "max_file_size": "1GiB",
}  # fmt: skip
BROKEN = {
    "max_p90": "1us", "min_throughput": "1e9/s", "max_first_inference": "1us",
    "max_peak_memory": "1MiB", "max_file_size": "1kB",
}  # fmt: skip


def judged(texts: dict[str, object], *, alone: bool, budget_s: float = 60.0) -> Verification:
    net = load(FIXTURES / "digits_mlp.onnx")
    limits = Limits(budgets=declared_budgets(texts))
    plan = Plan(
        original=net,
        candidate=None if alone else net,
        samples=open_samples(FIXTURES / "digits_test.npz", net.signature, count=4),
        targets=(TargetSettings(Target.parse("cpu:new:threads=1"), limits),),
        judging=Judging(checks=frozenset({CheckKind.SPEED}), time_budget_s=budget_s),
    )
    *_, last = verify(plan)
    assert isinstance(last, Verified)
    return last.result


@pytest.mark.parametrize("alone", [True, False])
def test_each_budget_that_is_kept_is_one_check_that_passes(alone: bool) -> None:
    result = judged(KEPT, alone=alone)
    assert {c.kind for c in result.checks} == {key.replace("_", "-") for key in KEPT}
    assert len(result.checks) == len(KEPT)
    assert {c.outcome for c in result.checks} == {Outcome.PASS}


@pytest.mark.parametrize("alone", [True, False])
def test_each_budget_that_no_machine_keeps_fails(alone: bool) -> None:
    result = judged(BROKEN, alone=alone)
    assert {c.kind: c.outcome for c in result.checks} == {
        key.replace("_", "-"): Outcome.FAIL for key in BROKEN
    }
    assert result.plan.speed_checks == len(BROKEN) - 1  # a file's size is exact


def test_a_time_budget_that_is_over_decides_what_needs_no_time_only() -> None:
    result = judged({**KEPT, "max_peak_memory": "1MiB"}, alone=False, budget_s=1e-3)
    outcomes = {c.kind: c.outcome for c in result.checks}
    assert outcomes.pop("max-file-size") is Outcome.PASS
    assert set(outcomes.values()) == {Outcome.INCONCLUSIVE}
    assert all("--time-budget" in c.message for c in result.checks if c.kind in outcomes)


def test_memory_is_that_of_a_process_with_one_model() -> None:
    result = judged({"max_peak_memory": "100GiB"}, alone=False)
    evidence = result.checks[0].evidence
    assert 10 << 20 < evidence.value < 4 << 30  # type: ignore[attr-defined]
    assert evidence.values >= 5  # type: ignore[attr-defined]


def test_every_kind_is_tried_here() -> None:
    assert {key.replace("-", "_") for key in KINDS} == {*KEPT, *BROKEN}


def test_what_this_process_did_is_not_blamed_on_others() -> None:
    watch = Watch()
    sum(range(30_000_000))
    found = watch.surroundings()
    assert not any("pytest" in name and "1.0 cores" in name for name in found.busiest)
    assert found.others_cores is None or found.others_cores >= 0
