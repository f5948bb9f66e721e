"""--data: an .npz, an .npy, a folder of images, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from modelcheck.data.arrays import open_array_file
from modelcheck.data.folders import list_images
from modelcheck.data.images import ImageSamples
from modelcheck.data.preprocessing import Preprocessing
from modelcheck.data.samples import Samples
from modelcheck.data.shapes import Shape, concrete_shapes, stated_shapes
from modelcheck.data.synthetic import DEFAULT_COUNT, SyntheticSamples
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.model import Signature


def open_samples(
    path: Path | str | None,
    signature: Signature,
    *,
    preprocessing: Preprocessing | None = None,
    shapes: Mapping[str, Shape] | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Samples:
    """The samples at `path` for a model of this signature; seeded synthetic ones without a path.

    `count` takes that many of them, drawn with `seed`, in their order. Raises UsageError where
    data and model do not go together, InvalidInput where the data are bad. Headers, names and
    shapes are checked here; values and images when they are read.
    """
    if not signature.inputs:
        raise UsageError("the model has no inputs, so there is nothing to feed", where="data")
    if count is not None and count < 1:
        raise UsageError(f"{count} samples prove nothing", where="count")
    if path is None:
        fixed = concrete_shapes(signature, shapes=shapes, preprocessing=preprocessing)
        return SyntheticSamples(
            signature, fixed, count=count or DEFAULT_COUNT, seed=seed, preprocessing=preprocessing
        )
    path = Path(path)
    if not path.exists():
        raise _not_there(path)
    samples: Samples
    if path.is_dir():
        samples = _open_images(path, signature, preprocessing, shapes)
    elif path.is_file():
        samples = open_array_file(path, signature, shapes=shapes)
    else:
        raise UsageError(
            "is neither a file nor a folder", where=str(path),
            remedy="--data takes an .npz or .npy file, or a folder of images.",
        )  # fmt: skip
    return samples if count is None else _some(samples, count, seed)


def _open_images(
    folder: Path,
    signature: Signature,
    preprocessing: Preprocessing | None,
    shapes: Mapping[str, Shape] | None,
) -> Samples:
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise UsageError(
            f"images can feed one input, but the model has {len(signature.inputs)}: {names}",
            where=str(folder),
            remedy="Save all inputs in an .npz file: numpy.savez(path, name=array, ...).",
        )
    spec = signature.inputs[0]
    shape = stated_shapes(signature, shapes)[spec.name]
    assumed = preprocessing is None
    if preprocessing is None:
        preprocessing = _assumed(shape)
    fitted = preprocessing.fitted(spec, shape if shape is not None else (None,) * 4)
    samples = ImageSamples(list_images(folder), spec, fitted)
    if assumed:
        samples.notes += (f"No preprocessing was given; assumed: {fitted.describe()}.",)
    return samples


def _assumed(shape: tuple[int | None, ...] | None) -> Preprocessing:
    """Plain pixels, in the layout and number of channels that the model's shape shows."""
    if shape is None or len(shape) != 4:
        return Preprocessing()
    nhwc = shape[3] in (1, 3) and shape[1] not in (1, 3)
    channels = shape[3] if nhwc else shape[1]
    return Preprocessing(layout="NHWC" if nhwc else "NCHW", gray=channels == 1)


def _some(samples: Samples, count: int, seed: int) -> Samples:
    if count > samples.count:
        raise UsageError(
            f"{count:,} samples are asked for, but there are {samples.count:,}",
            where=samples.origin,
            remedy="Ask for fewer, or give more.",
        )
    if count == samples.count:
        return samples
    drawn = np.random.default_rng(seed).choice(samples.count, count, replace=False)
    chosen = samples.select(sorted(drawn.tolist()))
    chosen.notes += (f"{count:,} of {samples.count:,} samples were drawn with seed {seed}.",)
    return chosen


def _not_there(path: Path) -> UsageError:
    try:
        siblings = [p.name for p in path.parent.iterdir()]
    except OSError:
        siblings = []
    return UsageError(
        "there is no such file or folder",
        where=str(path),
        remedy=did_you_mean(path.name, siblings)
        or "--data takes an .npz or .npy file, or a folder of images.",
    )
