"""fp16: every value merely rounded, and what float16 cannot hold kept in float32 and named."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from small_graphs import (
    CLASSIC,
    FIXTURES,
    NEW,
    SHARED_MODELS,
    constant,
    inputs_for,
    model,
    node,
    normal,
    worst_error,
)

from modelcheck.model import load
from modelcheck.transforms import Context, fp16
from modelcheck.transforms.element_types import element_types
from modelcheck.transforms.graph import CannotChange
from modelcheck.transforms.halving import half

PATHS = sorted(FIXTURES.glob("digits_*.onnx"))
fixtures = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
scopes = pytest.mark.parametrize("scope", ["weights", "model"])


@scopes
@fixtures
def test_the_fixtures_are_halved_and_keep_their_signature(runner, path, scope) -> None:
    original = load(path)
    digest = original.digest
    halved = fp16(scope=scope)(original)
    assert original.digest == digest
    assert halved.signature == original.signature
    assert halved.nbytes < 0.6 * original.nbytes
    assert fp16(scope=scope)(halved) is halved
    runner.check(halved)
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, halved))
    assert worst_error(expected, actual) < 4e-3


@fixtures
def test_opencv_runs_both_forms_its_classic_engine_only_that_of_weights(runner, path) -> None:
    original = load(path)
    inputs = inputs_for(original)
    for scope, engines in (("weights", (CLASSIC, NEW)), ("model", (NEW,))):
        halved = fp16(scope=scope)(original)
        expected = runner.onnxruntime(halved, inputs)
        for engine in engines:
            limit = 1e-5 if scope == "weights" else 4e-3
            assert worst_error(expected, runner.opencv(halved, inputs, engine=engine)) < limit


def test_whole_layers_run_in_float16_and_sums_do_not() -> None:
    original = load(FIXTURES / "digits_resnet.onnx")
    context = Context()
    halved = fp16(scope="model")(original, context)
    types = element_types(halved.edit())
    by_op: dict[str, set[str]] = {}
    for n in halved.graph:
        for value in n.outputs:
            by_op.setdefault(n.op_type, set()).add(value.dtype.name if value.dtype else "?")
    assert by_op["Conv"] == by_op["Gemm"] == by_op["Relu"] == {"FLOAT16"}
    assert types
    left = {left.layer for left in context.left_alone}
    assert left == {n.name for n in original.graph if n.op_type == "BatchNormalization"}


def test_constants_beyond_float16_keep_their_node_in_float32_and_named(runner) -> None:
    original = model(
        [
            node("MatMul", ["x", "w"], ["h"], name="fc"),
            node("Add", ["h", "huge"], ["i"], name="mask"),
            node("Add", ["i", "tiny"], ["j"], name="epsilon"),
            node("Relu", ["j"], ["y"], name="relu"),
        ],
        {
            "w": normal(0, 4, 4), "huge": np.float32(-1e9).reshape(1),
            "tiny": np.float32(1e-12).reshape(1),
        },
        {"x": (2, 4)}, {"y": (2, 4)},
    )  # fmt: skip
    context = Context()
    halved = fp16(scope="model")(original, context)
    assert {left.layer: left.reason for left in context.left_alone} == {
        "mask": "it has a constant beyond 65504, where float16 ends",
        "epsilon": "it has a constant too small for float16",
    }
    runner.check(halved)
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, halved))
    assert worst_error(expected, actual) < 4e-3
    # From one float32 node to the next no cast stands in between.
    assert [n.op_type for n in halved.graph].count("Cast") == 4


@scopes
def test_weights_too_large_or_too_small_are_left_alone(scope) -> None:
    for size in (1e5, 1e-8):
        original = model(
            [node("MatMul", ["x", "w"], ["y"], name="fc")],
            {"w": normal(0, 8, 8) * np.float32(size)}, {"x": (2, 8)}, {"y": (2, 8)},
        )  # fmt: skip
        context = Context()
        assert fp16(scope=scope)(original, context) is original
        assert [left.layer for left in context.left_alone] == ["fc"]


def test_half_refuses_what_loses_more_than_rounding() -> None:
    assert half(np.array([65504.0, 1.0], np.float32)).dtype == np.float16
    assert np.array_equal(half(np.zeros(3, np.float32)), np.zeros(3, np.float16))
    for value in (65520.0, -1e9, 1e-12, 1e-6):
        with pytest.raises(CannotChange):
            half(np.array([value], np.float32))


def test_what_is_computed_from_shapes_alone_stays_in_float32(runner) -> None:
    original = model(
        [
            node("Shape", ["x"], ["s"]),
            node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
            node("Mul", ["f", "two"], ["g"], name="grow"),
            node("Cast", ["g"], ["sizes"], to=TensorProto.INT64),
            node("Resize", ["x", "", "", "sizes"], ["r"], name="resize", mode="nearest"),
            node("Conv", ["r", "w"], ["y"], name="conv"),
        ],
        {"two": np.array([1, 1, 2, 2], np.float32), "w": normal(0, 3, 3, 1, 1)},
        {"x": (1, 3, 4, 4)}, {"y": (1, 3, 8, 8)},
    )  # fmt: skip
    context = Context()
    halved = fp16(scope="model")(original, context)
    assert context.left_alone == []
    assert halved.weights["two"].dtype == np.float32
    assert halved.graph.node("resize").inputs[0].dtype == ir.DataType.FLOAT16
    runner.check(halved)
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, halved))
    assert worst_error(expected, actual) < 4e-3


def test_a_value_that_a_subgraph_captures_is_cast_back_for_it(runner) -> None:
    branches = [
        helper.make_graph(
            [node(op, ["h"], [output], name=output)], output, [],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        )
        for op, output in (("Relu", "then"), ("Neg", "else"))
    ]  # fmt: skip
    original = model(
        [
            constant("yes", np.array(True)),
            node("MatMul", ["x", "w"], ["h"], name="fc"),
            node("If", ["yes"], ["i"], name="choose", then_branch=branches[0],
                 else_branch=branches[1]),
            node("MatMul", ["i", "w"], ["y"], name="last"),
        ],
        {"w": normal(0, 4, 4)}, {"x": (2, 4)}, {"y": (2, 4)},
    )  # fmt: skip
    halved = fp16(scope="model")(original)
    assert halved.graph.node("fc").outputs[0].dtype == ir.DataType.FLOAT16
    runner.check(halved)
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, halved))
    assert worst_error(expected, actual) < 4e-3


def test_an_output_that_another_node_reads_too_stays_float32_for_the_user(runner) -> None:
    original = model(
        [
            node("MatMul", ["x", "w"], ["h"], name="fc"),
            node("Relu", ["h"], ["y"], name="relu"),
        ],
        {"w": normal(0, 4, 4)}, {"x": (2, 4)}, {"h": (2, 4), "y": (2, 4)},
    )  # fmt: skip
    halved = fp16(scope="model")(original)
    assert halved.signature == original.signature
    runner.check(halved)
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, halved))
    assert worst_error(expected, actual) < 4e-3


def test_excluded_layers_stay_in_float32() -> None:
    original = load(FIXTURES / "digits_mlp.onnx")
    first = next(n.name for n in original.graph if n.op_type == "Gemm")
    halved = fp16(scope="model", exclude=[first])(original)
    gemms = [n for n in halved.graph if n.op_type == "Gemm"]
    assert [n.inputs[1].dtype.name for n in gemms] == ["FLOAT", "FLOAT16", "FLOAT16"]


@pytest.mark.real_models
@pytest.mark.skipif(not SHARED_MODELS.is_dir(), reason="../shared/models is not there")
@pytest.mark.parametrize("name", ["dtln_1", "fns_candy", "gtcrn_simple", "prisma_seg", "vittrack"])
def test_real_models_run_in_float16(runner, name) -> None:
    original = load(SHARED_MODELS / f"{name}.onnx")
    halved = fp16(scope="model")(original)
    runner.check(halved)
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, halved))
    assert worst_error(expected, actual) < 2e-2
