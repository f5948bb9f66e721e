"""Shapes of a model's inputs with every free dimension fixed."""

from __future__ import annotations

from collections.abc import Mapping

from modelcheck.data.preprocessing import Preprocessing
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.model import Signature, TensorSpec

Shape = tuple[int, ...]


def concrete_shapes(
    signature: Signature,
    *,
    shapes: Mapping[str, Shape] | None = None,
    preprocessing: Preprocessing | None = None,
) -> dict[str, Shape]:
    """The shape of one sample of each input, batch axis included.

    A free dimension is fixed by `shapes` (--shape), else by the preprocessing's size and channels
    for an image input, else, if it is the leading one, as 1. Raises UsageError for any other, and
    for a `shapes` that contradicts the model.
    """
    stated = stated_shapes(signature, shapes)
    return {spec.name: _fixed(spec, stated[spec.name], preprocessing) for spec in signature.inputs}


def stated_shapes(
    signature: Signature, shapes: Mapping[str, Shape] | None
) -> dict[str, tuple[int | None, ...] | None]:
    """What the model and `shapes` say, free dimensions None; None where the rank is unknown."""
    names = [spec.name for spec in signature.inputs]
    for name in shapes or {}:
        if name not in names:
            raise UsageError(
                f"the model has no input '{name}'",
                where="shape",
                remedy=did_you_mean(name, names) or f"Its inputs are {', '.join(names)}.",
            )
    return {spec.name: _stated(spec, (shapes or {}).get(spec.name)) for spec in signature.inputs}


def is_image_input(
    spec: TensorSpec, shape: tuple[int | None, ...], preprocessing: Preprocessing
) -> bool:
    """Whether images preprocessed like this could be its samples."""
    if len(shape) != 4 or shape[0] not in (None, 1) or spec.dtype.kind not in "fu":
        return False
    channels = shape[1 if preprocessing.layout == "NCHW" else 3]
    return channels in (None, preprocessing.channels)


def _stated(spec: TensorSpec, given: Shape | None) -> tuple[int | None, ...] | None:
    if given is None:
        return spec.shape
    text = "x".join(str(d) for d in given)
    if any(d < 1 for d in given):
        raise UsageError(f"{text} has a dimension below 1", where=f"shape of '{spec.name}'")
    if spec.shape is not None and (
        len(given) != len(spec.shape)
        or any(d not in (None, g) for d, g in zip(spec.shape, given, strict=True))
    ):
        raise UsageError(
            f"{text} contradicts the model, which takes {spec.describe()}",
            where=f"shape of '{spec.name}'",
            remedy="Only free dimensions can be chosen.",
        )
    return given


def _fixed(
    spec: TensorSpec, shape: tuple[int | None, ...] | None, preprocessing: Preprocessing | None
) -> Shape:
    if shape is None:
        raise _open_shape(spec, "1x3x224x224")
    if preprocessing is not None and is_image_input(spec, shape, preprocessing):
        return preprocessing.fitted(spec, shape).blob_shape
    fixed = tuple(d for d in (shape[0] or 1, *shape[1:]) if d is not None) if shape else ()
    if len(fixed) < len(shape):
        raise _open_shape(spec, "x".join(str(d or 16) for d in (shape[0] or 1, *shape[1:])))
    return fixed


def _open_shape(spec: TensorSpec, example: str) -> UsageError:
    return UsageError(
        "the model leaves its shape open, and no data fix it",
        where=f"input {spec.describe()}",
        remedy=f"Fix it, for example --shape {spec.name}={example}, or give data.",
    )
