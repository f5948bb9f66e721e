"""The test of a share errs as seldom as promised, and its bounds never contradict it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge.share import ERROR, share_bounds, share_decided

SHARES = (0.5, 0.9, 0.99)
RUNS, VALUES = 300, 1200


def decisions(within, share, runs=RUNS):
    """By values of which so many are within a bound of 1."""
    rng = np.random.default_rng(2026)
    return [share_decided(2 * (rng.random(VALUES) > within), 1.0, share) for _ in range(runs)]


# 5 % promised; 300 runs show more than 9 % by chance once in 500 times.
ALLOWED = 0.09 * RUNS


@pytest.mark.long
@pytest.mark.parametrize("share", SHARES)
def test_a_share_just_missed_seldom_passes(share):
    assert decisions(share, share).count("pass") <= ALLOWED


@pytest.mark.long
@pytest.mark.parametrize("share", SHARES)
def test_a_share_just_met_seldom_fails(share):
    assert decisions(share, share).count("fail") <= ALLOWED


@pytest.mark.parametrize(("share", "within"), [(0.5, 0.7), (0.9, 0.97), (0.99, 1.0)])
def test_a_share_clearly_met_passes(share, within):
    assert decisions(within, share).count("pass") > 0.95 * RUNS


@pytest.mark.parametrize(("share", "within"), [(0.5, 0.3), (0.9, 0.8), (0.99, 0.95)])
def test_a_share_clearly_missed_fails(share, within):
    assert decisions(within, share).count("fail") > 0.95 * RUNS


def test_workers_of_different_speed_do_not_pass_a_share_that_they_miss_together():
    """One of four workers misses 8 % of its calls, the others none: 98 % where 99 % are asked."""
    rng = np.random.default_rng(7)
    rates = np.tile([0.08, 0.0, 0.0, 0.0], VALUES // 4)
    found = [share_decided(2 * (rng.random(VALUES) < rates), 1.0, 0.99) for _ in range(RUNS)]
    assert found.count("pass") <= ALLOWED


@pytest.mark.parametrize(("share", "clean"), [(0.5, 7), (0.9, 41), (0.99, 426)])
def test_so_many_values_without_a_miss_pass(share, clean):
    assert share_decided([0.0] * clean, 1.0, share) == "pass"
    assert share_decided([0.0] * (clean - 1), 1.0, share) is None


def test_nothing_is_decided_before_the_first_value_that_may():
    assert share_decided([2.0] * 3, 1.0, 0.99, first=4) is None
    assert share_decided([2.0] * 4, 1.0, 0.99, first=4) == "fail"
    assert share_bounds([2.0] * 3, 0.99, first=4) == (0.0, float("inf"))


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=120),
    st.sampled_from(SHARES),
    st.integers(1, 20),
    st.floats(0.005, 200),
)
def test_the_bounds_are_every_bound_that_is_not_decided(values, share, first, bound):
    low, high = share_bounds(values, share, first=first)
    decided = set()
    for n in range(first, len(values) + 1):  # whoever stops, stops at some n
        if (found := share_decided(values[:n], bound, share, first=n)) is not None:
            decided.add(found)
    if "fail" not in decided and "pass" not in decided:
        assert low <= bound < high or bound == low
    if decided == {"pass"}:
        assert bound >= high
    if decided == {"fail"}:
        assert bound < low


def test_a_fail_among_many_checks_takes_more():
    values = [2.0] * 7
    assert share_decided(values, 1.0, 0.5) == "fail"
    assert share_decided(values, 1.0, 0.5, beta=ERROR / 10) is None
