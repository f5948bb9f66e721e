"""Samples: arrays, image folders with preprocessing, labels, seeded synthetic inputs."""

from modelcheck.data.arrays import from_arrays
from modelcheck.data.opening import open_samples
from modelcheck.data.preprocessing import Preprocessing
from modelcheck.data.samples import Sample, Samples, batched
from modelcheck.data.shapes import concrete_shapes
from modelcheck.data.splitting import SplitSamples, ThreeSets, split, split_in_three

__all__ = [
    "Preprocessing",
    "Sample",
    "Samples",
    "SplitSamples",
    "ThreeSets",
    "batched",
    "concrete_shapes",
    "from_arrays",
    "open_samples",
    "split",
    "split_in_three",
]
