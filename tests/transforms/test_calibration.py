"""Ranges of int8 grids: what each way of calibrating makes of the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from quantizing import Net, Quantizer, images, quantizing

from modelcheck.errors import NotEnoughEvidence
from modelcheck.reference.activations import Histogram, Range
from modelcheck.reference.worker import _Bins
from modelcheck.transforms import quantize
from modelcheck.transforms.calibration import grid, narrowed

BINS = 2048


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with quantizing() as made:
        yield made


def counted(values: np.ndarray) -> Histogram:
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, BINS, (low, high))
    return Histogram(Range(low, high, values.shape), counts, low, (high - low) / BINS)


def error_of(values: np.ndarray, chosen: Range) -> float:
    """The mean square error of rounding to the grid of a range."""
    steps = grid(chosen, "int8")
    low, high = steps.ends
    scale = float(steps.scale)
    rounded = np.rint(values.clip(low, high) / scale) * scale
    return float(np.mean((values - rounded) ** 2))


def with_outliers() -> np.ndarray:
    values = np.random.default_rng(0).standard_normal(200_000)
    values[:2] = 12.0, -11.0
    return values


@pytest.mark.parametrize("criterion", ["mse", "entropy"])
def test_few_numbers_far_out_are_cut_off(criterion: str) -> None:
    values = with_outliers()
    chosen = narrowed(counted(values), criterion)  # type: ignore[arg-type]
    assert chosen.maximum < 9
    assert chosen.minimum > -9
    assert error_of(values, chosen) < error_of(values, Range(values.min(), values.max(), ()))


def test_no_narrower_range_has_a_smaller_square_error() -> None:
    values = with_outliers()
    best = error_of(values, narrowed(counted(values), "mse"))
    for part in np.linspace(1.0, 0.2, 33):
        other = Range(part * values.min(), part * values.max(), ())
        assert best <= 1.02 * error_of(values, other)


def test_numbers_that_fill_their_range_keep_it() -> None:
    values = np.random.default_rng(0).uniform(-1, 3, 100_000)
    chosen = narrowed(counted(values), "mse")
    assert chosen.maximum == pytest.approx(3, rel=0.02)
    assert chosen.minimum == pytest.approx(-1, rel=0.02)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("criterion", ["mse", "entropy"])
def test_what_has_no_range_stays_as_it_is(criterion: str, value: float) -> None:
    seen = Range(value, value, (4,))
    counts = np.full(BINS, 1, np.int64)
    assert narrowed(Histogram(seen, counts, 0.0, 1.0), criterion) is seen  # type: ignore[arg-type]


def test_histograms_are_of_all_samples(quantizer: Quantizer) -> None:
    net = Net("n", 3, 8, 8)
    model = net.model(net.conv("x", 3, 4), "n", 4, 8, 8)
    samples = images(0, 4, 3, 8, 8)
    activations = quantizer.context(samples).activations
    assert activations is not None
    seen = activations.histograms(model, ["x"])["x"]
    values = np.concatenate([np.asarray(s["x"]).ravel() for s in samples])
    assert seen.range.minimum == values.min()
    assert seen.range.maximum == values.max()
    assert seen.counts.sum() == values.size  # few enough to count every one
    assert np.average(seen.centres, weights=seen.counts) == pytest.approx(values.mean(), abs=1e-2)


@settings(deadline=None)
@given(
    st.lists(
        arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**99), 2.0**99, width=32)),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_bins_hold_what_they_say_in_whatever_order_values_come(parts: list[np.ndarray]) -> None:
    bins = _Bins(64)
    for part in parts:
        bins.add(part)
    values = np.concatenate(parts).astype(np.float64)
    assert 0 < bins.counts.size <= 64
    edges = np.ldexp(np.arange(bins.counts.size + 1) + float(bins.first), bins.exponent)
    expected = np.histogram(values, edges)[0] if edges[-1] > values.max() else None
    assert expected is not None, "the last bin ends above the largest value"
    assert bins.counts.tolist() == expected.tolist()


def test_what_is_not_finite_is_in_no_bin() -> None:
    bins = _Bins(8)
    bins.add(np.array([np.nan, np.inf, -np.inf], np.float32))
    assert bins.counts.size == 0
    bins.add(np.array([0.0, 0.0], np.float32))
    bins.add(np.array([1.0, np.nan], np.float32))
    assert bins.counts.sum() == 3


def test_large_tensors_are_counted_from_another_element_in_every_sample(
    quantizer: Quantizer,
) -> None:
    net = Net("n", 1, 256, 256)
    model = net.model(net.conv("x", 1, 1), "n", 1, 256, 256)
    # Each sample has one value wherever its number is the remainder by the stride of 9.
    samples = [{"x": np.zeros((1, 1, 256, 256), np.float32)} for _ in range(3)]
    for i, sample in enumerate(samples):
        sample["x"].reshape(-1)[i::9] = i + 1.0
    activations = quantizer.context(samples).activations
    assert activations is not None
    seen = activations.histograms(model, ["x"])["x"]
    held = seen.centres[seen.counts > 0]
    assert [round(float(c)) for c in held] == [1, 2, 3]


def test_the_average_is_that_of_the_extremes_of_samples(quantizer: Quantizer) -> None:
    net = Net("n", 3, 4, 4)
    model = net.model(net.conv("x", 3, 4), "n", 4, 4, 4)
    samples = [{"x": np.full((1, 3, 4, 4), v, np.float32)} for v in (1.0, 2.0, 9.0)]
    made = quantize(calibration="average")(model, quantizer.context(samples))
    assert made.weights["x.scale"] == pytest.approx(4.0 / 255)  # of 1, 2 and 9
    made = quantize()(model, quantizer.context(samples))
    assert made.weights["x.scale"] == pytest.approx(9.0 / 255)


@pytest.mark.parametrize(
    "options",
    [{"calibration": "mse"}, {"calibration": "entropy"}, {"rounding": "learned"}],
)
def test_too_few_samples_for_a_way_to_calibrate_are_said(
    quantizer: Quantizer, options: dict[str, object]
) -> None:
    net = Net("n", 3, 4, 4)
    model = net.model(net.conv("x", 3, 4), "n", 4, 4, 4)
    with pytest.raises(NotEnoughEvidence, match="which 3 samples cannot tell"):
        quantize(**options)(model, quantizer.context(images(0, 1, 3, 4, 4, count=3)))
    quantize(**options)(model, quantizer.context(images(0, 1, 3, 4, 4, count=4)))
    quantize()(model, quantizer.context(images(0, 1, 3, 4, 4, count=1)))


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "mse", "entropy", "average"])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_samples_that_are_one_number_calibrate_nothing(
    quantizer: Quantizer, calibration: str, value: float
) -> None:
    net = Net("n", 3, 4, 4)
    model = net.model(net.conv("x", 3, 4), "n", 4, 4, 4)
    samples = [{"x": np.full((1, 3, 4, 4), value, np.float32)}] * 5
    with pytest.raises(NotEnoughEvidence, match="no other value"):
        quantize(calibration=calibration)(model, quantizer.context(samples))
