"""Preprocessing settings: which make sense, and what they mean for a model's input."""

from __future__ import annotations

import math

import pytest

from modelcheck.data import Preprocessing, concrete_shapes
from modelcheck.errors import UsageError

NCHW = {"x": ("float32", (None, 3, 24, 32))}


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"resize": "letterbx"}, ["resize", "'letterbx'", "Did you mean 'letterbox'?"]),
        ({"resize": "xyz"}, ["'stretch', 'crop', 'letterbox', 'shorter'"]),
        ({"layout": "NCWH"}, ["layout", "Did you mean 'NCHW'?"]),
        ({"dtype": "float23"}, ["dtype", "Did you mean 'float32'?"]),
        ({"size": (0, 4)}, ["size", "0 is not a side"]),
        ({"size": (-3, 4)}, ["size"]),
        ({"size": (4, 100_000)}, ["size", "100000"]),
        ({"size": (4.0, 4)}, ["size", "4.0"]),
        ({"size": (4,)}, ["[width, height]"]),
        ({"size": (4, True)}, ["size", "True"]),
        ({"std": 0}, ["std", "above 0"]),
        ({"std": (1, 0, 1)}, ["std", "above 0"]),
        ({"std": -1}, ["std", "above 0"]),
        ({"std": math.nan}, ["std", "nan"]),
        ({"mean": math.inf}, ["mean", "inf"]),
        ({"mean": (1, 2)}, ["mean", "2 numbers"]),
        ({"mean": "127"}, ["mean", "'127'"]),
        ({"mean": (1, 2, 3), "gray": True}, ["mean", "one number for gray"]),
        ({"gray": True, "rgb": True}, ["gray", "rgb"]),
        ({"pad_value": 114}, ["pad_value", "letterbox"]),
        ({"resize": "shorter"}, ["shorter_side"]),
        ({"shorter_side": 256}, ["shorter_side"]),
        ({"resize": "shorter", "shorter_side": 100, "size": (224, 224)}, ["too small to crop"]),
        ({"dtype": "uint8", "mean": 1}, ["dtype", "mean and std"]),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_key(options, fragments):
    with pytest.raises(UsageError) as caught:
        Preprocessing(**options)
    assert caught.value.exit_code == 2
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("model", "setting", "fragments"),
    [
        (("float32", (None, 24, 32, 3)), {}, ["takes 24 channels", "layout = 'NHWC'"]),
        (("float32", (1, 1, 24, 32)), {}, ["takes 1 channels", "gray = true"]),
        (("float32", (1, 3, 24, 32)), {"gray": True}, ["takes 3 channels", "gray = false"]),
        (("float32", (1, 12, 24, 32)), {}, ["takes 12 channels", "npz"]),
        (("float32", (8, 3, 24, 32)), {}, ["takes 8 images at once", "npz"]),
        (("float32", (1, 3, 24, 32)), {"size": (24, 32)}, ["24x32 (width x height) does not fit"]),
        (("float32", (1, 3, None, None)), {}, ["image size open", "size = [width, height]"]),
        (("uint8", (1, 3, 24, 32)), {"mean": 1}, ["mean and std"]),
        (("uint8", (1, 3, 24, 32)), {"dtype": "float32"}, ["npz"]),
        (("int8", (1, 3, 24, 32)), {}, ["as uint8", "npz"]),
        (("float32", (1, 3, 24)), {}, ["four axes"]),
        (
            ("float32", (1, 3, 24, 32)),
            {"resize": "shorter", "shorter_side": 25},
            ["too small to crop 32x24"],
        ),
    ],
)
def test_an_input_that_images_cannot_fit_is_refused_with_the_setting_to_change(
    model, setting, fragments, signature
):
    (spec,) = signature(x=model).inputs
    with pytest.raises(UsageError) as caught:
        Preprocessing(**setting).fitted(spec, model[1])
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_size_and_dtype_are_taken_from_the_model(signature):
    (spec,) = signature(x=("float16", (None, 24, 32, 3))).inputs
    fitted = Preprocessing(layout="NHWC", mean=[1, 2, 3]).fitted(spec, spec.shape)
    assert fitted.size == (32, 24)
    assert fitted.dtype == "float16"
    assert fitted.mean == (1.0, 2.0, 3.0)
    assert fitted.blob_shape == (1, 24, 32, 3)


# Shapes.


def test_free_dimensions_are_fixed_by_shape_then_preprocessing_then_a_batch_of_one(signature):
    free = signature(x=("float32", (None, 3, None, None)), m=("int64", (None, 7)))
    assert concrete_shapes(free, preprocessing=Preprocessing(size=(32, 24))) == {
        "x": (1, 3, 24, 32),
        "m": (1, 7),
    }
    given = concrete_shapes(free, shapes={"x": (2, 3, 5, 6)})
    assert given == {"x": (2, 3, 5, 6), "m": (1, 7)}
    unknown_channels = signature(x=("float32", (None, None, None, None)))
    gray = Preprocessing(size=(32, 24), gray=True)
    assert concrete_shapes(unknown_channels, preprocessing=gray) == {"x": (1, 1, 24, 32)}
    scalar = signature(x=("float32", ()))
    assert concrete_shapes(scalar) == {"x": ()}


@pytest.mark.parametrize(
    ("shape", "stated", "fragments"),
    [
        ((None, 3, None, None), None, ["--shape x=1x3x16x16"]),
        (None, None, ["unknown rank", "--shape x="]),
        ((1, 3, None, 8), {"x": (1, 4, 8, 8)}, ["1x4x8x8 contradicts the model"]),
        ((1, 3, None, 8), {"x": (1, 3, 8)}, ["1x3x8 contradicts"]),
        ((None, 3), {"x": (0, 3)}, ["below 1"]),
        ((None, 3), {"image": (1, 3)}, ["no input 'image'", "Its inputs are x"]),
        ((None, 3), {"xx": (1, 3)}, ["no input 'xx'", "Did you mean 'x'?"]),
    ],
)
def test_a_shape_that_stays_open_or_contradicts_the_model_is_a_usage_error(
    shape, stated, fragments, signature
):
    with pytest.raises(UsageError) as caught:
        concrete_shapes(signature(x=("float32", shape)), shapes=stated)
    for fragment in fragments:
        assert fragment in str(caught.value)
