"""The bounds on a mean hold at least as often as promised, on any scores in [0, 1]."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from modelcheck.judge.metrics import mean_bounds, samples_for_mean

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 4, 20, 100])
@pytest.mark.parametrize("low", [0.0, 0.5, 0.9])
def test_each_bound_holds_with_95_percent_for_every_two_point_distribution(p, n, low):
    """Exactly, over all numbers of samples that score 1 where the rest score `low`."""
    truth = p + (1 - p) * low
    bounds = [mean_bounds([1.0] * k + [low] * (n - k)) for k in range(n + 1)]
    weights = binom.pmf(np.arange(n + 1), n, p)
    pairs = list(zip(weights, bounds, strict=True))
    held = [
        sum(w for w, (lower, _) in pairs if lower <= truth + 1e-12),
        sum(w for w, (_, upper) in pairs if upper >= truth - 1e-12),
    ]
    assert min(held) >= 0.95 - 1e-9


@given(SCORES)
def test_bounds_enclose_the_mean_and_do_not_depend_on_the_order(values):
    lower, upper = mean_bounds(values)
    assert 0 <= lower <= np.mean(values) + 1e-12
    assert np.mean(values) - 1e-12 <= upper <= 1
    assert mean_bounds(values[::-1]) == pytest.approx((lower, upper), abs=1e-9)


@given(SCORES)
def test_bounds_mirror_each_other(values):
    lower, upper = mean_bounds(values)
    mirrored = mean_bounds(1 - np.asarray(values))
    assert mirrored == pytest.approx((1 - upper, 1 - lower), abs=1e-9)


@given(SCORES)
def test_more_confidence_never_claims_more(values):
    strict, usual = mean_bounds(values, 0.99), mean_bounds(values, 0.95)
    assert strict[0] <= usual[0] + 1e-12
    assert strict[1] >= usual[1] - 1e-12


@pytest.mark.parametrize("limit", [0.8, 0.95, 0.99])
def test_samples_needed_are_the_fewest_that_prove_the_limit(limit):
    needed = samples_for_mean([1.0], limit)
    assert needed is not None
    assert mean_bounds(np.ones(needed))[0] >= limit
    assert mean_bounds(np.ones(needed - 1))[0] < limit


def test_as_many_like_these_as_said_prove_the_limit():
    values = np.array([1.0, 0.9, 0.95, 0.7, 1.0])
    needed = samples_for_mean(values, 0.85)
    assert needed is not None
    whole = -(-needed // 5)
    assert mean_bounds(np.tile(values, whole))[0] >= 0.85
    assert mean_bounds(np.tile(values, whole - 2))[0] < 0.85


def test_no_number_of_samples_proves_more_than_their_mean():
    assert samples_for_mean([0.5, 0.7], 0.6) is None
    assert samples_for_mean([0.5, 0.7], 0.9) is None
    assert samples_for_mean([], 0.5) is None


def test_no_samples_prove_nothing_and_all_zeros_prove_no_lower_bound():
    assert mean_bounds([]) == (0.0, 1.0)
    assert mean_bounds(np.zeros(10))[0] == 0.0
