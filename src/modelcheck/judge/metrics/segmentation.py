"""Segmentation: the mean over classes of intersection over union, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from modelcheck.judge.metrics.base import Array, SampleMetric, misfit, only_item
from modelcheck.judge.metrics.classes import OutputName


@dataclass(frozen=True, kw_only=True)
class Segmentation(SampleMetric):
    """mIoU of one image over the classes that either side has in it.

    Class maps: the arg max of (1, C, H, W) scores; one channel against `threshold`; or whole
    numbers (1, H, W) as they are. One channel without foreground on either side says nothing.
    """

    output: OutputName = ""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    threshold: Annotated[float, Field(description="of a net with one channel")] = 0.5

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.output,)

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float | None:
        wanted, binary = self._class_map(expected[0])
        if actual is None:
            return 0.0
        given, _ = self._class_map(actual[0])
        classes = max(int(wanted.max()), int(given.max())) + 1
        if min(int(wanted.min()), int(given.min())) < 0:
            raise misfit(expected[0].shape, "classes are numbers from 0")
        counts = np.bincount(
            (wanted * classes + given).reshape(-1), minlength=classes * classes
        ).reshape(classes, classes)
        union = counts.sum(axis=0) + counts.sum(axis=1) - counts.diagonal()
        seen = np.flatnonzero(union[1:]) + 1 if binary else np.flatnonzero(union)
        return float((counts.diagonal()[seen] / union[seen]).mean()) if len(seen) else None

    def _class_map(self, output: Array) -> tuple[Array, bool]:
        """The class of every pixel, and whether it is only foreground or not."""
        maps = only_item(output)
        if output.dtype.kind in "biu" and maps.size and maps.squeeze().ndim <= 2:
            return maps.astype(np.int64), False
        if maps.ndim != 3 or not maps.size:
            raise misfit(output.shape, "a segmentation is (1, C, H, W), or (1, H, W) integers")
        axis, other = (0, 2) if self.layout == "NCHW" else (2, 0)
        # Classes are fewer than pixels, unless the layout is another one.
        if 4 * maps.shape[other] <= min(maps.shape[axis], maps.shape[1]):
            raise misfit(output.shape, f"layout = {self.layout} would mean an image so narrow")
        if maps.shape[axis] == 1:
            return (maps.reshape(-1) >= self.threshold).astype(np.int64), True
        return maps.argmax(axis=axis), False
