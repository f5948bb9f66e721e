"""Store weights, or run the whole model, in float16."""

from __future__ import annotations

from typing import Annotated, Literal

import onnx_ir as ir
from pydantic import Field

from modelcheck.model import Model
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import CannotChange, layer_weights
from modelcheck.transforms.halving import half, halve
from modelcheck.transforms.options import checked

_CAST_OPSET = 6  # Cast names its target type by number since then


@checked
def fp16(
    *,
    scope: Annotated[
        Literal["weights", "model"],
        Field(description="Store the weights in float16, or run the whole model in it."),
    ] = "weights",
    exclude: Annotated[
        tuple[str, ...], Field(description="Layers to leave in float32: names or globs.")
    ] = (),
) -> Transform:
    """Store the weights of layers in float16, or run the whole model in it.

    scope=weights  w' = float32(float16(w)): a Cast stands before each Conv, ConvTranspose, Gemm
                   and MatMul, which still computes in float32
    scope=model    every operator that can works in float16; inputs and outputs stay float32,
                   Casts stand at the borders
    Kept in float32, and named: sums and normalizations, exponentials, recurrences, and whatever
    reads a constant that float16 cannot hold (beyond 65504, or so small that more than 2⁻¹⁰ of it
    would be lost). Nothing is clamped; an activation beyond 65504 shows in the verification.
    OpenCV 5.0's classic engine takes scope=weights only: it refuses a Cast to float16.
    Claim: precision.
    """

    def apply(model: Model, context: Context) -> Model:
        edit = Edit(model)
        if scope == "model":
            halve(edit, context, exclude)
        else:
            _halve_weights(edit, context, exclude)
        return edit.done()

    return Transform("fp16", Claim.PRECISION, apply)


def _halve_weights(edit: Edit, context: Context, exclude: tuple[str, ...]) -> None:
    weights = layer_weights(edit.model, context, exclude=exclude, dtypes={ir.DataType.FLOAT})
    for n, weight in enumerate(weights):
        try:
            if edit.opset < _CAST_OPSET:
                raise CannotChange(f"opset {edit.opset} cannot cast float16 to float32")
            stored = edit.initializer(f"{weight.name}.float16", half(weight.tensor.numpy()))
        except CannotChange as reason:
            for layer in weight.layers:
                context.leave(layer, str(reason))
            continue
        restored = edit.node(
            "Cast", [stored], f"{weight.name}/float32", like=weight.value,
            to=ir.DataType.FLOAT.value,
        )  # fmt: skip
        for slot in weight.slots:
            edit.set_input(slot.node, slot.index, restored)
        edit.drop_unused([weight.value])
        context.progress((n + 1) / len(weights))
