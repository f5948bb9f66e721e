"""Clopper–Pearson keeps its promise, and nothing that is not finite agrees."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from modelcheck.judge import (
    Agreement,
    clopper_pearson,
    highest_provable,
    is_class_scores,
    samples_needed,
)


@pytest.mark.parametrize(
    ("limit", "confidence", "table"),
    [(0.99, 0.95, (299, 473, 628, 773)), (0.99, 0.99, (459, 662, 838, 1001))],
)
def test_samples_needed_are_those_of_the_table(limit, confidence, table):
    assert tuple(samples_needed(limit, d, confidence) for d in range(4)) == table


def test_three_nines_need_2995_samples_and_certainty_has_no_number():
    assert samples_needed(0.999, 0) == 2995
    assert samples_needed(1.0, 0) is None


@given(st.floats(0.5, 0.999), st.integers(0, 20))
def test_samples_needed_is_the_least_that_proves_the_limit(limit, disagreements):
    n = samples_needed(limit, disagreements)
    assert highest_provable(n - disagreements, n) >= limit
    if n - 1 > disagreements:
        assert highest_provable(n - 1 - disagreements, n - 1) < limit


@pytest.mark.parametrize("p", [0.5, 0.9, 0.97, 0.99, 0.999])
@pytest.mark.parametrize("n", [1, 5, 50, 299, 500])
def test_each_bound_holds_with_95_percent_for_every_true_fraction(p, n):
    bounds = [clopper_pearson(k, n) for k in range(n + 1)]
    weights = binom.pmf(np.arange(n + 1), n, p)
    assert sum(w for w, (low, _) in zip(weights, bounds, strict=True) if low <= p) >= 0.95 - 1e-12
    assert sum(w for w, (_, up) in zip(weights, bounds, strict=True) if up >= p) >= 0.95 - 1e-12


@given(st.integers(0, 500), st.integers(0, 500))
def test_bounds_enclose_the_observed_fraction(successes, failures):
    lower, upper = clopper_pearson(successes, successes + failures)
    fraction = successes / (successes + failures) if successes + failures else 0.5
    assert 0 <= lower <= fraction <= upper <= 1


def test_no_samples_prove_nothing():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert Agreement().result().agreement == 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([(50, 10), (50, 3, 1, 1), (50, 2)]))
def test_streaming_rows_equals_one_batch(seed, shape):
    rng = np.random.default_rng(seed)
    expected, actual = rng.normal(size=shape), rng.normal(size=shape)
    labels = rng.integers(0, shape[1], size=shape[0])
    batch, rows = Agreement(), Agreement()
    batch.update(expected, actual, labels)
    for i in rng.permutation(shape[0]):
        rows.update(expected[i : i + 1], actual[i : i + 1], labels[i : i + 1])
    assert batch.result() == rows.result()
    top = [a.reshape(50, -1).argmax(1) for a in (expected, actual)]
    assert batch.result().agreements == (top[0] == top[1]).sum()
    assert batch.result().label_correct_expected == (top[0] == labels).sum()
    assert batch.result().label_correct_actual == (top[1] == labels).sum()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.4e38])
def test_a_row_that_is_not_finite_agrees_with_nothing_not_even_itself(bad):
    scores = np.eye(3, dtype=np.float32)
    scores[1, 0] = bad
    agreement = Agreement()
    agreement.update(scores, scores, [0, 0, 2])
    seen = agreement.result()
    assert (seen.agreements, seen.label_correct_expected) == (2, 2)


def test_another_shape_agrees_with_nothing_and_half_floats_do_not_warn():
    agreement = Agreement()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agreement.update(np.eye(4, dtype=np.float16), np.eye(4, dtype=np.float32))
        agreement.update(np.eye(4), np.eye(4)[:, :3])
    assert (agreement.result().samples, agreement.result().agreements) == (8, 4)


def test_class_indices_are_compared_as_they_are():
    agreement = Agreement()
    agreement.update(np.array([3, 1, 2]), np.array([3.0, 1.0, np.nan], np.float32), [3, 0, 2])
    seen = agreement.result()
    assert (seen.agreements, seen.label_correct_expected, seen.label_correct_actual) == (2, 2, 1)


@pytest.mark.parametrize(
    ("shape", "is_scores"),
    [
        ((1, 10), True),
        ((8, 2), True),
        ((1, 1000, 1, 1), True),
        ((1, 1), False),
        ((10,), False),
        ((1, 10, 2, 1), False),
        ((1, 10, 1), False),
        ((), False),
    ],
)
def test_class_scores_are_known_by_their_shape(shape, is_scores):
    assert is_class_scores(shape) is is_scores
