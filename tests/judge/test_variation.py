"""What an offset hides: the part of an output that answers the input."""

from __future__ import annotations

import numpy as np
import pytest

from modelcheck.judge import Comparison, EquivalenceCase, Outcome, judge_equivalence
from modelcheck.judge.variation import Variation


def judged(expected: np.ndarray, actual: np.ndarray, claim: str) -> Outcome:
    total, drift = Comparison(["y"], variation=True), Comparison(["y"])
    for i, (x, y) in enumerate(zip(expected, actual, strict=True)):
        total.update({"y": x[None]}, {"y": y[None]}, i)
        drift.update({"y": x[None]}, {"y": x[None]}, i)
    case = EquivalenceCase(
        "cpu", claim, drift.result(), total.result(), total.result(), len(expected)
    )
    return judge_equivalence(case).outcome


@pytest.mark.parametrize("claim", ["precision", "lossy"])
@pytest.mark.parametrize("offset", [300.0, 1e4])
def test_a_constant_never_passes_behind_an_offset(claim: str, offset: float) -> None:
    varying = np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)
    expected = varying + np.float32(offset)
    constant = np.full_like(expected, offset)
    assert judged(expected, constant, claim) is Outcome.INCONCLUSIVE
    best = np.broadcast_to(expected.mean(axis=0), expected.shape)
    assert judged(expected, best, claim) is Outcome.INCONCLUSIVE


def test_a_good_candidate_passes_behind_an_offset() -> None:
    rng = np.random.default_rng(1)
    expected = rng.standard_normal((64, 10)).astype(np.float32) + 300
    noise = 0.05 * rng.standard_normal(expected.shape).astype(np.float32)
    assert judged(expected, expected + noise, "lossy") is Outcome.PASS


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_variation_equals_the_one_shot_sum_in_any_order(offset: float) -> None:
    x = np.random.default_rng(2).standard_normal((20, 3, 4)) + offset
    wanted = float(np.square(x - x.mean(axis=0)).sum())
    for order in (x, x[::-1]):
        variation = Variation()
        for sample in order:
            variation.update(sample)
        assert variation.energy() == pytest.approx(wanted, rel=1e-9)


def test_there_is_no_variation_of_one_sample_or_of_changing_shapes() -> None:
    variation = Variation()
    variation.update(np.ones((1, 3)))
    assert variation.energy() is None
    variation.update(np.ones((1, 4)))
    variation.update(np.ones((1, 3)))
    assert variation.energy() is None
