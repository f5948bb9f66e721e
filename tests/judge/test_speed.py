"""The speed verdict is the test's decision, told with an interval that agrees."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge import (
    Blame,
    Block,
    Outcome,
    SpeedCase,
    judge_speed,
    measure_speed,
    speed_decided,
)

SEEDS = st.integers(0, 2**32 - 1)


def timed(ratio, count=64, workers=4, noise=0.02, seed=0):
    """Blocks of an original of about 40 ms and a candidate `ratio` times as fast."""
    rng = np.random.default_rng(seed)
    times = 0.04 * np.exp(np.abs(rng.normal(size=(count, 4))) * noise)
    times[:, 2:] /= ratio
    rows = times.tolist()
    return [Block(n % workers, (r[0], r[1]), (r[2], r[3])) for n, r in enumerate(rows)]


def judge(blocks, required, **options):
    return judge_speed(SpeedCase("cpu new", blocks, 4, required, **options))


@pytest.mark.parametrize(
    ("ratio", "required", "outcome", "blame"),
    [
        (2.0, 1.5, Outcome.PASS, Blame.NONE),
        (1.2, 1.5, Outcome.FAIL, Blame.TRANSFORM),
        (1.5, 1.5, Outcome.INCONCLUSIVE, Blame.DATA),
        (1.0, 0.97, Outcome.PASS, Blame.NONE),
    ],
)
def test_the_budget_decides(ratio, required, outcome, blame):
    check = judge(timed(ratio), required)
    assert (check.outcome, check.blame) == (outcome, blame)
    assert check.evidence.ratio == pytest.approx(ratio, rel=0.02)


def test_undecided_at_the_cap_names_the_largest_ratio_that_would_pass():
    blocks = timed(1.5)
    check = judge(blocks, 1.5, stopped="blocks")
    low = check.evidence.low
    named = math.floor(low * 100) / 100
    assert f"{named:.2f}x" in check.message
    assert "block cap" in check.message
    assert judge(blocks, named).outcome is Outcome.PASS
    assert judge(blocks, low * 1.0001).outcome is not Outcome.PASS


@given(SEEDS, st.floats(0.8, 2.5), st.floats(0.8, 2.5), st.integers(16, 100), st.integers(1, 20))
def test_the_printed_interval_agrees_with_the_verdict(seed, ratio, required, count, checks):
    blocks = timed(ratio, count, noise=0.2, seed=seed)
    asked = {"workers": 4, "required": required, "checks": checks}
    stop = next((n for n in range(count) if speed_decided(blocks[:n], **asked)), count)
    check = judge(blocks[:stop], required, checks=checks)
    low, high = check.evidence.low, check.evidence.high
    expected = {Outcome.PASS: required < low, Outcome.FAIL: required > high}
    assert expected.get(check.outcome, low <= required <= high)
    assert low <= check.evidence.ratio <= high


@given(SEEDS, st.floats(0.9, 1.6))
def test_a_decision_stands_when_more_blocks_come(seed, ratio):
    blocks = timed(ratio, 120, noise=0.3, seed=seed)
    seen = [speed_decided(blocks[:n], workers=4, required=1.2) for n in range(0, 121, 8)]
    first = next((d for d in seen if d), None)
    assert [d for d in seen if d] == [first] * sum(d is not None for d in seen)


def test_more_checks_make_a_failure_rarer_and_a_pass_no_harder():
    fast, slow = timed(2.0, 16), timed(1.0, 16)
    assert judge(fast, 1.5).outcome is judge(fast, 1.5, checks=10**6).outcome is Outcome.PASS
    assert judge(slow, 1.5).outcome is Outcome.FAIL
    assert judge(slow, 1.5, checks=10**6).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("blocks", [[], timed(2.0, 15), timed(2.0, 500, workers=3)])
def test_too_few_blocks_or_workers_are_no_evidence(blocks):
    check = judge(blocks, 1.5)
    assert (check.outcome, check.blame) == (Outcome.INCONCLUSIVE, Blame.DATA)
    assert "more time" in check.message


def test_without_a_requirement_there_are_figures_and_no_verdict():
    evidence = measure_speed(SpeedCase("cpu", timed(2.0), 4))
    assert evidence.low < 2.0 < evidence.high
    assert evidence.original_latency_s == pytest.approx(0.04, rel=0.05)
    assert evidence.original_latency_s <= evidence.original_p90_s
    assert (evidence.blocks, evidence.workers, evidence.noisy) == (64, 4, False)
    assert measure_speed(SpeedCase("cpu", [], 4)) is None
    with pytest.raises(ValueError, match="nothing is required"):
        judge_speed(SpeedCase("cpu", timed(2.0), 4))


def test_a_busy_machine_is_said_to_be_busy():
    blocks = timed(1.5, noise=1.0)
    assert "machine was busy" in judge(blocks, 1.5).message
    drifting = [
        Block(b.worker, (b.original_s[0] * 1.3, b.original_s[1] * 1.3), b.candidate_s)
        for b in timed(1.5, 32)
    ]
    assert measure_speed(SpeedCase("cpu", timed(1.5, 32) + drifting, 4)).noisy
    assert measure_speed(SpeedCase("cpu", timed(1.5), 4, cpu_wall_ratio=0.5)).noisy


@given(SEEDS, st.floats(0.5, 2), st.sampled_from([0, 3, 16, 64]))
def test_every_message_says_where_what_and_what_to_do(seed, ratio, count):
    check = judge(timed(ratio, count, seed=seed), 1.2, note="Faster on the classic engine.")
    finding, *advice = check.message.removesuffix(".").split(". ")
    assert finding.startswith("cpu new: ")
    assert advice
    assert "\n" not in check.message
    assert ".." not in check.message
