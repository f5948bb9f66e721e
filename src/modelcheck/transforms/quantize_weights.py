"""Store weights in int8; compute in float32."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import onnx_ir as ir
from pydantic import Field

from modelcheck.model import Model
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import Slot, Weight, layer_weights
from modelcheck.transforms.options import checked

# DequantizeLinear has had an axis, for one scale a channel, since opset 13.
_DEQUANTIZE_OPSET, _CAST_OPSET = 13, 6


@checked
def quantize_weights(
    *,
    per_channel: Annotated[
        bool, Field(description="One scale for each output channel, or one for a whole weight.")
    ] = True,
    exclude: Annotated[
        tuple[str, ...], Field(description="Layers to leave out: names or globs.")
    ] = (),
) -> Transform:
    """Store the weights of Conv, ConvTranspose, Gemm and MatMul as int8 with a scale.

    q = clip(round(w / s), -127, 127),   s = max|w| / 127,   w' = q · s
    q: the shape of w, int8; s: (out,); zero point 0
    A DequantizeLinear stands before each layer (below opset 13, which has none for channels, the
    same as Cast and Mul); the layer still computes in float32. So the file shrinks to about a
    quarter and the speed stays. Left alone: weights that are not float32, and weights that
    something else than layers uses.
    Claim: lossy.
    """

    def apply(model: Model, context: Context) -> Model:
        edit = Edit(model)
        weights = layer_weights(edit.model, context, exclude=exclude, dtypes={ir.DataType.FLOAT})
        for n, weight in enumerate(weights):
            if edit.opset < _CAST_OPSET:
                for layer in weight.layers:
                    context.leave(layer, f"opset {edit.opset} cannot cast int8 to float32")
                continue
            _quantize(edit, weight, _channel_axis(weight.slots[0]) if per_channel else None)
            context.progress((n + 1) / len(weights))
        return edit.done()

    return Transform("quantize-weights", Claim.LOSSY, apply)


def _quantize(edit: Edit, weight: Weight, axis: int | None) -> None:
    array = weight.tensor.numpy()
    quantized, scale = symmetric_int8(array, axis)
    stored = edit.initializer(f"{weight.name}.int8", quantized)
    stem, like = f"{weight.name}/dequantize", weight.value
    if edit.opset >= _DEQUANTIZE_OPSET:
        zero_point = np.zeros(scale.shape, np.int8)
        inputs = [
            stored,
            edit.initializer(f"{weight.name}.scale", scale),
            edit.initializer(f"{weight.name}.zero_point", zero_point),
        ]
        channels = {} if axis is None else {"axis": axis}
        restored = edit.node("DequantizeLinear", inputs, stem, like=like, **channels)
    else:
        factor = edit.initializer(f"{weight.name}.scale", _along(scale, axis, array.ndim))
        cast = edit.node("Cast", [stored], stem, like=like, to=ir.DataType.FLOAT.value)
        restored = edit.node("Mul", [cast, factor], stem, like=like)
    for slot in weight.slots:
        edit.set_input(slot.node, slot.index, restored)
    edit.drop_unused([weight.value])


def symmetric_int8(weight: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(q, s) with q · s ≈ w; s is a scalar, or has one number for each index of `axis`."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=None if axis is None else others)
    scale = np.asarray(largest / np.float32(127), np.float32)
    # A channel of zeros (or of numbers too small to divide) is zero at any scale.
    scale = np.where(scale > np.finfo(np.float32).tiny, scale, np.float32(1))
    steps = np.rint(weight / _along(scale, axis, weight.ndim))
    return steps.clip(-127, 127).astype(np.int8), scale


def _along(scale: np.ndarray, axis: int | None, rank: int) -> np.ndarray:
    """One number for each index of `axis`, shaped to multiply an array of this rank."""
    return scale if axis is None else scale.reshape([-1 if i == axis else 1 for i in range(rank)])


def _channel_axis(slot: Slot) -> int | None:
    """Where each index has a scale of its own."""
    if slot.node.op_type == "ConvTranspose" and slot.groups > 1:
        return slot.input_axis  # output channels of different groups share an index
    return slot.output_axis
