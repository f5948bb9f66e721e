"""simplify: fewer nodes, the same function, and int8 weights that stay int8."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from onnx import TensorProto, helper
from small_graphs import FIXTURES, Runner, inputs_for, model, node, normal, worst_error

from modelcheck.errors import ContainedFailure
from modelcheck.model import Model, load
from modelcheck.transforms import simplify
from modelcheck.transforms.graph import layer_name


def foldable() -> Model:
    """A weight made of constants, a node that does nothing, and one sum computed twice."""
    return model(
        [
            node("Mul", ["w", "two"], ["w2"], name="weight"),
            node("Conv", ["x", "w2"], ["c"], name="conv"),
            node("Identity", ["c"], ["i"], name="nothing"),
            node("Exp", ["i"], ["a"], name="once"),
            node("Exp", ["c"], ["b"], name="twice"),
            node("Add", ["a", "b"], ["y"], name="sum"),
        ],
        {"w": normal(1, 4, 3, 1, 1), "two": np.array(2, np.float32)},
        {"x": (1, 3, 4, 4)}, {"y": (1, 4, 4, 4)},
    )  # fmt: skip


def test_what_is_constant_is_folded_and_what_does_nothing_goes(runner: Runner) -> None:
    original = foldable()
    changed = simplify()(original)
    runner.check(changed)
    assert sorted(n.op_type for n in changed.graph) == ["Add", "Conv", "Exp"]
    assert changed.signature == original.signature
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < 1e-6


def test_what_is_simple_already_stays_the_very_same_model() -> None:
    original = load(FIXTURES / "digits_mlp.onnx")
    once = simplify()(original)
    assert simplify()(once) is once


def test_int8_weights_stay_int8() -> None:
    original = model(
        [
            node("DequantizeLinear", ["q", "s", "z"], ["w"], name="weight", axis=0),
            node("Conv", ["x", "w"], ["y"], name="conv"),
        ],
        {"q": np.ones((4, 3, 1, 1), np.int8), "s": np.ones(4, np.float32),
         "z": np.zeros(4, np.int8)},
        {"x": (1, 3, 4, 4)}, {"y": (1, 4, 4, 4)},
    )  # fmt: skip
    changed = simplify()(original)
    assert "DequantizeLinear" in [n.op_type for n in changed.graph]


def test_a_failure_of_the_library_is_an_outcome_and_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise IndexError("deep inside\nof it")

    monkeypatch.setattr("onnxscript.optimizer.optimize_ir", fails)
    with pytest.raises(ContainedFailure, match="IndexError: deep inside"):
        simplify()(foldable())


def test_its_log_is_as_loud_afterwards_as_before() -> None:
    logging.getLogger("onnx_ir").setLevel(logging.INFO)
    simplify()(foldable())
    assert logging.getLogger("onnx_ir").level == logging.INFO
    logging.getLogger("onnx_ir").setLevel(logging.NOTSET)


@pytest.mark.parametrize(("operator", "opset"), [("Softmax", 11), ("LpNormalization", 17)])
def test_what_numpy_would_compute_otherwise_is_not_folded(
    runner: Runner, operator: str, opset: int
) -> None:
    attributes = {"p": 1} if operator == "LpNormalization" else {}
    original = model(
        [
            node(operator, ["k"], ["t"], name="t", axis=1, **attributes),
            node("Mul", ["x", "t"], ["y"], name="y"),
        ],
        {"k": normal(3, 1, 2, 3)}, {"x": (1, 2, 3)}, {"y": (1, 2, 3)}, opset=opset,
    )  # fmt: skip
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(simplify()(original), inputs)) < 1e-6


def test_nothing_to_do_gives_the_very_same_model() -> None:
    original = model([node("Relu", ["x"], ["y"])], {}, {"x": (1, 3)}, {"y": (1, 3)})
    assert simplify()(original) is original


def test_layers_keep_the_names_they_are_known_by() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv"),
        node("Identity", ["c"], ["i"]),
        node("Relu", ["i"], ["y"]),
    ]
    original = model(nodes, {"w": normal(1, 4, 3, 1, 1)}, {"x": (1, 3, 4, 4)}, {"y": (1, 4, 4, 4)})
    assert [layer_name(n) for n in simplify()(original).graph] == ["conv", "y"]


def reshaped_by_its_own_shape(*x: int | str) -> Model:
    """x -> Relu -> Reshape to (its first size, -1), asked for at run time."""
    nodes = [
        node("Relu", ["x"], ["r"], name="relu"),
        node("Shape", ["r"], ["s"], name="shape"),
        node("Gather", ["s", "first"], ["n"], name="gather"),
        node("Concat", ["n", "rest"], ["t"], name="concat", axis=0),
        node("Reshape", ["r", "t"], ["y"], name="reshape"),
    ]
    weights = {"first": np.array([0]), "rest": np.array([-1])}
    return model(nodes, weights, {"x": x}, {"y": ("a", "b")})


def test_shapes_that_are_known_are_folded(runner: Runner) -> None:
    original = reshaped_by_its_own_shape(2, 3, 4)
    changed = simplify()(original)
    assert [n.op_type for n in changed.graph] == ["Relu", "Reshape"]
    assert changed.graph[0].outputs[0].shape is None  # nothing is declared that was not
    runner.check(changed)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) == 0


def test_shapes_that_are_not_known_are_asked_for_at_run_time() -> None:
    changed = simplify()(reshaped_by_its_own_shape("n", 3, 4))
    assert "Shape" in [n.op_type for n in changed.graph]


@pytest.mark.parametrize("opset", [9, 13])
def test_a_pad_of_nothing_goes_but_not_where_it_gives_the_output(opset: int) -> None:
    def pad(x: str, y: str) -> object:
        if opset < 11:
            return node("Pad", [x], [y], name=y, pads=[0] * 8)
        return node("Pad", [x, "nothing"], [y], name=y)

    nodes = [pad("x", "p"), node("Relu", ["p"], ["r"], name="relu"), pad("r", "y")]
    weights = {"nothing": np.zeros(8, np.int64)} if opset >= 11 else {}
    image = (1, 3, 4, 4)
    changed = simplify()(model(nodes, weights, {"x": image}, {"y": image}, opset=opset))
    assert [n.op_type for n in changed.graph] == ["Relu", "Pad"]


@pytest.mark.parametrize(("size", "kinds"), [(8, ["Add"]), (2048, ["Add", "ConstantOfShape"])])
def test_few_equal_numbers_are_folded_and_many_are_not(size: int, kinds: list[str]) -> None:
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        node("ConstantOfShape", ["s"], ["c"], name="ones", value=one),
        node("Add", ["x", "c"], ["y"], name="sum"),
    ]
    original = model(nodes, {"s": np.array([1, size])}, {"x": (1, size)}, {"y": (1, size)})
    assert sorted(n.op_type for n in simplify()(original).graph) == kinds


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize(
    "operator", ["Exp", "Log", "Pow", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"]
)
def test_what_is_folded_is_what_engines_compute(runner: Runner, operator: str, opset: int) -> None:
    weights = {"k": 0.5 + np.abs(normal(3, 1, 2, 3, 4))}
    if operator.startswith("Reduce"):
        if opset >= (13 if operator == "ReduceSum" else 18):
            weights["axes"] = np.array([1, -1])
            folded = node(operator, ["k", "axes"], ["t"], name="t")
        else:
            folded = node(operator, ["k"], ["t"], name="t", axes=[1, -1])
    elif operator == "Pow":
        folded = node("Pow", ["k", "k"], ["t"], name="t")
    else:
        folded = node(operator, ["k"], ["t"], name="t")
    nodes = [folded, node("Mul", ["x", "t"], ["y"], name="y")]
    original = model(nodes, weights, {"x": (1, 2, 3, 4)}, {"y": (1, 2, 3, 4)}, opset=opset)
    changed = simplify()(original)
    assert [n.op_type for n in changed.graph] == ["Mul"]
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < 1e-6
