"""Prune weights by magnitude."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import onnx_ir as ir
from pydantic import Field

from modelcheck.model import Model
from modelcheck.model.deferred import DeferredTensor
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import Weight, layer_weights
from modelcheck.transforms.magnitude import Cut, at_least, below, smallest
from modelcheck.transforms.options import InsteadOf, checked


@checked
def prune_weights(
    *,
    amount: Annotated[
        float, Field(ge=0, le=1, description="Fraction of the weights to zero, smallest first.")
    ] = 0.5,
    threshold: Annotated[
        float | None,
        Field(ge=0, description="Zero every magnitude below this instead of a fraction."),
        InsteadOf("amount"),
    ] = None,
    scope: Annotated[
        Literal["layer", "global"],
        Field(description="Take the fraction of each layer, or of all layers together."),
    ] = "layer",
    exclude: Annotated[
        tuple[str, ...], Field(description="Layers to leave out: names or globs.")
    ] = (),
) -> Transform:
    """Zero the smallest weights of Conv, ConvTranspose, Gemm and MatMul.

    w' = 0 where |w| is among the ceil(amount · n) smallest, else w
    n: the elements of one weight (scope=layer) or of all (scope=global); of equal magnitudes the
    first by position go first. With threshold: w' = 0 where |w| < threshold.
    Biases, normalization and embeddings keep their values. Exact selection, in constant memory;
    the pruned weights are computed when they are read, so that the result holds no second copy.
    Claim: lossy.
    """

    def apply(model: Model, context: Context) -> Model:
        edit = Edit(model)
        weights = layer_weights(edit.model, context, exclude=exclude)
        tensors = [weight.tensor for weight in weights]
        if threshold is not None:
            cuts = [below(tensor, threshold) for tensor in tensors]
        elif scope == "global":
            cuts = _smallest(tensors, amount, context.progress)
        else:
            cuts = [_smallest([tensor], amount)[0] for tensor in tensors]
        for n, (weight, cut) in enumerate(zip(weights, cuts, strict=True)):
            _prune(edit, weight, cut)
            context.progress((n + 1) / len(weights))
        return edit.done()

    return Transform("prune-weights", Claim.LOSSY, apply)


def _smallest(
    tensors: Sequence[ir.TensorProtocol],
    amount: float,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[Cut]:
    if not tensors:
        return []
    return smallest(tensors, at_least(amount, sum(t.size for t in tensors)), progress)


def _prune(edit: Edit, weight: Weight, cut: Cut) -> None:
    source = weight.tensor
    if cut.changes(source):
        pruned = DeferredTensor(lambda: cut.pieces(source), like=source)
        edit.replace_constant(weight.value, pruned)
