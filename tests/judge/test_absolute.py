"""An absolute budget is decided by the values, and only where the machine lets them count."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge import Blame, Outcome
from modelcheck.judge.absolute import BudgetCase, budget_decided, judge_budget, measure_budget
from modelcheck.judge.budgets import KINDS, Budget
from modelcheck.judge.fitness import Fitness, Surroundings

QUIET = Fitness(1.0, 1.05, 0.0)
WAITING = Fitness(0.5, 1.05, 0.0)
DRIFTING = Fitness(1.0, 1.05, 0.4)


def times(median_s, count=600, seed=0):
    rng = np.random.default_rng(seed)
    return (median_s * np.exp(0.01 * rng.normal(size=count))).tolist()


def case(key="max-p50", bound=0.01, values=None, **options):
    values = times(0.008) if values is None else values
    options = {"original": times(0.02), "fitness": QUIET, "first": 32, **options}
    return BudgetCase("cpu new", Budget(key, bound), values, **options)


@pytest.mark.parametrize("key", ["max-p50", "max-p90", "max-p99"])
@pytest.mark.parametrize(
    ("median_s", "outcome", "blame"),
    [(0.008, Outcome.PASS, Blame.NONE), (0.012, Outcome.FAIL, Blame.TRANSFORM)],
)
def test_calls_decide_a_percentile(key, median_s, outcome, blame):
    check = judge_budget(case(key, values=times(median_s)))
    assert (check.kind, check.outcome, check.blame) == (key, outcome, blame)
    assert check.evidence.original == pytest.approx(0.02, rel=0.05)


def test_a_tail_beyond_the_budget_fails_p99_and_not_p50():
    values = times(0.008)
    values[::20] = [0.03] * len(values[::20])
    assert judge_budget(case("max-p50", values=values)).outcome is Outcome.PASS
    assert judge_budget(case("max-p99", values=values)).outcome is Outcome.FAIL


def test_a_rate_has_to_be_at_least_the_budget():
    rates = [1 / t for t in times(0.008, 40)]  # 125/s
    options = {"values": rates, "original": rates, "first": 4}
    assert judge_budget(case("min-throughput", 100.0, **options)).outcome is Outcome.PASS
    check = judge_budget(case("min-throughput", 150.0, **options))
    assert check.outcome is Outcome.FAIL
    assert check.evidence.low <= 125 <= check.evidence.high
    named = check.message.partition("would pass is ")[2].partition("/s")[0]
    assert judge_budget(case("min-throughput", float(named), **options)).outcome is Outcome.PASS


def test_a_file_has_one_size():
    options = {"values": [1000.0], "original": [4000.0], "fitness": None}
    assert judge_budget(case("max-file-size", 1000.0, **options)).outcome is Outcome.PASS
    check = judge_budget(case("max-file-size", 999.0, **options))
    assert (check.outcome, check.evidence.low, check.evidence.high) == (Outcome.FAIL, 1000, 1000)


def test_too_few_values_are_no_evidence_and_want_more_time():
    for check in (judge_budget(case(values=[])), judge_budget(case(values=times(0.008, 20)))):
        assert (check.outcome, check.blame) == (Outcome.INCONCLUSIVE, Blame.DATA)
        assert "--time-budget" in check.message


@pytest.mark.parametrize("fitness", [WAITING, DRIFTING])
def test_on_a_disturbed_machine_a_fail_that_a_quiet_one_may_lift_is_inconclusive(fitness):
    values = times(0.012)
    values[0] = 0.009
    check = judge_budget(case(values=values, fitness=fitness))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "taskset" in check.message
    assert judge_budget(case(values=values)).outcome is Outcome.FAIL


@pytest.mark.parametrize("fitness", [WAITING, DRIFTING])
def test_on_a_disturbed_machine_what_no_quiet_one_could_lift_fails(fitness):
    assert judge_budget(case(values=times(0.03), fitness=fitness)).outcome is Outcome.FAIL


@pytest.mark.parametrize("fitness", [WAITING, DRIFTING])
def test_a_disturbed_machine_makes_nothing_faster_so_a_pass_stands(fitness):
    assert judge_budget(case(fitness=fitness)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("median_s", "band", "outcome"),
    [
        (0.008, (0.018, 0.022), Outcome.PASS),
        (0.012, (0.018, 0.022), Outcome.FAIL),
        (0.008, (0.030, 0.040), Outcome.INCONCLUSIVE),  # all is faster today
        (0.012, (0.010, 0.012), Outcome.INCONCLUSIVE),  # all is slower today
        (0.008, (0.010, 0.012), Outcome.PASS),
        (0.012, (0.030, 0.040), Outcome.FAIL),
    ],
)
def test_the_original_outside_its_band_makes_what_it_explains_inconclusive(median_s, band, outcome):
    check = judge_budget(case(values=times(median_s), band=band))
    assert check.outcome is outcome
    assert ("earlier runs" in check.message) == (outcome is Outcome.INCONCLUSIVE)


@given(st.floats(0.004, 0.03), st.sampled_from(["max-p50", "max-p90"]), st.integers(0, 99))
def test_the_figures_never_contradict_the_decision(bound, key, seed):
    found = case(key, bound, times(0.01, 200, seed))
    evidence, decision = measure_budget(found), budget_decided(found)
    assert evidence.low <= evidence.high
    if decision == "pass":
        assert evidence.bound >= evidence.high
    if decision == "fail":
        assert evidence.bound <= evidence.low
    if decision is None:
        assert evidence.low <= evidence.bound <= evidence.high


@pytest.mark.parametrize("key", list(KINDS))
def test_the_budget_that_is_said_to_pass_passes(key):
    found = case(key, 1e-9 if key.startswith("max") else 1e9, first=1)
    check = judge_budget(found)
    assert check.outcome is Outcome.FAIL
    if key == "max-file-size":
        return
    passing = 1.011 * check.evidence.high  # three digits, rounded
    if found.budget.kind.at_least:
        passing = check.evidence.low / 1.011
    again = dataclasses.replace(found, budget=Budget(key, passing))
    assert judge_budget(again).outcome is Outcome.PASS


def test_an_unfit_machine_says_why_and_what_to_do():
    around = Surroundings(1.5, ("ffmpeg (pid 7, 1.4 cores)",), 0.5, 0.2, 0.1)
    fitness = Fitness(0.4, 2.0, 0.3, around)
    text = "; ".join(fitness.reasons)
    for word in ("30 % slower", "2.00 times", "0.40", "ffmpeg", "quota", "hypervisor", "clock"):
        assert word in text
    for word in ("Close what else runs", "quota", "governor", "taskset", "--time-budget"):
        assert word in fitness.remedy
    assert fitness.disturbed


def test_a_quiet_machine_has_nothing_against_it():
    assert QUIET.reasons == ()
    assert not QUIET.disturbed
    # What others do elsewhere is told, and disturbs nothing as long as the times stay even.
    beside = Fitness(1.0, 1.05, 0.0, Surroundings(others_cores=3.0))
    assert beside.reasons
    assert not beside.disturbed
