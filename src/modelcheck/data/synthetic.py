"""Samples made up from a seed, for when no data are given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from modelcheck.data.preprocessing import Preprocessing
from modelcheck.data.samples import Samples
from modelcheck.data.shapes import Shape, is_image_input
from modelcheck.model import Signature, TensorSpec

DEFAULT_COUNT = 32  # SQNR wants at least 16 samples
_COARSE = 8  # the cells from which an image's smooth part is interpolated


class SyntheticSamples(Samples):
    """Seeded inputs: sample i is the same whatever the count, and differs from all others.

    float    with preprocessing: smooth images with noise, 0..255, then mean and std applied;
             without: standard normal
    uint8    0..255
    integer  0 or 1: within every vocabulary and every mask
    """

    synthetic = True

    def __init__(
        self,
        signature: Signature,
        shapes: Mapping[str, Shape],
        *,
        count: int,
        seed: int,
        preprocessing: Preprocessing | None,
    ) -> None:
        super().__init__([spec.name for spec in signature.inputs], count)
        self._specs = signature.inputs
        self._shapes = dict(shapes)
        self._seed = seed
        self._preprocessing = preprocessing

    def _read(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        for index in indices:
            yield {
                spec.name: self._values(np.random.default_rng([self._seed, index, position]), spec)
                for position, spec in enumerate(self._specs)
            }

    def _values(self, random: np.random.Generator, spec: TensorSpec) -> np.ndarray:
        shape, settings = self._shapes[spec.name], self._preprocessing
        if settings is not None and is_image_input(spec, shape, settings):
            fitted = settings.fitted(spec, shape)
            height, width = (shape[i] for i in ((2, 3) if fitted.layout == "NCHW" else (1, 2)))
            image = _image(random, height, width, fitted.channels)
            return np.ascontiguousarray(fitted.applied(image).astype(spec.dtype))
        if spec.dtype.kind == "f":
            return np.asarray(random.standard_normal(shape), spec.dtype)
        top = 256 if spec.dtype == np.uint8 else 2
        return np.asarray(random.integers(0, top, shape), spec.dtype)

    def _name(self, index: int) -> str:
        return f"synthetic {index}"

    def _place(self) -> tuple[str, str]:
        return f"synthetic inputs, seed {self._seed}", "sample"

    def _settings(self) -> str:
        return json.dumps([self._seed, sorted(self._shapes.items())])


def _image(random: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """A smooth random image with some noise: (height, width, channels) uint8."""
    corners = random.uniform(0, 255, (_COARSE + 1, _COARSE + 1, channels))
    rows, columns = np.linspace(0, _COARSE, height), np.linspace(0, _COARSE, width)
    smooth = _between(_between(corners, rows).transpose(1, 0, 2), columns).transpose(1, 0, 2)
    noisy = smooth + random.normal(0, 10, smooth.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _between(cells: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Linear interpolation along axis 0."""
    low = np.minimum(at.astype(int), len(cells) - 2)
    part = (at - low)[:, None, None]
    result: np.ndarray = cells[low] * (1 - part) + cells[low + 1] * part
    return result
