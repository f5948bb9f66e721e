"""Found inputs are plausible: within what the data hold, near a sample, and always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from modelcheck.worst_inputs import (
    Contrast,
    Neighbourhood,
    Noise,
    Ranges,
    Shift,
    Variant,
    describe_change,
)
from modelcheck.worst_inputs.drawing import variants

RADIUS = 0.1


def samples() -> dict[int, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return {
        i: {
            "image": random.uniform(-2, 3, (1, 3, 9, 7)).astype(np.float32),
            "bytes": random.integers(5, 250, (1, 6, 5, 3)).astype(np.uint8),
            "row": random.standard_normal((1, 11)).astype(np.float32),
            "sound": random.standard_normal((1, 20, 4)).astype(np.float32),
            "factor": np.asarray(random.uniform(1, 2), np.float32),
            "tokens": random.integers(0, 9, (1, 8)),
        }
        for i in range(5)
    }


def neighbourhood(of: dict[int, dict[str, np.ndarray]] | None = None) -> Neighbourhood:
    of = of or samples()
    ranges = Ranges()
    for arrays in of.values():
        ranges.update(arrays)
    return Neighbourhood(of, ranges, radius=RADIUS)


NEAR = neighbourhood()
VARIANTS = variants(NEAR, [0, 3])


@given(VARIANTS)
def test_every_value_lies_in_the_range_of_the_data_and_near_its_sample(variant: Variant) -> None:
    arrays, ranges = NEAR.arrays(variant), NEAR.ranges
    assert ranges.contains(arrays)
    for name, low in ranges.low.items():
        reach = RADIUS * (ranges.high[name] - low)
        moved = arrays[name].astype(float) - NEAR.samples[variant.sample][name]
        rounding = 0.5 if arrays[name].dtype.kind == "u" else 1e-5
        assert (np.abs(moved) <= reach + rounding).all()


@given(VARIANTS)
def test_samples_stay_as_they_are_and_so_do_dtypes_and_whole_numbers(variant: Variant) -> None:
    arrays = NEAR.arrays(variant)
    for name, array in samples()[variant.sample].items():
        np.testing.assert_array_equal(NEAR.samples[variant.sample][name], array)
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
    np.testing.assert_array_equal(arrays["tokens"], samples()[variant.sample]["tokens"])


@given(VARIANTS, VARIANTS)
def test_a_variant_is_the_same_input_whatever_was_asked_before(
    variant: Variant, before: Variant
) -> None:
    NEAR.arrays(before)
    NEAR.arrays(Variant(variant.sample, variant.edits[:-1]))
    fresh = neighbourhood().arrays(variant)
    for name, array in NEAR.arrays(variant).items():
        np.testing.assert_array_equal(array, fresh[name])


def test_outside_of_its_region_a_variant_is_its_sample() -> None:
    variant = Variant(1, (Noise("image", 1.0, 1, 7),), (("image", ((2, 4), (3, 7))),))
    changed = NEAR.arrays(variant)["image"] != NEAR.samples[1]["image"]
    assert changed[:, :, 2:4, 3:7].any()
    changed[:, :, 2:4, 3:7] = False
    assert not changed.any()


def test_channels_have_ranges_of_their_own_and_rows_of_features_too() -> None:
    assert NEAR.ranges.low["image"].shape == (1, 3, 1, 1)
    assert NEAR.ranges.low["bytes"].shape == (1, 1, 1, 3)
    assert NEAR.ranges.low["row"].shape == (1, 11)
    assert NEAR.ranges.low["sound"].shape == (1, 1, 1)
    assert "tokens" not in NEAR.ranges.varies()


def test_an_input_that_never_varies_is_not_varied() -> None:
    arrays = {"x": np.ones((1, 3, 4, 4), np.float32), "y": np.arange(4, dtype=np.float32)[None]}
    other = {"x": arrays["x"], "y": arrays["y"] + 1}
    assert neighbourhood({0: arrays, 1: other}).ranges.varies() == ("y",)


def test_samples_of_several_sizes_share_one_range() -> None:
    ranges = Ranges()
    for n in (3, 5):
        ranges.update({"row": np.arange(n, dtype=np.float32)[None]})
    assert (float(ranges.low["row"]), float(ranges.high["row"])) == (0, 4)


def test_what_lies_outside_of_the_data_is_told_apart() -> None:
    arrays = {name: array.copy() for name, array in samples()[0].items()}
    assert NEAR.ranges.contains(arrays)
    arrays["image"][0, 1, 0, 0] = 3.5
    assert not NEAR.ranges.contains(arrays)


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (
            Variant(0, (Shift("image", 1.0, 1, ((4, 5), (2, 3))),)),
            ["sample 0 with 1 value changed: image[1,4,2] ", " -> "],
        ),
        (
            Variant(0, (Noise("image", 0.5, 4, 9), Contrast("sound", -0.5))),
            ["noise ±5 % of the range in blocks of 4 (seed 9)", "contrast -50 %"],
        ),
        (
            Variant(0, (Shift("image", -0.3, 2), Shift("image", 0.2, None, ((0, 4), (1, 2))))),
            ["-3 % of the range in channel 2", "+2 % of the range at [0:4, 1]"],
        ),
        (
            Variant(0, (Shift("image", 1.0),), (("image", ((0, 4), (1, 3))),)),
            ["only in [0:4, 1:3]", "+10 % of the range everywhere"],
        ),
        (Variant(0, (Shift("image", 0.1),) * 9), [" and 6 more edits"]),
        (Variant(0), ["sample 0 as it is"]),
    ],
)  # fmt: skip
def test_a_found_input_reads_well(variant: Variant, words: list[str]) -> None:
    text = describe_change(NEAR, variant, "sample 0")
    assert all(word in text for word in words), text


def test_nothing_is_written_where_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelcheck.worst_inputs.drawing import draw

    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    monkeypatch.chdir(here)
    search = draw(NEAR, [0], number=1, examples=5, home=home)
    next(search)
    search.send(1.0)
    search.close()
    assert not list(here.iterdir())
