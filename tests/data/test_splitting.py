"""The split into calibration and judging: disjoint by content, bounded, stable, and said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import write_ppm

from modelcheck.data import Preprocessing, from_arrays, open_samples, split, split_in_three
from modelcheck.errors import NotEnoughEvidence, UsageError
from modelcheck.model import Signature, TensorSpec

ONE = Signature((TensorSpec("x", np.dtype("float32"), (None, 1), (None, None)),), ())

values = st.lists(st.integers(0, 400), min_size=1, max_size=500)


def samples_of(numbers):
    return from_arrays({"x": np.asarray(numbers, np.float32)[:, None]}, ONE)


def numbers_in(samples):
    return [int(s.arrays["x"][0, 0]) for s in samples]


def split_or_none(data, calibration=None):
    try:
        return split(data, calibration, True)
    except NotEnoughEvidence:
        return None


@given(values)
def test_calibration_and_judging_share_no_content_and_hold_each_sample_once(numbers):
    parts = split_or_none(samples_of(numbers))
    if parts is None:
        # Only too few samples, or too many equal ones, are no ground for a split.
        assert len(set(numbers)) < 3
        return
    judged, calibrating = numbers_in(parts.judged), numbers_in(parts.calibration)
    assert not set(judged) & set(calibrating)
    assert sorted(judged + calibrating) == sorted(set(numbers))


@given(values)
def test_at_most_a_third_and_at_most_a_hundred_calibrate(numbers):
    parts = split_or_none(samples_of(numbers))
    if parts is not None:
        assert 1 <= parts.calibration.count <= min(100, len(numbers) // 3)


@pytest.mark.parametrize(("n", "expected"), [(3, 1), (5, 1), (30, 10), (300, 100), (1000, 100)])
def test_different_samples_fill_the_bounds(n, expected):
    assert split(samples_of(range(n)), None, True).calibration.count == expected


@given(st.sets(st.integers(0, 10_000), min_size=3, max_size=200), st.randoms())
def test_the_split_does_not_depend_on_the_order_of_the_samples(numbers, random):
    ordered = sorted(numbers)
    shuffled = list(ordered)
    random.shuffle(shuffled)
    first, second = (split(samples_of(n), None, True) for n in (ordered, shuffled))
    assert set(numbers_in(first.calibration)) == set(numbers_in(second.calibration))


@given(values, values)
def test_samples_in_both_are_dropped_from_judging_and_counted(judging, calibrating):
    data, calibration = samples_of(judging), samples_of(calibrating)
    once = list(dict.fromkeys(judging))
    left = [n for n in once if n not in calibrating]
    if not left:
        with pytest.raises(NotEnoughEvidence, match="none is left to judge by"):
            split(data, calibration, True)
        return
    parts = split(data, calibration, True)
    assert numbers_in(parts.judged) == left
    assert numbers_in(parts.calibration) == calibrating
    assert parts.dropped == len(once) - len(left)
    assert (f"{parts.dropped:,} that are in both were dropped" in parts.text) == (parts.dropped > 0)


def test_the_split_is_said_in_a_sentence():
    parts = split(samples_of(range(30)), None, True)
    assert parts.text == (
        "10 of 30 samples calibrate, chosen by a hash of their content; the other 20 are judged"
    )


def test_without_a_step_that_calibrates_everything_is_judged():
    data = samples_of(range(5))
    parts = split(data, data, False)
    assert parts.judged is data
    assert parts.calibration is None
    assert parts.dropped == 0
    assert "unused" in parts.text


@pytest.mark.parametrize("numbers", [[1], [1, 2], [7] * 50])
def test_samples_that_cannot_be_split_are_not_enough_evidence(numbers):
    with pytest.raises(NotEnoughEvidence, match="--calibration-data") as caught:
        split(samples_of(numbers), None, True)
    assert caught.value.exit_code == 5


def test_synthetic_samples_calibrate_only_when_that_is_allowed():
    synthetic = open_samples(None, ONE)
    with pytest.raises(UsageError, match="--allow-synthetic"):
        split(synthetic, None, True)
    with pytest.raises(UsageError, match="--allow-synthetic"):
        split(samples_of(range(9)), synthetic, True)
    assert split(synthetic, None, True, allow_synthetic=True).calibration.count == 10
    assert split(synthetic, samples_of(range(9)), True).judged.count == 32
    assert split(synthetic, None, False).judged is synthetic


def test_an_image_and_its_array_are_the_same_sample(tmp_path):
    """An .npz made of some of the images of a folder is found to overlap with it."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
    for i, image in enumerate(pixels):
        write_ppm(folder / f"{i}.ppm", image)
    np.savez(tmp_path / "some.npz", x=pixels[2:4])
    wanted = Signature((TensorSpec("x", np.dtype("float32"), (None, 4, 5, 3), (None,) * 4),), ())
    images = open_samples(folder, wanted, preprocessing=Preprocessing(rgb=True, layout="NHWC"))
    arrays = open_samples(tmp_path / "some.npz", wanted)
    parts = split(images, arrays, True)
    assert parts.dropped == 2
    assert [s.name for s in parts.judged] == ["0.ppm", "1.ppm", "4.ppm", "5.ppm"]


def three_or_none(data, *, calibrate):
    try:
        return split_in_three(data, None, calibrate=calibrate)
    except NotEnoughEvidence:
        return None


@given(values, st.booleans())
def test_of_three_sets_no_two_share_content_and_together_they_are_all(numbers, calibrate):
    sets = three_or_none(samples_of(numbers), calibrate=calibrate)
    if sets is None:
        assert len(set(numbers)) < 6
        return
    assert (sets.calibration is not None) == calibrate
    parts = [numbers_in(s) for s in (sets.calibration, sets.choosing, sets.verdict) if s]
    assert all(parts)
    assert sorted(n for part in parts for n in part) == sorted(set(numbers))


@given(values, st.randoms())
def test_the_three_sets_do_not_depend_on_the_order_of_the_samples(numbers, random):
    shuffled = random.sample(numbers, len(numbers))
    one, other = (three_or_none(samples_of(n), calibrate=True) for n in (numbers, shuffled))
    assert (one is None) == (other is None)
    if one is not None:
        assert sorted(numbers_in(one.verdict)) == sorted(numbers_in(other.verdict))


def test_a_few_choose_and_most_judge():
    sets = split_in_three(samples_of(range(1000)), None, calibrate=True)
    assert (sets.calibration.count, sets.choosing.count, sets.verdict.count) == (100, 32, 868)
    assert sets.text.startswith(
        "100 samples to calibrate with, 32 samples to choose by, 868 to judge by"
    )
