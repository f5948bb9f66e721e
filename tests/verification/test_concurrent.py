"""Nets of one model in several threads give the bits of one alone; who does not is blamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelcheck.data import open_samples
from modelcheck.errors import Crashed, OutOfMemory
from modelcheck.judge import Blame, Check, Outcome
from modelcheck.model import load
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import Target
from modelcheck.targets.pool import Difference, PoolRun, PoolSession
from modelcheck.verification import Plan, Verified, verify

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
EQUIVALENCE = Judging(checks=frozenset({CheckKind.EQUIVALENCE}))


def concurrent_checks(*targets: str, alone: bool = False) -> list[Check]:
    model = load(FIXTURES / "digits_resnet.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=6)
    settings = tuple(TargetSettings(Target.parse(t)) for t in targets)
    plan = Plan(model, None if alone else model, samples, settings, judging=EQUIVALENCE)
    *_, last = verify(plan)
    assert isinstance(last, Verified)
    return [check for check in last.result.checks if check.kind == "concurrent"]


def test_every_engine_and_thread_count_is_checked() -> None:
    checks = concurrent_checks("cpu:new", "cpu:classic:threads=1", "cpu:classic:threads=2")
    assert [check.outcome for check in checks] == [Outcome.PASS] * 3
    assert len({check.target for check in checks}) == 3


def test_a_model_alone_is_checked_too() -> None:
    (check,) = concurrent_checks("cpu", alone=True)
    assert check.outcome is Outcome.PASS


def broken(who: str, how: Callable[[PoolRun], PoolRun]) -> Callable[..., PoolRun]:
    """run_pool of the sessions named `who`, with something wrong in its answer."""
    real = PoolSession.run_pool

    def run_pool(self: PoolSession, requests: int, *, key: str = "net") -> PoolRun:
        run = real(self, requests, key=key)
        return how(run) if who in self._child.name else run

    return run_pool


def differing(run: PoolRun) -> PoolRun:
    return replace(run, differing=(Difference(2, 0, "logits"),))


def not_the_serial_run(run: PoolRun) -> PoolRun:
    return replace(run, outputs=tuple({k: v + 1 for k, v in o.items()} for o in run.outputs))


def crashing(run: PoolRun) -> PoolRun:
    raise Crashed("died of SIGSEGV", where="the candidate")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (differing, "net 3 gives other bits in 'logits'"),
        (not_the_serial_run, "'logits' has other bits"),
        (crashing, "died of SIGSEGV"),
    ],
)
@pytest.mark.parametrize(
    ("who", "outcome", "blame"),
    [
        ("the candidate", Outcome.FAIL, Blame.TRANSFORM),
        ("the", Outcome.UNSUPPORTED, Blame.TARGET),  # the original too
    ],
)
def test_what_the_original_does_too_is_the_targets_fault(
    monkeypatch: pytest.MonkeyPatch,
    who: str,
    outcome: Outcome,
    blame: Blame,
    how: Callable[[PoolRun], PoolRun],
    text: str,
) -> None:
    monkeypatch.setattr(PoolSession, "run_pool", broken(who, how))
    (check,) = concurrent_checks("cpu:new:threads=1")
    assert (check.outcome, check.blame) == (outcome, blame)
    assert text in check.message


def test_an_original_that_alone_does_not_hold_is_the_targets_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PoolSession, "run_pool", broken("the original", differing))
    (check,) = concurrent_checks("cpu", alone=True)
    assert (check.outcome, check.blame) == (Outcome.UNSUPPORTED, Blame.TARGET)


def test_a_machine_without_the_memory_for_it_is_told_and_changes_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(run: PoolRun) -> PoolRun:
        raise OutOfMemory("ran out of memory")

    monkeypatch.setattr(PoolSession, "run_pool", broken("the", full))
    (check,) = concurrent_checks("cpu")
    assert (check.outcome, check.optional) == (Outcome.INCONCLUSIVE, True)
    assert "were not tried: ran out of memory" in check.message
