"""The score of one input: parts of the data's scale, and how near another class is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelcheck.judge import Scales, measure

X = np.array([[1.0, 3.0, 2.0]], np.float32)


def scored(expected, original, candidate, *, exact=False, scale=4.0, classes=("y",)):
    outputs = ({"y": a} if a is not None else None for a in (expected, original, candidate))
    return Scales({"y": scale}, exact).score(measure(*outputs, classes))


def test_errors_are_parts_of_the_scale_of_the_data() -> None:
    score = scored(X, X + 1, X + np.float32([[0, 0, 2]]))
    assert (score.total, score.target, score.drift) == (0.5, 0.25, 0.25)
    assert score.error == score.total


def test_a_tiny_output_cannot_fake_an_error() -> None:
    tiny = X * 1e-6
    assert scored(tiny, tiny, tiny * 3).error < 1e-5


def test_a_reference_that_is_all_zero_has_the_scale_one() -> None:
    assert scored(X * 0, X * 0, X * 0 + 0.5, scale=0.0).error == 0.5


def test_on_an_exact_claim_the_drift_counts_too() -> None:
    answers = (X, X + 0.3, X - 0.4)
    assert scored(*answers).error == pytest.approx(0.1)
    assert scored(*answers, exact=True).error == pytest.approx(0.7 / 4)


def test_repairing_a_wrong_original_is_no_error() -> None:
    assert scored(X, X + 2, X, exact=True).error == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, 3.4e38])
def test_what_is_not_finite_is_infinitely_wrong(bad: float) -> None:
    broken = X.copy()
    broken[0, 1] = bad
    score = scored(X, X, broken)
    assert (score.error, score.target) == (math.inf, 0)
    assert scored(broken, X, X).error == 0  # where the reference is not finite nothing is known


def test_another_shape_and_a_missing_output_are_infinitely_wrong() -> None:
    assert scored(X, X, X[:, :2]).error == math.inf
    score = Scales({"y": 1.0}).score(measure({"y": X}, {"y": X}, {}, ["y"]))
    assert score.error == math.inf


def test_a_flip_is_another_class_than_the_references() -> None:
    near = scored(X, X, np.array([[1, 3, 2.5]], np.float32))
    assert (near.flipped, near.margin, near.lead) == (False, 0.25, pytest.approx(-0.125))
    flipped = scored(X, X, np.array([[1, 2, 2.5]], np.float32))
    assert flipped.flipped
    assert (flipped.margin, flipped.lead) == (0.25, pytest.approx(0.125))


def test_the_row_of_a_batch_that_is_nearest_to_a_flip_counts() -> None:
    expected = np.array([[0, 4], [2, 1]], np.float32)
    assert scored(expected, expected, np.array([[0, 4], [1, 2]], np.float32)).lead == 0.25


def test_without_classes_nothing_flips() -> None:
    score = scored(X, X, -X, classes=())
    assert not score.flipped
    assert score.margin == math.inf


def test_the_worst_output_is_named() -> None:
    both = {"a": X, "b": X}
    measured = measure(both, both, {"a": X + 1, "b": X + 1})
    assert Scales({"a": 10.0, "b": 2.0}).score(measured).output == "b"


def test_a_model_alone_is_judged_against_the_reference() -> None:
    score = scored(X, X + 1, None, exact=True)
    assert (score.error, score.target, score.drift) == (0.25, 0.25, 0)
