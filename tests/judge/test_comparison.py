"""The streamed comparison equals the formula, in any order, and never lets a fault slip by."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge import Comparison, OutputComparison

SHAPES = st.sampled_from(
    [
        (),
        (1,),
        (7,),
        (1, 1),
        (1, 10),
        (4, 3),
        (1, 3, 5, 5),
        (2, 8, 3),
        (1, 2, 150, 120),
        (1, 40_000),
    ]
)
SEEDS = st.integers(0, 2**32 - 1)


def pair(seed: int, shape: tuple[int, ...], noise: float, scale: float = 1.0):
    rng = np.random.default_rng(seed)
    expected = np.asarray(rng.normal(size=shape) * scale, np.float32)
    actual = expected + np.asarray(rng.normal(size=shape) * scale * noise, np.float32)
    return expected, np.asarray(actual, np.float32)


def compare(pairs, order=None):
    comparison = OutputComparison("y")
    for sample in order if order is not None else range(len(pairs)):
        comparison.update(*pairs[sample], sample)
    return comparison.result()


@given(SEEDS, SHAPES, st.floats(-7.5, 0), st.floats(-20, 20), st.integers(1, 4))
def test_figures_are_those_of_the_formula(seed, shape, log_noise, log_scale, samples):
    pairs = [pair(seed + i, shape, 10**log_noise, 10**log_scale) for i in range(samples)]
    seen = compare(pairs)
    x = np.stack([e for e, _ in pairs]).astype(np.float64)
    y = np.stack([a for _, a in pairs]).astype(np.float64)
    noise = np.sum((x - y) ** 2)
    assert seen.samples == samples
    assert seen.max_abs == np.abs(x - y).max()
    assert seen.scale == np.abs(x).max()
    assert seen.scale_relative_max == pytest.approx(seen.max_abs / seen.scale)
    if noise > 0:
        assert seen.sqnr_db == pytest.approx(10 * math.log10(np.sum(x**2) / noise), abs=1e-9)
    else:
        assert seen.sqnr_db == math.inf
    cosine = np.vdot(x, y) / math.sqrt(np.vdot(x, x) * np.vdot(y, y))
    assert seen.cosine == pytest.approx(cosine, abs=1e-12)


def test_sqnr_is_right_far_beyond_float32_sums():
    expected, noise = pair(0, (1, 3, 720, 720), 1.0)
    x = expected.astype(np.float64)
    y = x + 1e-9 * noise
    seen = compare([(x, y)])
    assert seen.sqnr_db == pytest.approx(10 * math.log10(np.sum(x**2) / np.sum((x - y) ** 2)))
    assert seen.sqnr_db > 150


@given(SEEDS, SHAPES, st.permutations(range(6)))
def test_the_order_of_the_samples_changes_nothing(seed, shape, order):
    pairs = [pair(seed + i % 4, shape, 1e-3) for i in range(6)]  # with two equal samples
    one, other = compare(pairs), compare(pairs, order)
    for field in one.__slots__:
        value = getattr(other, field)
        close = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        assert getattr(one, field) == close, field


@given(SEEDS, st.sampled_from([(1, 10), (2, 3), (1, 3, 5, 5), (1, 1, 9)]), st.integers(1, 5))
def test_streaming_equals_one_batch(seed, shape, samples):
    pairs = [pair(seed + i, shape, 1e-2) for i in range(samples)]
    batch = tuple(np.concatenate(side) for side in zip(*pairs, strict=True))
    streamed, at_once = compare(pairs), compare([batch])
    for field in ("max_abs", "scale", "worst_channel", "elements"):
        assert getattr(streamed, field) == getattr(at_once, field)
    assert streamed.sqnr_db == pytest.approx(at_once.sqnr_db, rel=1e-12)
    assert streamed.cosine == pytest.approx(at_once.cosine, rel=1e-12)


@given(SEEDS, SHAPES)
def test_equal_outputs_have_no_error_at_all(seed, shape):
    expected, _ = pair(seed, shape, 0)
    seen = compare([(expected, expected.copy())])
    assert (seen.max_abs, seen.sqnr_db, seen.scale_relative_max) == (0.0, math.inf, 0.0)
    assert seen.cosine == pytest.approx(1)
    assert seen.worst_channel is None


@given(SEEDS, st.integers(0, 7), st.integers(0, 4))
def test_the_faulty_channel_and_sample_are_named(seed, channel, sample):
    pairs = [pair(seed + i, (1, 8, 4, 4), 1e-4) for i in range(5)]
    pairs[sample][1][:, channel] *= -1
    seen = compare(pairs)
    assert seen.worst_channel == channel
    assert seen.worst_sample == seen.max_abs_sample == sample
    assert seen.worst_channel_sqnr_db < 10
    assert seen.worst_sample_sqnr_db < seen.sqnr_db


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3.4e38, -2e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_element_not_finite_spoils_every_figure_and_warns_of_nothing(bad, dtype):
    pairs = [pair(i, (1, 4, 100, 100), 1e-4) for i in range(3)]
    spoilt = pairs[1][1].astype(dtype)
    spoilt[0, 2, 50, 50] = bad
    pairs[1] = (pairs[1][0], spoilt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = compare(pairs)
    assert (seen.non_finite, seen.expected_non_finite) == (1, 0)
    assert (seen.max_abs, seen.sqnr_db, seen.worst_sample) == (math.inf, -math.inf, 1)


def test_elements_where_the_reference_is_not_finite_are_counted_and_left_out():
    expected, actual = pair(0, (1, 10), 0)
    expected[0, 3], actual[0, 3] = -math.inf, -math.inf
    expected[0, 4], actual[0, 4] = math.nan, 1.0
    seen = compare([(expected, actual)])
    assert (seen.non_finite, seen.expected_non_finite, seen.max_abs) == (0, 2, 0.0)


@given(SEEDS, st.sampled_from([np.float16, np.float32, np.float64, np.int32, np.uint8, np.bool_]))
def test_no_dtype_warns_or_overflows(seed, dtype):
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(1, 300)).astype(np.float64) * 200 for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = compare([(np.clip(x, 0, 250).astype(dtype), np.clip(y, 0, 250).astype(dtype))])
    assert math.isfinite(seen.sqnr_db)


def test_another_shape_is_recorded_and_spoils_the_figures():
    good, bad = pair(0, (1, 5), 0), (np.zeros((1, 5)), np.zeros((5, 1)))
    seen = compare([good, bad])
    assert "(5, 1)" in seen.shape_mismatch
    assert "sample 1" in seen.shape_mismatch
    assert seen.sqnr_db == -math.inf


def test_kinds_of_dtypes_must_agree_and_widths_need_not():
    x = np.ones((1, 3))
    assert compare([(x.astype(np.float16), x.astype(np.float32))]).dtype_mismatch is None
    assert compare([(x.astype(np.int64), x.astype(np.int32))]).dtype_mismatch is None
    assert "float32" in compare([(x.astype(np.int64), x.astype(np.float32))]).dtype_mismatch


def test_nothing_compared_is_the_worst_evidence():
    seen = OutputComparison("y").result()
    assert (seen.samples, seen.max_abs, seen.sqnr_db, seen.cosine) == (0, math.inf, -math.inf, 0.0)


def test_an_axis_that_varies_by_sample_is_compared():
    seen = compare([pair(0, (1, 3, 6), 1e-3), pair(1, (1, 0, 6), 0), pair(2, (1, 9, 6), 1e-3)])
    assert seen.shape_mismatch is None
    assert seen.elements == 72


def test_outputs_are_matched_by_name_and_missing_or_extra_ones_recorded():
    comparison = Comparison(["a", "b"])
    x, y = pair(0, (1, 4), 0)
    comparison.update({"a": x, "b": 2 * x}, {"c": y, "a": y}, 7)
    seen = comparison.result()
    assert seen.samples == 1
    assert seen.output("a").max_abs == 0
    assert "no such output (sample 7)" in seen.output("b").shape_mismatch
    assert "does not have" in seen.output("c").shape_mismatch
    assert seen.output("d") is None
