"""quantize-weights: int8 in the file, float32 in the arithmetic, half a step of error at most."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import (
    CLASSIC,
    FIXTURES,
    NEW,
    inputs_for,
    model,
    node,
    normal,
    worst_error,
)

from modelcheck.model import load
from modelcheck.transforms import Context, quantize_weights
from modelcheck.transforms.quantize_weights import symmetric_int8

SHAPES = {
    "Conv": ((6, 4, 3, 3), (2, 4, 5, 5), 0, {}),
    "Conv, grouped": ((6, 2, 3, 3), (2, 4, 5, 5), 0, {"group": 2}),
    "Conv, depthwise 1-D": ((4, 1, 3), (2, 4, 5), 0, {"group": 4}),
    "Conv, 3-D": ((5, 3, 2, 2, 2), (1, 3, 3, 3, 3), 0, {}),
    "ConvTranspose": ((4, 6, 2, 2), (1, 4, 3, 3), 1, {}),
    "ConvTranspose, grouped": ((4, 3, 2, 2), (1, 4, 3, 3), 0, {"group": 2}),
    "Gemm": ((4, 6), (3, 4), 1, {}),
    "Gemm, transA": ((4, 6), (4, 3), 1, {"transA": 1}),
    "Gemm, transB": ((6, 4), (3, 4), 0, {"transB": 1}),
    "MatMul": ((4, 6), (3, 4), 1, {}),
    "MatMul, of a stack": ((2, 4, 6), (2, 3, 4), 2, {}),
    "MatMul, left": ((6, 4), (4, 3), 0, {}),
}


def one_layer(kind: str, *, opset: int, weight: np.ndarray | None = None):
    shape, x_shape, axis, attributes = SHAPES[kind]
    # Channels of very different size: one scale for all would lose the small ones.
    if weight is None:
        sizes = 10.0 ** np.linspace(-2, 1, shape[axis], dtype=np.float32)
        weight = np.moveaxis(np.moveaxis(normal(0, *shape), axis, -1) * sizes, -1, axis)
    inputs = ["w", "x"] if kind.endswith("left") else ["x", "w"]
    weights = {"w": np.ascontiguousarray(weight)}
    if kind.startswith("Gemm"):  # before opset 11 it must have a bias
        inputs.append("b")
        weights["b"] = np.ones(6, np.float32)
    return model(
        [node(kind.partition(",")[0], inputs, ["y"], name="layer", **attributes)],
        weights, {"x": x_shape}, {"y": ["a", "b", "c", "d", "e"][: len(x_shape)]}, opset=opset,
    )  # fmt: skip


@pytest.mark.parametrize("opset", [9, 12, 13, 19])
@pytest.mark.parametrize("kind", SHAPES)
def test_every_channel_is_within_half_a_step_of_its_own(runner, kind, opset) -> None:
    original = one_layer(kind, opset=opset)
    quantized = quantize_weights()(original)
    axis = SHAPES[kind][2]
    w = original.weights["w"]
    assert quantized.weights["w.int8"].dtype == np.int8
    assert quantized.weights["w.int8"].shape == w.shape
    scale = quantized.weights["w.scale"].reshape(-1)
    assert scale.shape == (w.shape[axis],)
    restored = np.moveaxis(np.moveaxis(quantized.weights["w.int8"], axis, -1) * scale, -1, axis)
    steps = np.moveaxis(np.abs(restored - w), axis, -1) / scale
    assert steps.max() <= 0.5001
    runner.check(quantized)
    # onnxruntime computes what the file says only without its rewrites: those of MatMul quantize
    # the activations as well.
    inputs = inputs_for(original)
    expected = runner.onnxruntime(one_layer(kind, opset=opset, weight=restored), inputs)
    actual = runner.onnxruntime(quantized, inputs, optimize=False)
    assert worst_error(expected, actual) < 1e-6
    assert quantize_weights()(quantized) is quantized


@given(
    seed=st.integers(0, 999), scale=st.sampled_from([0, 1e-42, 1e-30, 1, 1e30]),
    axis=st.sampled_from([None, 0, 1]),
)  # fmt: skip
def test_the_error_is_half_a_step_at_any_magnitude_and_zeros_stay_zero(seed, scale, axis) -> None:
    weight = (normal(seed, 5, 7) * np.float32(scale)).astype(np.float32)
    weight[0] = 0
    quantized, steps = symmetric_int8(weight, axis)
    assert np.abs(quantized).max() <= 127
    assert (quantized[0] == 0).all()
    assert np.isfinite(steps).all()
    shaped = steps if axis is None else np.expand_dims(steps, 1 - axis)
    tiny = np.finfo(np.float32).tiny
    assert (np.abs(weight - quantized * shaped) <= 0.501 * shaped + 127 * tiny).all()


def test_with_one_scale_for_a_weight_there_is_one() -> None:
    quantized = quantize_weights(per_channel=False)(one_layer("Conv", opset=17))
    assert quantized.weights["w.scale"].shape == ()


def test_weights_that_are_not_float32_are_left_alone() -> None:
    original = model(
        [
            node("Cast", ["x"], ["h"], to=10),
            node("MatMul", ["h", "w"], ["z"], name="fc"),
            node("Cast", ["z"], ["y"], to=1),
        ],
        {"w": normal(0, 4, 4, dtype=np.float16)}, {"x": (2, 4)}, {"y": None},
    )  # fmt: skip
    context = Context()
    assert quantize_weights()(original, context) is original
    assert context.left_alone[0].reason == "its weight is float16"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("digits_*.onnx")), ids=lambda p: p.stem)
@pytest.mark.parametrize("engine", [CLASSIC, NEW])
def test_both_engines_of_opencv_compute_what_the_file_says(runner, path, engine) -> None:
    original = load(path)
    quantized = quantize_weights()(original)
    assert quantized.nbytes < 0.4 * original.nbytes
    inputs = inputs_for(original)
    expected = runner.onnxruntime(quantized, inputs, optimize=False)
    assert worst_error(expected, runner.opencv(quantized, inputs, engine=engine)) < 1e-5
    assert worst_error(runner.onnxruntime(original, inputs), expected) < 0.05
