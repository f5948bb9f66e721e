"""Learned rounding: never worse than the nearest step by what it looks at, whatever it is given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.transforms.learned_rounding import learned_steps

KINDS = ("correlated", "one sample", "dead", "constant", "huge", "tiny", "zero", "not finite")


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weights, scales, moment) of some groups, of inputs of every kind."""
    groups, rows = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    k = draw(st.sampled_from([1, 2, 9, 30, 140]))  # one of more than a block
    kind = draw(st.sampled_from(KINDS))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = 1 if kind == "one sample" else 4 * k
    x = random.normal(size=(groups, count, k)) @ random.normal(size=(groups, k, k)) / k**0.5
    if kind == "dead":
        x[..., random.random(k) < 0.5] = 0
    elif kind == "constant":
        x[:] = x[:, :1]
    factor = {"huge": 1e15, "tiny": 1e-18, "zero": 0.0}.get(kind, 1.0)
    moment = ((factor * x).transpose(0, 2, 1) @ (factor * x) / count).astype(np.float32)
    if kind == "not finite":
        moment[0, 0, 0] = draw(st.sampled_from([np.inf, np.nan]))
    weights = random.normal(size=(groups, rows, k)).astype(np.float32)
    # A range of less than all weights cuts some off.
    part = draw(st.sampled_from([1.0, 0.3]))
    scales = (part * np.abs(weights).max(axis=-1) / 127).astype(np.float32)
    return weights, scales, moment


def nearest(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.rint(weights.astype(np.float64) / scales[..., None]).clip(-127, 127)


def loss(
    weights: np.ndarray, scales: np.ndarray, steps: np.ndarray, moment: np.ndarray
) -> np.ndarray:
    errors = weights.astype(np.float64) / scales[..., None] - steps
    return np.asarray(((errors @ moment.astype(np.float64)) * errors).sum(axis=-1))


@given(problems())
def test_no_row_loses_more_than_with_its_nearest_steps(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    weights, scales, moment = problem
    steps, near = learned_steps(*problem), nearest(weights, scales)
    unknown = ~np.isfinite(moment).all(axis=(1, 2))
    np.testing.assert_array_equal(steps[unknown], near[unknown])
    moment = moment[~unknown]
    before, after = (loss(weights[~unknown], scales[~unknown], q[~unknown], moment)
                     for q in (near, steps))  # fmt: skip
    power = np.diagonal(moment, axis1=1, axis2=2).sum(axis=1, dtype=np.float64)
    assert (after <= before + 1e-9 * power[:, None]).all()


@given(problems())
def test_steps_lie_within_127_and_are_the_same_each_time(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    copies = [array.copy() for array in problem]
    steps = learned_steps(*problem)
    assert steps.dtype == np.int8
    assert np.abs(steps.astype(int)).max() <= 127
    np.testing.assert_array_equal(learned_steps(*problem), steps)
    for array, copy in zip(problem, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(problems())
def test_weights_on_their_grid_stay(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    weights, scales, moment = problem
    steps = nearest(weights, scales)
    on_grid = (steps * scales[..., None]).astype(np.float32)
    np.testing.assert_array_equal(learned_steps(on_grid, scales, moment), steps)


@given(problems())
def test_groups_do_not_hear_of_each_other(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    together = learned_steps(*problem)
    for group, expected in enumerate(together):
        alone = learned_steps(*(array[group] for array in problem))
        lost = loss(problem[0][group], problem[1][group], alone, problem[2][group])
        also = loss(problem[0][group], problem[1][group], expected, problem[2][group])
        np.testing.assert_allclose(lost, also, rtol=1e-6, atol=1e-9 * np.abs(also).max())


@pytest.mark.parametrize("k", [9, 64, 300])
def test_correlated_inputs_lose_far_less(k: int) -> None:
    random = np.random.default_rng(k)
    x = random.normal(size=(4 * k, 1)) + 0.3 * random.normal(size=(4 * k, k))
    moment = (x.T @ x / len(x)).astype(np.float32)
    weights = random.normal(size=(16, k)).astype(np.float32)
    scales = np.abs(weights).max(axis=1) / np.float32(127)
    before, after = (
        loss(weights, scales, steps, moment).sum()
        for steps in (nearest(weights, scales), learned_steps(weights, scales, moment))
    )
    assert after < before / 3


def test_it_does_what_optimal_brain_compression_does() -> None:
    """Column by column with the inverse that its authors write, against what they call greedy."""
    random = np.random.default_rng(3)
    x = random.normal(size=(200, 24)) @ random.normal(size=(24, 24))
    moment = x.T @ x / len(x)
    weights = random.normal(size=(5, 24))
    scales = np.abs(weights).max(axis=1) / 127
    damped = moment / np.diag(moment).mean() + 0.01 * np.eye(24)
    order = np.argsort(-np.diag(damped), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left, theirs = (weights / scales[:, None])[:, order], np.empty((5, 24))
    for j in range(24):
        theirs[:, j] = np.rint(left[:, j]).clip(-127, 127)
        error = (left[:, j] - theirs[:, j]) / upper[j, j]
        left[:, j:] -= error[:, None] * upper[j, j:]
    theirs = theirs[:, np.argsort(order)]
    ours = learned_steps(weights, scales, moment)
    lost, also = (loss(weights, scales, steps, moment).sum() for steps in (ours, theirs))
    assert lost <= also * 1.05
