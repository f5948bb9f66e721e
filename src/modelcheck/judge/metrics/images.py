"""Images out of a net: peak signal-to-noise ratio and structural similarity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from modelcheck.errors import UsageError
from modelcheck.judge.metrics.base import Array, SampleMetric, misfit, only_item
from modelcheck.judge.metrics.classes import OutputName

# Wang, Bovik, Sheikh and Simoncelli (2004): an 11 x 11 Gaussian window, and these constants.
_SIGMA, _RADIUS = 1.5, 5
_K1, _K2 = 0.01, 0.03
# An image whose largest value is so far from the peak was not meant by it.
_MOST_OVER, _MOST_UNDER = 2.0, 50.0


@dataclass(frozen=True, kw_only=True)
class _OfImages(SampleMetric):
    output: OutputName = ""
    peak: Annotated[
        float | None,
        Field(gt=0, description="the value of white, as 1 or 255; default: each image's largest"),
    ] = None

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.output,)

    def _peak_of(self, image: Array) -> float:
        largest = float(np.abs(image).max(initial=0.0))
        if self.peak is None:
            return largest or 1.0
        if largest > _MOST_OVER * self.peak or 0 < largest < self.peak / _MOST_UNDER:
            raise UsageError(
                f"does not fit: peak = {self.peak:g}, and an image of the reference has values up "
                f"to {largest:.3g}",
                remedy="Give the value of white in this output, or leave peak out.",
            )
        return self.peak


@dataclass(frozen=True, kw_only=True)
class Psnr(_OfImages):
    """10 log10(peak^2 / mean squared difference), in dB."""

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float:
        image = only_item(expected[0]).astype(np.float64)
        peak = self._peak_of(image)
        if image.ndim < 2:
            raise misfit(expected[0].shape, "an image has rows and columns")
        if actual is None:
            return -math.inf
        error = float(np.square(image - only_item(actual[0])).mean())
        return 10 * math.log10(peak**2 / error) if error > 0 else math.inf


@dataclass(frozen=True, kw_only=True)
class Ssim(_OfImages):
    """The mean over pixels and channels, where the window fits; below 0 it counts as 0.

    SSIM = (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2))
    C1 = (0.01 peak)^2, C2 = (0.03 peak)^2; m, s: mean and (co)variance under the window.
    """

    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float:
        image = self._channels(expected[0])
        peak = self._peak_of(image)
        if actual is None:
            return 0.0
        pairs = zip(image, self._channels(actual[0]), strict=True)
        return max(0.0, float(np.mean([ssim(x, y, peak) for x, y in pairs])))

    def _channels(self, output: Array) -> Array:
        image = only_item(output).astype(np.float64)
        image = image[None] if image.ndim == 2 else image
        image = image.transpose(2, 0, 1) if self.layout == "NHWC" and image.ndim == 3 else image
        if image.ndim != 3 or min(image.shape[1:]) <= 2 * _RADIUS:
            raise misfit(output.shape, "SSIM wants images of at least 11 x 11 pixels")
        return image


def ssim(first: Array, second: Array, peak: float) -> float:
    """Of two gray images (H, W), each at least 11 x 11."""
    from scipy.ndimage import gaussian_filter

    def local_mean(x: Array) -> Array:
        inner = slice(_RADIUS, -_RADIUS)
        smooth: Array = gaussian_filter(x, _SIGMA, radius=_RADIUS)[inner, inner]
        return smooth

    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    mx, my = local_mean(first), local_mean(second)
    vx = local_mean(first * first) - mx * mx
    vy = local_mean(second * second) - my * my
    covariance = local_mean(first * second) - mx * my
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return float((luminance * (2 * covariance + c2) / (vx + vy + c2)).mean())
