"""How far a model's outputs move when everything it knows is rounded a little differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modelcheck.model import Model
from modelcheck.model.static import Static
from modelcheck.testing.runner import Outputs, Runner
from modelcheck.transforms.edit import Edit

FLOAT32, FLOAT16 = 2.0**-23, 2.0**-11  # spacing of numbers near 1; half of it for float16

# Operators whose constants are numbers to compute with, not sizes, bounds or scales.
_READERS = frozenset((
    "Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization",
    "LayerNormalization", "PRelu", "Add", "Sub", "Mul", "Div",
))  # fmt: skip


def perturbed(model: Model, seed: int, relative: float) -> Model:
    """The model with each weight w replaced by w (1 + r), r = +relative or -relative."""
    edit, random = Edit(model), np.random.default_rng(seed)
    static = Static(edit.graph, model.opset)
    for node in list(edit.graph):
        if node.domain or node.op_type not in _READERS:
            continue
        for index, value in enumerate(node.inputs):
            array = static.constant(value)
            if array is not None and array.dtype == np.float32:
                moved = edit.initializer("perturbed", _nudged(array, random, relative))
                edit.set_input(node, index, moved)
    return edit.done()


def rounding_noise(
    model: Model,
    samples: Sequence[Mapping[str, np.ndarray]],
    runner: Runner,
    *,
    relative: float = FLOAT32,
    times: int = 2,
) -> list[tuple[Outputs, Outputs]]:
    """(outputs, outputs of a perturbed model on perturbed inputs), for each time and sample.

    What two of them differ by is what rounding every constant and input to the precision
    `relative` may do. Unlike a fixed tolerance this knows where a net cancels or amplifies.
    """
    expected = runner.outputs(model, *samples)
    pairs = []
    for seed in range(times):
        random = np.random.default_rng(seed)
        moved = [{k: _nudged(a, random, relative) for k, a in s.items()} for s in samples]
        actual = runner.outputs(perturbed(model, seed, relative), *moved)
        pairs += list(zip(expected, actual, strict=True))
    return pairs


def _nudged(array: np.ndarray, random: np.random.Generator, relative: float) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    signs = random.integers(0, 2, array.shape) * 2 - 1
    moved: np.ndarray = (array.astype(np.float64) * (1 + relative * signs)).astype(array.dtype)
    return moved
