"""Preprocessing: how an image becomes the array that a model takes.

blob = (pixel - mean) / std, channel by channel, after resizing; the words and the arithmetic are
those of cv2.dnn.blobFromImageWithParams, which does the work (decoder.py).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.model import TensorSpec

RESIZES = ("stretch", "crop", "letterbox", "shorter")
LAYOUTS = ("NCHW", "NHWC")
DTYPES = ("float32", "float16", "uint8")
MAX_SIDE = 16_384  # pixels; a wider network input is a slip of the pen

Channels = float | tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Settings for image folders. Pixels are 0..255, resized bilinearly.

    size          (width, height); None takes it from the model where its shape is fixed
    resize        "stretch"    to size, whatever the aspect
                  "crop"       until both sides cover size, then crop the centre
                  "letterbox"  until both sides fit into size, then pad around the centre
                  "shorter"    until the shorter side is `shorter_side`, then crop the centre
    pad_value     what "letterbox" pads with, a pixel value
    rgb           the model takes RGB; otherwise BGR, as cv2 decodes
    gray          the model takes one channel, as cv2.imread(..., IMREAD_GRAYSCALE) gives it
    mean, std     one number or three; pad_value, mean and std in the channel order of the model
    layout        "NCHW" or "NHWC"
    dtype         of the blob: "float32", "float16", "uint8"; None is the model's own

    Alpha is dropped, 16 bits become 8, and the EXIF orientation is applied, as by cv2.imread.
    Raises UsageError on settings that make no sense.
    """

    size: tuple[int, int] | None = None
    resize: str = "stretch"
    shorter_side: int | None = None
    pad_value: Channels = 0.0
    rgb: bool = False
    gray: bool = False
    mean: Channels = 0.0
    std: Channels = 1.0
    layout: str = "NCHW"
    dtype: str | None = None

    def __post_init__(self) -> None:
        for key, words in (("resize", RESIZES), ("layout", LAYOUTS), ("dtype", DTYPES)):
            _check_word(key, getattr(self, key), words)
        if self.size is not None:
            object.__setattr__(self, "size", _check_size(self.size))
        for key in ("pad_value", "mean", "std"):
            object.__setattr__(self, key, _check_channels(key, getattr(self, key), self.gray))
        if min(_three(self.std)) <= 0:
            raise UsageError("has to be above 0: pixels are divided by it", where="std")
        if self.gray and self.rgb:
            raise UsageError(
                "gray images have no channel order", where="rgb", remedy="Leave out rgb or gray."
            )
        if self.resize != "letterbox" and any(_three(self.pad_value)):
            raise UsageError(
                f"resize = '{self.resize}' pads nothing",
                where="pad_value",
                remedy="Set resize = 'letterbox', or leave pad_value out.",
            )
        self._check_shorter_side()
        self._check_uint8(self.dtype)

    def _check_shorter_side(self) -> None:
        if (self.resize == "shorter") != (self.shorter_side is not None):
            raise UsageError(
                "belongs to resize = 'shorter', and that needs it",
                where="shorter_side",
                remedy="For example: resize = 'shorter', shorter_side = 256, size = [224, 224].",
            )
        if self.shorter_side is None:
            return
        _check_side("shorter_side", self.shorter_side)
        if self.size is not None and self.shorter_side < max(self.size):
            raise UsageError(
                f"{self.shorter_side} is too small to crop {self.size[0]}x{self.size[1]} from",
                where="shorter_side",
            )

    def _check_uint8(self, dtype: str | None) -> None:
        plain = set(_three(self.mean)) == {0.0} and set(_three(self.std)) == {1.0}
        if dtype == "uint8" and not plain:
            raise UsageError(
                "mean and std cannot be applied to whole numbers",
                where="dtype",
                remedy="Leave out mean and std, or give the model float32.",
            )

    def fitted(self, spec: TensorSpec, shape: tuple[int | None, ...]) -> Preprocessing:
        """The same with `size` and `dtype` filled in for this input of this shape.

        Raises UsageError where image and input cannot fit: rank, layout, channels, size, batch.
        """
        self._check_shape(spec, shape)
        height, width = (shape[i] for i in self._axes())
        if self.size is not None:
            size = self.size
        elif width is not None and height is not None:
            size = (width, height)
        else:
            raise UsageError(
                "the model leaves the image size open",
                where=f"input {spec.describe()}",
                remedy="Say it in the preprocessing: size = [width, height].",
            )
        dtype = self.dtype
        if dtype is None:
            dtype = spec.dtype.name if spec.dtype.kind == "f" else "uint8"
            self._check_uint8(dtype)
        lossless = spec.dtype.kind == "f" or np.can_cast(dtype, spec.dtype, "safe")
        if dtype not in DTYPES or not lossless:
            raise UsageError(
                f"cannot be fed with images as {dtype}",
                where=f"input {spec.describe()}",
                remedy="Feed it from an .npz file.",
            )
        return replace(self, size=size, dtype=dtype)

    def _check_shape(self, spec: TensorSpec, shape: tuple[int | None, ...]) -> None:
        where = f"input {spec.describe()}"
        if len(shape) != 4:
            raise UsageError(
                "is no image input: those have four axes", where=where,
                remedy="Feed it from an .npz file.",
            )  # fmt: skip
        channels = shape[1 if self.layout == "NCHW" else 3]
        other = shape[3 if self.layout == "NCHW" else 1]
        if channels not in (None, self.channels):
            swapped = "NHWC" if self.layout == "NCHW" else "NCHW"
            if other == self.channels:
                remedy = f"Set layout = '{swapped}'."
            elif channels in (1, 3):
                remedy = f"Set gray = {'true' if channels == 1 else 'false'}."
            else:
                remedy = "Feed it from an .npz file."
            raise UsageError(
                f"takes {channels} channels, but {self.layout} images have {self.channels}",
                where=where, remedy=remedy,
            )  # fmt: skip
        if shape[0] not in (None, 1):
            raise UsageError(
                f"takes {shape[0]} images at once; a folder feeds one at a time",
                where=where,
                remedy="Feed it from an .npz file.",
            )
        height, width = (shape[i] for i in self._axes())
        if self.size and (width not in (None, self.size[0]) or height not in (None, self.size[1])):
            raise UsageError(
                f"size {self.size[0]}x{self.size[1]} (width x height) does not fit",
                where=where,
                remedy="Leave size out: the model's own is taken.",
            )

    def _axes(self) -> tuple[int, int]:
        """The axes of height and width."""
        return (2, 3) if self.layout == "NCHW" else (1, 2)

    @property
    def channels(self) -> int:
        return 1 if self.gray else 3

    @property
    def blob_shape(self) -> tuple[int, int, int, int]:
        """The shape of one image's array, once `size` is known."""
        assert self.size is not None
        width, height = self.size
        if self.layout == "NCHW":
            return (1, self.channels, height, width)
        return (1, height, width, self.channels)

    def decoder_settings(self) -> dict[str, object]:
        """What decoder.py needs, in the terms of Image2BlobParams.

        There mean and scalefactor stand in the order of the blob (with swapRB: RGB), but the
        border value in the order of the image (BGR). Measured on 4.12, 4.14 and 5.0.
        """
        pad = _three(self.pad_value)
        return {
            "size": self.size,
            "resize": self.resize,
            "shorter_side": self.shorter_side,
            "border": [*(pad[::-1] if self.rgb else pad), 0.0],
            "rgb": self.rgb,
            "gray": self.gray,
            "mean": [*_three(self.mean), 0.0],
            "scale": [*(1 / s for s in _three(self.std)), 1.0],
            "layout": self.layout,
            "uint8": self.dtype == "uint8",
        }

    def applied(self, image: np.ndarray) -> np.ndarray:
        """(height, width, channels) uint8 in the model's channel order -> blob, in float32."""
        blob = image
        if self.dtype != "uint8":
            mean = np.asarray(_three(self.mean)[: self.channels], np.float32)
            scale = np.asarray([1 / s for s in _three(self.std)[: self.channels]], np.float32)
            blob = (image.astype(np.float32) - mean) * scale
        return blob[None] if self.layout == "NHWC" else blob.transpose(2, 0, 1)[None]

    def describe(self) -> str:
        """'224x224 crop, RGB, mean 127.5, std 127.5, NCHW'."""
        size = f"{self.size[0]}x{self.size[1]} " if self.size else ""
        how = f"{self.resize} {self.shorter_side}" if self.shorter_side else self.resize
        colour = "gray" if self.gray else "RGB" if self.rgb else "BGR"
        pad = f" {_words(self.pad_value)}" if self.resize == "letterbox" else ""
        mean, std = _words(self.mean), _words(self.std)
        return f"{size}{how}{pad}, {colour}, mean {mean}, std {std}, {self.layout}"

    def canonical(self) -> dict[str, object]:
        """All settings as plain values, for digests and reports."""
        return asdict(self)


def _three(value: Channels) -> tuple[float, float, float]:
    return value if isinstance(value, tuple) else (value, value, value)


def _words(value: Channels) -> str:
    return " ".join(f"{v:g}" for v in (value if isinstance(value, tuple) else (value,)))


def _check_word(key: str, word: object, known: tuple[str, ...]) -> None:
    if word in known or (word is None and key == "dtype"):
        return
    choices = ", ".join(f"'{w}'" for w in known)
    near = did_you_mean(str(word), known)
    raise UsageError(
        f"unknown value '{word}'", where=key,
        remedy=f"{near} It is one of {choices}." if near else f"It is one of {choices}.",
    )  # fmt: skip


def _check_size(size: object) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, list | tuple) else ()
    if len(sides) != 2:
        raise UsageError("is two whole numbers: [width, height]", where="size")
    for side in sides:
        _check_side("size", side)
    return (sides[0], sides[1])


def _check_side(key: str, side: object) -> None:
    if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= MAX_SIDE:
        raise UsageError(f"{side!r} is not a side of 1 to {MAX_SIDE:,} pixels", where=key)


def _check_channels(key: str, value: object, gray: bool) -> Channels:
    values = list(value) if isinstance(value, list | tuple) else [value]
    numbers = []
    for v in values:
        if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v):
            raise UsageError(f"{v!r} is not a finite number", where=key)
        numbers.append(float(v))
    if len(numbers) == 1:
        return numbers[0]
    if gray or len(numbers) != 3:
        wanted = "one number for gray images" if gray else "one number, or three"
        raise UsageError(f"{len(numbers)} numbers were given; it takes {wanted}", where=key)
    return (numbers[0], numbers[1], numbers[2])
