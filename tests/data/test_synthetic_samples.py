"""Synthetic samples: seeded, different from each other, and marked as what they are."""

from __future__ import annotations

import numpy as np
import pytest

from modelcheck.data import Preprocessing, open_samples
from modelcheck.errors import UsageError

SHAPES = {"x": ("float32", (None, 3, 40, 56))}


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(signature):
    wanted = signature(**SHAPES)
    digests = open_samples(None, wanted, seed=1).digests()
    assert digests == open_samples(None, wanted, seed=1).digests()
    assert len({*digests, *open_samples(None, wanted, seed=2).digests()}) == 64


def test_a_sample_does_not_depend_on_how_many_there_are(signature):
    wanted = signature(**SHAPES)
    few, many = open_samples(None, wanted, count=3), open_samples(None, wanted, count=40)
    assert few.digests() == many.digests()[:3]
    assert many.select([7]).digests() == many.digests()[7:8]


def test_they_say_that_they_are_synthetic_and_from_which_seed(signature):
    samples = open_samples(None, signature(**SHAPES), seed=42)
    assert samples.synthetic
    assert samples.labels is None
    assert samples.origin == "synthetic inputs, seed 42 (32 samples)"


@pytest.mark.parametrize(
    ("setting", "shape"),
    [
        (Preprocessing(mean=127.5, std=127.5), (1, 3, 40, 56)),
        (Preprocessing(mean=127.5, std=127.5, layout="NHWC"), (1, 40, 56, 3)),
        (Preprocessing(mean=127.5, std=127.5, gray=True), (1, 1, 40, 56)),
    ],
)
def test_with_preprocessing_they_look_like_preprocessed_images(setting, shape, signature):
    samples = open_samples(
        None, signature(x=("float32", (None, *shape[1:]))), preprocessing=setting
    )
    arrays = np.concatenate([s.arrays["x"] for s in samples])
    assert arrays.shape[1:] == shape[1:]
    assert -1 <= arrays.min() < -0.8
    assert 0.8 < arrays.max() <= 1
    pixels = arrays * 127.5 + 127.5
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-3)
    image = np.moveaxis(arrays[0], -1, 0) if shape[-1] == 3 else arrays[0]
    rough = np.abs(np.diff(image, axis=2)).mean()
    assert rough < 0.5 * image.std()  # neighbours are alike; in white noise it is 1.13 times


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("int64", 0, 1), ("int32", 0, 1), ("uint8", 0, 255), ("bool", 0, 1)],
)
def test_whole_numbers_stay_in_a_range_that_any_model_takes(dtype, low, high, signature):
    arrays = [s.arrays["x"] for s in open_samples(None, signature(x=(dtype, (None, 50))))]
    assert arrays[0].dtype == dtype
    assert {int(np.min(arrays)), int(np.max(arrays))} == {low, high}


def test_two_inputs_of_one_shape_get_different_values(signature):
    wanted = signature(a=("float32", (1, 9)), b=("float32", (1, 9)))
    sample = next(iter(open_samples(None, wanted)))
    assert not np.array_equal(sample.arrays["a"], sample.arrays["b"])


@pytest.mark.parametrize("count", [0, -5])
def test_a_count_that_proves_nothing_is_refused(count, signature):
    with pytest.raises(UsageError, match="prove nothing"):
        open_samples(None, signature(**SHAPES), count=count)


def test_a_model_without_inputs_is_refused(signature):
    with pytest.raises(UsageError, match="no inputs"):
        open_samples(None, signature())
