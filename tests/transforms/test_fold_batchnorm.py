"""fold-batchnorm: the same function with fewer nodes, wherever a layer stands right before."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from small_graphs import (
    FIXTURES,
    NEW,
    SHARED_MODELS,
    constant,
    inputs_for,
    model,
    node,
    normal,
    random,
    worst_error,
)

from modelcheck.model import Model, load
from modelcheck.transforms import Context, fold_batchnorm

BN = ("gamma", "beta", "mean", "var")


def statistics(channels: int, prefix: str = "", dtype: type = np.float32) -> dict[str, np.ndarray]:
    values = random(9).uniform(0.5, 1.5, (4, channels)).astype(dtype)
    return {prefix + name: row for name, row in zip(BN, values, strict=True)}


def batchnorm(source: str, target: str, prefix: str = "", **attributes: object):
    names = [source, *(prefix + n for n in BN)]
    return node("BatchNormalization", names, [target], name=f"{prefix}bn", **attributes)


def convolution(kind, weight, x_shape, *, bias=0, channels=None, dtype=np.float32, **attributes):
    """x -> Conv or ConvTranspose -> BatchNormalization -> y."""
    weights = {"w": normal(1, *weight, dtype=dtype), **statistics(channels, dtype=dtype)}
    if bias:
        weights["b"] = normal(2, channels, dtype=dtype)
    return model(
        [
            node(kind, ["x", "w", "b"][: 2 + bias], ["c"], name="conv", **attributes),
            batchnorm("c", "y", epsilon=1e-3),
        ],
        weights, {"x": x_shape}, {"y": None},
        dtype=TensorProto.FLOAT16 if dtype is np.float16 else TensorProto.FLOAT,
    )  # fmt: skip


def product(op_type, weights, *, inputs=("x", "w"), add=None, channels=5, x_shape=(3, 4), **more):
    nodes = [node(op_type, list(inputs), ["h"], name="fc", **more)]
    if add is not None:
        nodes.append(node("Add", add, ["a"], name="add"))
    nodes.append(batchnorm(nodes[-1].output[0], "y"))
    return model(nodes, {**weights, **statistics(channels)}, {"x": x_shape}, {"y": None})


FOLDED = {
    "2-D": convolution("Conv", (8, 4, 3, 3), (2, 4, 6, 6), channels=8, pads=[1, 1, 1, 1]),
    "with bias": convolution("Conv", (8, 4, 3, 3), (2, 4, 6, 6), channels=8, bias=1),
    "grouped": convolution("Conv", (6, 2, 3, 3), (1, 4, 6, 6), channels=6, group=2),
    "depthwise": convolution("Conv", (4, 1, 3, 3), (1, 4, 6, 6), channels=4, group=4),
    "1-D": convolution("Conv", (5, 3, 3), (2, 3, 9), channels=5),
    "3-D": convolution("Conv", (5, 3, 2, 2, 2), (1, 3, 4, 4, 4), channels=5, bias=1),
    "transposed": convolution("ConvTranspose", (4, 6, 2, 2), (1, 4, 3, 3), channels=6, bias=1),
    "transposed, grouped": convolution(
        "ConvTranspose", (4, 3, 2, 2), (1, 4, 3, 3), channels=6, group=2
    ),
    "transposed, 1-D, depthwise": convolution(
        "ConvTranspose", (4, 1, 2), (1, 4, 3), channels=4, group=4, bias=1
    ),
    "Gemm": product("Gemm", {"w": normal(1, 4, 5)}),
    "Gemm transB, alpha, beta, bias of one row": product(
        "Gemm", {"w": normal(1, 5, 4), "b": normal(2, 1, 5)},
        inputs=("x", "w", "b"), transB=1, alpha=0.5, beta=2.0,
    ),
    "Gemm transA, scalar bias": product(
        "Gemm", {"w": normal(1, 4, 5), "b": normal(2)},
        inputs=("x", "w", "b"), transA=1, x_shape=(4, 3),
    ),
    "MatMul": product("MatMul", {"w": normal(1, 4, 5)}),
    "MatMul and Add": product("MatMul", {"w": normal(1, 4, 5), "b": normal(2, 5)}, add=["b", "h"]),
    "Gemm and Add": product(
        "Gemm", {"w": normal(1, 4, 5), "b": normal(2, 5), "c": normal(3, 5)},
        inputs=("x", "w", "c"), add=["h", "b"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("original", FOLDED.values(), ids=FOLDED)
def test_folding_removes_the_node_and_keeps_the_function(runner, original) -> None:
    context = Context()
    digest = original.digest
    folded = fold_batchnorm()(original, context)
    assert "BatchNormalization" not in operators(folded)
    assert context.left_alone == []
    assert original.digest == digest
    assert_same_function(runner, original, folded, 2e-6)


def test_float16_weights_stay_float16_and_are_rounded_once(runner) -> None:
    original = convolution("Conv", (8, 4, 3, 3), (2, 4, 6, 6), channels=8, bias=1, dtype=np.float16)
    folded = fold_batchnorm()(original)
    assert operators(folded) == ["Conv"]
    assert {w.dtype.name for w in folded.weights.values()} == {"float16"}
    assert_same_function(runner, original, folded, 4e-3)


def test_a_weight_that_two_layers_share_is_copied_for_the_one_that_is_folded(runner) -> None:
    original = model(
        [
            node("Conv", ["x", "w", "b"], ["c"], name="first"),
            batchnorm("c", "n"),
            node("Conv", ["x", "w", "b"], ["d"], name="second"),
            node("Add", ["n", "d"], ["y"]),
        ],
        {"w": normal(1, 4, 3, 3, 3), "b": normal(2, 4), **statistics(4)},
        {"x": (1, 3, 6, 6)},
        {"y": None},
    )
    folded = fold_batchnorm()(original)
    assert operators(folded) == ["Conv", "Conv", "Add"]
    assert np.array_equal(folded.weights["w"], original.weights["w"])
    assert set(folded.weights) == {"w", "b", "first.weight", "first.bias"}
    assert_same_function(runner, original, folded, 2e-6)


def test_weights_and_statistics_from_constant_nodes_fold_too(runner) -> None:
    weights = {"w": normal(1, 4, 3, 3, 3), **statistics(4)}
    original = model(
        [
            *(constant(name, array) for name, array in weights.items()),
            node("Conv", ["x", "w"], ["c"], name="conv"),
            batchnorm("c", "y"),
        ],
        {}, {"x": (1, 3, 6, 6)}, {"y": None},
    )  # fmt: skip
    folded = fold_batchnorm()(original)
    assert sorted(operators(folded)) == ["Constant", "Conv"]  # the weight stays where it was
    assert_same_function(runner, original, folded, 2e-6)


def test_a_chain_of_batchnorms_and_an_add_of_channels_fold_together(runner) -> None:
    original = model(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            node("Add", ["c", "a"], ["d"]),
            batchnorm("d", "e"),
            batchnorm("e", "y", "second."),
        ],
        {"w": normal(1, 4, 3, 3, 3), "a": normal(2, 1, 4, 1, 1)}
        | statistics(4) | statistics(4, "second."),
        {"x": (1, 3, 6, 6)}, {"y": None},
    )  # fmt: skip
    folded = fold_batchnorm()(original)
    assert operators(folded) == ["Conv"]
    assert_same_function(runner, original, folded, 2e-6)


def test_new_initializers_are_inputs_too_where_the_ir_version_wants_it(runner) -> None:
    original = model(
        [node("Conv", ["x", "w"], ["c"], name="conv"), batchnorm("c", "y")],
        {"w": normal(1, 4, 3, 3, 3), **statistics(4)},
        {"x": (1, 3, 6, 6)}, {"y": (1, 4, 4, 4)}, opset=8, ir_version=3,
    )  # fmt: skip
    folded = fold_batchnorm()(original)
    names = {v.name for v in folded.graph.inputs}
    assert names == {"x", "w", "conv.bias"}
    runner.check(folded)
    assert_same_function(runner, original, folded, 2e-6)


def conv_then(*nodes, outputs=("y",), weights=None, opset=17, **bn):
    extra = weights or {}
    return model(
        [node("Conv", ["x", "w"], ["c"], name="conv"), batchnorm("c", "y", **bn), *nodes],
        {"w": normal(1, 4, 3, 3, 3), **statistics(4), **extra},
        {"x": (1, 3, 6, 6)}, dict.fromkeys(outputs), opset=opset,
    )  # fmt: skip


LEFT_ALONE = {
    "also used elsewhere": conv_then(node("Relu", ["c"], ["z"]), outputs=("y", "z")),
    "also an output of the model": conv_then(outputs=("y", "c")),
    "its variance is not positive": conv_then(weights={"var": -np.ones(4, np.float32)}),
    "does not fit float16": model(
        [node("Conv", ["x", "w"], ["c"], name="conv"), batchnorm("c", "y")],
        {
            "w": np.full((1, 1, 1, 1), 6e4, np.float16), "gamma": np.full(1, 9, np.float16),
            "beta": np.zeros(1, np.float16), "mean": np.zeros(1, np.float16),
            "var": np.ones(1, np.float16),
        },
        {"x": (1, 1, 2, 2)}, {"y": None}, dtype=TensorProto.FLOAT16,
    ),
    "no convolution or matrix product": model(
        [node("Relu", ["x"], ["c"]), batchnorm("c", "y")],
        statistics(3), {"x": (1, 3, 4, 4)}, {"y": None},
    ),
    "the weight of 'conv' is not a constant": model(
        [node("Conv", ["x", "w"], ["c"], name="conv"), batchnorm("c", "y")],
        statistics(4), {"x": (1, 3, 6, 6), "w": (4, 3, 3, 3)}, {"y": None},
    ),
    "its parameters are computed": model(
        [
            node("Relu", ["raw"], ["gamma"]),
            node("Conv", ["x", "w"], ["c"], name="conv"),
            batchnorm("c", "y"),
        ],
        {"w": normal(1, 4, 3, 3, 3)} | {k: v for k, v in statistics(4).items() if k != "gamma"},
        {"x": (1, 3, 6, 6), "raw": (4,)}, {"y": None},
    ),
    "not known to be a matrix": product("MatMul", {"w": normal(1, 4, 5)}, x_shape=(2, 5, 4)),
    "not one number for each channel": product(
        "MatMul", {"w": normal(1, 4, 5), "b": normal(2, 3, 5)}, add=["h", "b"]
    ),
    "not those of its weight": product(
        "MatMul", {"w": normal(1, 5, 3)}, inputs=("w", "x"), channels=4
    ),
}  # fmt: skip


@pytest.mark.parametrize(("reason", "original"), LEFT_ALONE.items(), ids=LEFT_ALONE)
def test_what_cannot_be_folded_is_left_alone_and_named(reason, original) -> None:
    context = Context()
    assert fold_batchnorm()(original, context) is original
    (left,) = context.left_alone
    assert left.layer == "bn"
    assert reason in left.reason


def test_layers_in_subgraphs_and_functions_are_left_alone_and_named(runner) -> None:
    body = helper.make_graph(
        [node("Conv", ["x", "w"], ["ic"], name="inner.conv"), batchnorm("ic", "iy", "i.")],
        "then", [], [helper.make_tensor_value_info("iy", TensorProto.FLOAT, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [node("Conv", ["x", "w"], ["oy"], name="other.conv")],
        "else", [], [helper.make_tensor_value_info("oy", TensorProto.FLOAT, None)],
    )  # fmt: skip
    original = model(
        [
            constant("yes", np.array(True)),
            node("If", ["yes"], ["chosen"], name="choose", then_branch=body, else_branch=other),
            node("Conv", ["x", "w"], ["c"], name="conv"),
            batchnorm("c", "n"),
            node("Add", ["chosen", "n"], ["y"]),
        ],
        {"w": normal(1, 4, 3, 3, 3)} | statistics(4) | statistics(4, "i."),
        {"x": (1, 3, 6, 6)}, {"y": (1, 4, 4, 4)},
    )  # fmt: skip
    context = Context()
    folded = fold_batchnorm()(original, context)
    assert [left.layer for left in context.left_alone] == ["i.bn"]
    assert context.left_alone[0].reason == "it is in a subgraph of 'choose'"
    assert operators(folded).count("BatchNormalization") == 0
    assert_same_function(runner, original, folded, 2e-6)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("digits_*.onnx")), ids=lambda p: p.stem)
def test_the_fixtures_fold_whole(runner, path) -> None:
    original = load(path)
    folded = fold_batchnorm()(original)
    assert "BatchNormalization" not in operators(folded)
    assert fold_batchnorm()(folded) is folded
    assert_same_function(runner, original, folded, 2e-6)


@pytest.mark.real_models
@pytest.mark.skipif(not SHARED_MODELS.is_dir(), reason="../shared/models is not there")
@pytest.mark.parametrize(
    "name",
    ["fsanet_1x1", "gtcrn_simple", "ppocr_en_rec_mobile", "ppocrv3_det_ch", "ultraface_rfb_320"],
)
def test_real_models_fold_whole_and_stay_the_same_function(runner, name) -> None:
    original = load(SHARED_MODELS / f"{name}.onnx")
    assert "BatchNormalization" in operators(original)
    folded = fold_batchnorm()(original)
    assert "BatchNormalization" not in operators(folded)
    assert_same_function(runner, original, folded, 1e-4)


def operators(model: Model) -> list[str]:
    return [n.op_type for n in model.graph]


def assert_same_function(runner, original: Model, changed: Model, limit: float) -> None:
    assert changed.signature.inputs == original.signature.inputs
    assert [o.name for o in changed.signature.outputs] == [
        o.name for o in original.signature.outputs
    ]
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) <= limit


@pytest.mark.parametrize("folds", [False, True])
def test_one_stays_where_opencv_5_would_fold_the_next_in_its_place(runner, folds: bool) -> None:
    """It looks after a Relu, and takes a Sigmoid's BatchNormalization for the convolution's."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv"),
        batchnorm("c", "n", "first "),
        node("Relu" if folds else "Sigmoid", ["n"], ["a"], name="act"),
        batchnorm("a", "y", "second "),
    ]
    weights = {"w": normal(1, 4, 4, 3, 3), **statistics(4, "first "), **statistics(4, "second ")}
    original, context = (
        model(nodes, weights, {"x": (1, 4, 8, 8)}, {"y": ("n", "c", "h", "w")}),
        Context(),
    )
    changed = fold_batchnorm()(original, context)
    assert [left.layer for left in context.left_alone] == ["first bn", "second bn"][folds:]
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.opencv(changed, inputs, engine=NEW)) < 1e-5
