"""The sequential test errs as seldom as promised, and its interval never contradicts it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge import Block, SequentialTest, interval, ready
from modelcheck.judge.sequential import first_ready

SEEDS = st.integers(0, 2**32 - 1)
RUNS, BLOCKS = 1000, 400


def machine(rng, log_ratio, blocks=BLOCKS):
    """d of a busy machine: heavy tails (no mean), and spells of noise 30x as strong.

    The median given the past is the true ratio; nothing else about it is well behaved.
    """
    spells = np.cumsum(rng.normal(size=blocks) * 0.3)
    strength = 0.02 * np.exp(np.clip(spells - spells.mean(), -1.7, 1.7))
    return log_ratio + strength * rng.standard_t(1, size=blocks)


def run(ds, ratio):
    return run_until_decided(ds, ratio)[0]


def run_until_decided(ds, ratio, first=1):
    """The decision, and the blocks that it took: the gate stops there."""
    test = SequentialTest(ratio)
    for n, d in enumerate(ds, start=1):
        test.update(d, may_decide=n >= first)
        if test.decision is not None:
            return test.decision, ds[:n]
    return None, ds


def decisions(true_ratio, budget, runs=RUNS):
    rng = np.random.default_rng(2026)
    return [run(machine(rng, math.log(true_ratio)), budget) for _ in range(runs)]


# 1 % promised; 1,000 runs show more than 2 % by chance once in 500 times.
ALLOWED = 0.02 * RUNS


@pytest.mark.parametrize("true_ratio", [1.10, 1.10 * 0.98])
def test_a_candidate_at_or_below_the_budget_seldom_passes(true_ratio):
    assert decisions(true_ratio, 1.10).count("pass") <= ALLOWED


@pytest.mark.parametrize("true_ratio", [1.10, 1.10 * 1.02])
def test_a_candidate_at_or_above_the_budget_seldom_fails(true_ratio):
    assert decisions(true_ratio, 1.10).count("fail") <= ALLOWED


@pytest.mark.parametrize(("true_ratio", "decision"), [(1.25, "pass"), (1.00, "fail")])
def test_a_clear_difference_is_decided(true_ratio, decision):
    assert decisions(true_ratio, 1.10, runs=100).count(decision) >= 99


def test_identical_models_do_not_pass_as_faster_however_often_one_looks():
    rng = np.random.default_rng(7)
    wrong = sum(run(machine(rng, 0.0, 2000), 1.0) is not None for _ in range(300))
    assert wrong <= 0.04 * 300  # 1 % on each side


def test_the_interval_covers_the_true_ratio():
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(500):
        low, high = interval(machine(rng, math.log(1.3), 200))
        covered += low <= 1.3 <= high
    assert covered >= 0.97 * 500  # 98 % promised


@given(SEEDS, st.integers(1, 300), st.integers(1, 40), st.floats(0.5, 2.0), st.floats(0.5, 2.0))
def test_the_interval_never_contradicts_the_decision(seed, blocks, first, true_ratio, asked):
    ds = machine(np.random.default_rng(seed), math.log(true_ratio), blocks)
    decision, seen = run_until_decided(ds, asked, first)
    low, high = interval(seen, first=first)
    assert low <= high
    assert decision == ("pass" if asked < low else "fail" if asked > high else None)


@given(
    st.lists(st.sampled_from([-0.5, 0.0, 0.25, 0.5]), min_size=1, max_size=150),
    st.sampled_from([-0.5, 0.0, 0.25, 0.5]),
)
def test_the_interval_never_contradicts_the_decision_where_times_tie(ds, asked):
    decision, seen = run_until_decided(ds, math.exp(asked))
    low, high = interval(seen)
    # At a bound itself the tied blocks bet on neither side: it may be decided or not.
    tolerance = 1e-12
    if decision == "pass":
        assert math.exp(asked) <= low + tolerance
    elif decision == "fail":
        assert math.exp(asked) >= high - tolerance
    else:
        assert low - tolerance <= math.exp(asked) <= high + tolerance


def test_a_ratio_that_moved_for_good_shows_the_whole_stretch():
    low, high = interval([0.5] * 50 + [-0.5] * 400)
    assert (low, high) == pytest.approx((math.exp(-0.5), math.exp(0.5)))


@given(SEEDS, st.integers(1, 100))
def test_swapping_the_models_mirrors_the_interval(seed, blocks):
    ds = machine(np.random.default_rng(seed), 0.3, blocks)
    low, high = interval(ds)
    mirrored = interval([-d for d in ds])
    assert mirrored == pytest.approx((1 / high, 1 / low if low > 0 else math.inf))


def test_wealth_is_that_of_the_formula():
    lambdas = np.array([*np.arange(1, 10) / 10, 0.92])
    signs = np.array([1, 1, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, 1, 1])
    wealth = [np.prod(1 + lambdas[:, None] * signs[:n], axis=1).mean() for n in range(1, 17)]
    first = next(n for n, w in enumerate(wealth, start=1) if w >= 100)
    assert run(signs[: first - 1] * 0.1, 1.0) is None
    assert run(signs[:first] * 0.1, 1.0) == "pass"


def test_nothing_decides_without_blocks_or_on_ties():
    assert interval([]) == (0.0, math.inf)
    assert run([0.0] * 1000, 1.0) is None


@given(st.permutations([0, 1, 2, 3] * 4))
def test_nothing_is_ready_before_each_of_four_workers_gave_four_blocks(workers):
    blocks = [Block(worker, (1.0, 1.0), (1.0, 1.0)) for worker in workers]
    assert first_ready(blocks, 4) == 16
    assert not ready(blocks[:-1], 4)
    assert not ready(blocks, 5)


def test_fewer_than_four_workers_are_never_ready():
    assert not ready([Block(n % 3, (1.0, 1.0), (1.0, 1.0)) for n in range(1000)], 3)


def test_a_block_takes_the_best_of_two_and_refuses_times_that_cannot_be():
    assert Block(0, (4.0, 2.0), (9.0, 1.0)).log_ratio == math.log(2)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and positive"):
            Block(0, (1.0, bad), (1.0, 1.0))


def test_two_thousand_blocks_of_a_busy_machine_resolve_two_percent():
    low, high = interval(machine(np.random.default_rng(0), 0.0, 2000))
    assert 0.98 < low < 1 < high < 1.02
