"""Segmentations and images: mIoU, PSNR and SSIM against their definitions."""

import math

import numpy as np
import pytest
from metric_cases import scored

from modelcheck.errors import UsageError
from modelcheck.judge.metrics import MetricSpec
from modelcheck.judge.metrics.images import ssim

RNG = np.random.default_rng(5)


def spec(kind, limit=0.9, **options):
    return MetricSpec(kind, limit, options=tuple(options.items()))


def one(spec, expected, actual):
    return scored(spec, [expected], [actual]).values.tolist()


def one_hot(classes, count):
    return np.eye(count, dtype=np.float32)[classes].transpose(2, 0, 1)[None]


@pytest.mark.parametrize("form", ["scores", "nhwc", "indices"])
def test_the_miou_is_the_mean_over_the_classes_that_either_side_has(form):
    wanted = np.zeros((4, 4), np.int64)
    wanted[2:] = 1
    given = wanted.copy()
    given[3] = 2  # 4 of the 8 pixels of class 1 become class 2
    expected = (1 + 0.5 + 0) / 3
    make = {
        "scores": lambda c: one_hot(c, 5),
        "nhwc": lambda c: one_hot(c, 5).transpose(0, 2, 3, 1),
        "indices": lambda c: c[None],
    }[form]
    layout = "NHWC" if form == "nhwc" else "NCHW"
    sized = [np.kron(c, np.ones((3, 3), np.int64)) for c in (wanted, given)]
    found = one(spec("segmentation", layout=layout), *map(make, sized))
    assert found == [pytest.approx(expected)]


def test_one_channel_is_foreground_from_the_threshold_on_and_nothing_says_nothing():
    wanted = np.zeros((1, 1, 8, 8), np.float32)
    wanted[..., :4] = 0.9
    given = wanted.copy()
    given[..., 2:4] = 0.4
    assert one(spec("segmentation"), wanted, given) == [0.5]
    assert one(spec("segmentation", threshold=0.3), wanted, given) == [1.0]
    empty = np.zeros_like(wanted)
    found = scored(spec("segmentation"), [empty, empty], [empty, wanted])
    assert (found.values.tolist(), found.silent) == ([0.0], 1)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, 4, 16, 16), "NHWC"), ((1, 64, 96, 4), "NCHW"), ((1, 32, 32, 1), "NCHW"),
     ((1, 10), "NCHW"), ((2, 3, 32, 32), "NCHW")],
)  # fmt: skip
def test_another_layout_or_no_image_does_not_fit(shape, layout):
    with pytest.raises(UsageError, match="does not fit"):
        one(spec("segmentation", layout=layout), np.ones(shape), np.ones(shape))


def test_a_small_map_of_many_classes_fits():
    output = RNG.random((1, 150, 64, 64))
    assert one(spec("segmentation"), output, output) == [1.0]


def test_the_psnr_is_that_of_the_mean_squared_difference():
    image = RNG.random((1, 3, 20, 20))
    found = one(spec("psnr", 30.0, peak=1.0), image, image + 0.01)
    assert found == [pytest.approx(40.0)]
    assert one(spec("psnr", 30.0, peak=1.0), image, image) == [math.inf]
    # Without a peak each image's largest value stands for it, which never flatters.
    assert one(spec("psnr", 30.0), 255 * image, 255 * (image + 0.01))[0] <= 40.0


@pytest.mark.parametrize(("peak", "scale"), [(1.0, 255.0), (255.0, 1.0)])
def test_a_peak_that_is_not_that_of_the_images_is_refused(peak, scale):
    image = scale * RNG.random((1, 1, 20, 20))
    for kind, limit in (("psnr", 30.0), ("ssim", 0.9)):
        with pytest.raises(UsageError, match="peak"):
            one(spec(kind, limit, peak=peak), image, image)


def test_ssim_is_that_of_wang_and_others_at_every_place_of_the_window():
    x, y = RNG.random((14, 13)), RNG.random((14, 13))
    at = np.arange(-5, 6)
    window = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2, found = 0.01**2, 0.03**2, []
    for i in range(4):
        for j in range(3):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            found.append(
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            )
    assert ssim(x, y, 1.0) == pytest.approx(np.mean(found), rel=1e-9)


def test_ssim_of_an_image_with_itself_is_1_and_with_its_negative_counts_as_0():
    image = RNG.random((1, 3, 32, 32)).astype(np.float32)
    assert one(spec("ssim", peak=1.0), image, image) == [pytest.approx(1.0)]
    assert one(spec("ssim", peak=1.0), image, 1 - image) == [0.0]
    turned = image.transpose(0, 2, 3, 1)
    assert one(spec("ssim", peak=1.0, layout="NHWC"), turned, turned) == [pytest.approx(1.0)]


@pytest.mark.parametrize("shape", [(1, 3, 10, 32), (1, 32), (2, 3, 32, 32)])
def test_images_too_small_for_the_window_do_not_fit(shape):
    with pytest.raises(UsageError, match="does not fit"):
        one(spec("ssim"), np.ones(shape), np.ones(shape))


@pytest.mark.parametrize(("kind", "worst"), [("segmentation", 0), ("ssim", 0), ("psnr", -math.inf)])
def test_nan_is_the_worst_there_is(kind, worst):
    image = RNG.random((1, 3, 32, 32))
    bad = image.copy()
    bad[0, 0, 0, 0] = np.nan
    assert one(spec(kind), image, bad) == [worst]
