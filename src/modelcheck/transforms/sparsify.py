"""Zero weights in a pattern."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import Field

from modelcheck.errors import UsageError
from modelcheck.model import Model
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import CannotChange, Slot, Weight, layer_weights
from modelcheck.transforms.magnitude import at_least
from modelcheck.transforms.options import checked

_AMOUNT = 0.5
Keep = Callable[[np.ndarray, Weight], np.ndarray]  # weight -> True where it stays


@checked
def sparsify(
    *,
    pattern: Annotated[
        str,
        Field(
            pattern=r"^(random|block|[1-9][0-9]*:[1-9][0-9]*)$",
            description="random, block, or n:m such as 2:4 (of each m weights n may stay).",
        ),
    ] = "random",
    amount: Annotated[
        float, Field(ge=0, le=1, description="Fraction of zeros in each layer; n:m sets its own.")
    ] = _AMOUNT,
    block: Annotated[
        str,
        Field(
            pattern=r"^[1-9][0-9]*x[1-9][0-9]*$",
            description="Block size: output channels x input channels, as in 4x4.",
        ),
    ] = "4x4",
    seed: Annotated[
        int | None, Field(ge=0, description="Seed of pattern=random; by default that of the run.")
    ] = None,
    exclude: Annotated[
        tuple[str, ...], Field(description="Layers to leave out: names or globs.")
    ] = (),
) -> Transform:
    """Zero weights of Conv, ConvTranspose, Gemm and MatMul in a pattern.

    random  ceil(amount · n) positions of each weight, drawn from the seed and the weight's name
    n:m     of each m weights along the input channels, all but the n largest magnitudes
    block   whole blocks of output x input channels, kernels included, smallest mean |w| first,
            until at least amount · n weights are zero
    Biases, normalization and embeddings keep their values.
    Claim: lossy.
    """
    if ":" in pattern:
        n, m = map(int, pattern.split(":"))
        if n >= m:
            raise UsageError(f"pattern={pattern} zeroes nothing", remedy="n must be less than m.")
        if amount not in (_AMOUNT, 1 - n / m):
            raise UsageError(
                f"pattern={pattern} sets the fraction of zeros itself",
                where=f"amount={amount:g}",
                remedy="Leave amount out.",
            )

    def apply(model: Model, context: Context) -> Model:
        edit = Edit(model)
        weights = layer_weights(edit.model, context, exclude=exclude)
        base_seed = context.seed if seed is None else seed
        keep = _keep(pattern, amount, block, base_seed)
        for done, weight in enumerate(weights):
            array = weight.tensor.numpy()
            try:
                kept = keep(array, weight)
            except CannotChange as reason:
                for layer in weight.layers:
                    context.leave(layer, str(reason))
                continue
            if np.any(array[~kept]):
                edit.replace_constant(weight.value, np.where(kept, array, array.dtype.type(0)))
            context.progress((done + 1) / len(weights))
        return edit.done()

    return Transform("sparsify", Claim.LOSSY, apply)


def sparsity_of(pattern: str, amount: float) -> float:
    """The fraction of zeros that a pattern promises."""
    if ":" not in pattern:
        return amount
    n, m = map(int, pattern.split(":"))
    return 1 - n / m


def _keep(pattern: str, amount: float, block: str, seed: int) -> Keep:
    if pattern == "random":
        return lambda array, weight: _random(array, amount, seed, weight.name)
    if pattern == "block":
        rows, columns = map(int, block.split("x"))
        return lambda array, weight: _blocks(array, weight.slots[0], amount, (rows, columns))
    n, m = map(int, pattern.split(":"))
    return lambda array, weight: _n_of_m(array, weight.slots[0], n, m)


def _random(array: np.ndarray, amount: float, seed: int, name: str) -> np.ndarray:
    # One stream for each weight, so that what a layer gets does not hang on the others.
    generator = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogatepass"))])
    kept = np.ones(array.size, bool)
    count = at_least(amount, array.size)
    kept[generator.choice(array.size, count, replace=False, shuffle=False)] = False
    return kept.reshape(array.shape)


def _n_of_m(array: np.ndarray, slot: Slot, n: int, m: int) -> np.ndarray:
    """Keep the n largest of each m along the input channels; of equals the last."""
    last = np.moveaxis(array, slot.input_axis, -1)
    if last.shape[-1] % m:
        raise CannotChange(f"its {last.shape[-1]} input channels are no multiple of {m}")
    groups = np.abs(last.reshape(*last.shape[:-1], -1, m))
    dropped = np.argsort(groups, axis=-1, kind="stable")[..., : m - n]
    kept = np.ones(groups.shape, bool)
    np.put_along_axis(kept, dropped, values=False, axis=-1)
    return np.moveaxis(kept.reshape(last.shape), -1, slot.input_axis)


def _blocks(array: np.ndarray, slot: Slot, amount: float, size: tuple[int, int]) -> np.ndarray:
    """Drop whole blocks, smallest mean magnitude first, until `amount` of the weight is zero."""
    if slot.output_axis is None:
        raise CannotChange("its weight is a vector, which has no blocks")
    axes = (slot.output_axis, slot.input_axis)
    matrix = np.moveaxis(np.abs(array.astype(np.float64)), axes, (0, 1))
    matrix = matrix.reshape(*matrix.shape[:2], -1)
    rows = np.arange(0, matrix.shape[0], size[0])
    columns = np.arange(0, matrix.shape[1], size[1])
    total = np.add.reduceat(np.add.reduceat(matrix.sum(-1), rows, axis=0), columns, axis=1)
    heights = np.diff(np.append(rows, matrix.shape[0]))
    widths = np.diff(np.append(columns, matrix.shape[1]))
    elements = np.multiply.outer(heights, widths) * matrix.shape[2]
    order = np.argsort((total / elements).reshape(-1), kind="stable")
    zeroed = np.cumsum(elements.reshape(-1)[order])
    wanted = at_least(amount, array.size)
    dropped = order[: int(np.searchsorted(zeroed, wanted)) + 1] if wanted else order[:0]
    kept = np.ones(total.size, bool)
    kept[dropped] = False
    whole = np.repeat(np.repeat(kept.reshape(total.shape), heights, axis=0), widths, axis=1)
    shape = [1] * array.ndim
    for axis, n in zip(axes, whole.shape, strict=True):
        shape[axis] = n
    ordered = whole if axes[0] < axes[1] else whole.T
    return np.broadcast_to(ordered.reshape(shape), array.shape)
