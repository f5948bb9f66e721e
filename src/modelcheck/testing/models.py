"""Hypothesis strategies for models and their inputs.

Structure is drawn, elements are not: weights and inputs come from a drawn seed, so that they are
as diverse as real ones (drawn arrays hold few distinct values) and examples shrink in structure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from modelcheck.model import Model, Signature, TensorSpec
from modelcheck.testing import layers
from modelcheck.testing.net import NAMINGS, Net, Storage, Tensor

Sample = dict[str, np.ndarray]
OPSETS = (13, 11, 12, 14, 15, 16, 17, 18)
_SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def models(
    draw: layers.Draw,
    *,
    kinds: Sequence[layers.Layer] = layers.SPATIAL,
    max_layers: int = 4,
    ranks: Sequence[int] = (2, 1, 3),
) -> Model:
    """Small valid models: convolutions and what stands around them, then perhaps dense layers.

    At most 8 channels and 9 pixels along an axis; 1-D, 2-D and 3-D; opsets 11 to 18; weights
    stored in every way a file allows; one or two inputs, one to three outputs.
    """
    net = Net(
        opset=draw(st.sampled_from(OPSETS)),
        seed=draw(_SEEDS),
        batch=draw(layers.choice(1, None, 2)),
        storage=draw(st.sampled_from(Storage)),
        naming=draw(st.sampled_from(NAMINGS)),
        gain=draw(layers.choice(1.0, 0.3)),
    )
    rank = draw(st.sampled_from(ranks))
    size = draw(st.integers(2, layers.MAX_SIZE if rank < 3 else 5))
    x = net.input((draw(st.integers(1, 4)), *[size] * rank))
    if draw(st.booleans()):
        x = _second_input(draw, net, x)
    seen = [x]
    for layer in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=max_layers)):
        seen.append(x := layer(draw, net, x))
    dense = draw(st.lists(st.sampled_from(layers.VECTOR), max_size=2))
    if dense:
        x = layers.flatten(draw, net, x)
    for layer in dense:
        x = layer(draw, net, x)
    if dense and draw(st.booleans()):
        x = net.add("Softmax", [x], axis=1)
    net.outputs.append(x)
    # No dense layer's: onnxruntime 1.32 fuses Gemm, Transpose, Gemm, and loses the first's.
    middle = [t for t in seen[1:] if t != x]
    if middle and draw(st.booleans()):
        net.outputs.append(draw(st.sampled_from(middle)))
    return net.model()


def _second_input(draw: layers.Draw, net: Net, x: Tensor) -> Tensor:
    """A second graph input, joined with the first."""
    other = net.input(x.shape, "y")
    if draw(st.booleans()):
        return net.add("Concat", [x, other], (2 * x.channels, *x.spatial), axis=1)
    return net.add("Add", [x, other])


@st.composite
def inputs(draw: layers.Draw, signature: Signature, *, max_batch: int = 3) -> Sample:
    """One sample for every input: seed, distribution, scale and free sizes are drawn."""
    random = np.random.default_rng(draw(_SEEDS))
    distribution = draw(layers.choice("normal", "uniform", "pixels", "sparse", "constant"))
    scale = draw(layers.choice(1.0, 1e-2, 10.0))
    batch = draw(st.integers(1, max_batch))
    return {
        spec.name: _array(spec, random, distribution, scale, batch) for spec in signature.inputs
    }


def sample(signature: Signature, seed: int = 0, *, batch: int = 1) -> Sample:
    """One normal sample, without Hypothesis."""
    random = np.random.default_rng(seed)
    return {s.name: _array(s, random, "normal", 1.0, batch) for s in signature.inputs}


def _array(
    spec: TensorSpec, random: np.random.Generator, distribution: str, scale: float, batch: int
) -> np.ndarray:
    """Free dimensions: the first is the batch, others get MAX_SIZE."""
    shape = [d or (batch if i == 0 else layers.MAX_SIZE) for i, d in enumerate(spec.shape or ())]
    if spec.dtype.kind in "iu":
        return random.integers(0, 10, shape).astype(spec.dtype)
    if spec.dtype.kind == "b":
        return random.integers(0, 2, shape).astype(spec.dtype)
    if distribution == "pixels":
        data = random.integers(0, 256, shape) / 255
    elif distribution == "uniform":
        data = random.uniform(-1, 1, shape)
    elif distribution == "constant":
        data = np.full(shape, random.uniform(-1, 1))
    else:
        data = random.standard_normal(shape)
    if distribution == "sparse":
        data = data * (random.random(shape) < 0.1)
    return (scale * data).astype(spec.dtype)
