"""Layers by themselves: of one kind what costs the same, and each computes what it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelcheck.model import Model, load
from modelcheck.searching.layers import INPUT, Kind, kinds
from modelcheck.testing.runner import Runner

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
OPERATORS = frozenset(("Conv", "MatMul", "Gemm"))


def built(nodes: list[object], weights: dict[str, np.ndarray], x: list[object]) -> Model:
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(x))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 13)]
    return Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def three_convolutions(**last: object) -> Model:
    node = helper.make_node
    return built(
        [
            node("Conv", ["x", "w0"], ["a"], name="first", pads=[1] * 4),
            node("Relu", ["a"], ["ar"]),
            node("Conv", ["ar", "w1"], ["b"], name="second", pads=[1] * 4),
            node("Relu", ["b"], ["br"]),
            node("Conv", ["br", "w2"], ["y"], name="third", pads=[1] * 4, **last),
        ],
        {f"w{i}": weight(4, 4, 3, 3, seed=i) for i in range(3)}, ["n", 4, 8, 8],
    )  # fmt: skip


def found(model: Model, shape: tuple[int, ...]) -> dict[tuple[str, ...], Kind]:
    name = model.signature.inputs[0].name
    return {kind.layers: kind for kind in kinds(model, OPERATORS, {name: shape})}


def test_layers_of_equal_shapes_and_activations_are_of_one_kind_whatever_their_weights() -> None:
    assert set(found(three_convolutions(), (1, 4, 8, 8))) == {("first", "second"), ("third",)}


def test_another_shape_of_the_input_is_another_kind() -> None:
    small = found(three_convolutions(), (1, 4, 8, 8))
    large = found(three_convolutions(), (1, 4, 16, 16))
    assert not {k.digest for k in small.values()} & {k.digest for k in large.values()}


def test_another_attribute_is_another_kind() -> None:
    plain = found(three_convolutions(), (1, 4, 8, 8))[("third",)]
    wide = found(three_convolutions(dilations=[2, 2]), (1, 4, 8, 8))[("third",)]
    assert plain.digest != wide.digest


def test_a_layer_by_itself_gives_the_means_of_what_it_gave(runner: Runner) -> None:
    """The image stays inside, so that a forward is not mostly new memory."""
    model = three_convolutions()
    kind = found(model, (1, 4, 8, 8))[("third",)]
    sample = kind.sample()
    runner.check(kind.alone)
    (alone,) = runner.outputs(kind.alone, sample)
    conv = built(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)],
        {"w": weight(4, 4, 3, 3, seed=2)}, ["n", 4, 8, 8],
    )  # fmt: skip
    (whole,) = runner.outputs(conv, {"x": sample[INPUT]})
    (means,) = alone.values()
    np.testing.assert_allclose(means, whole["y"].mean((2, 3), keepdims=True), atol=1e-5)


def test_a_product_comes_with_its_bias_and_activation() -> None:
    node = helper.make_node
    model = built(
        [node("MatMul", ["x", "w"], ["a"], name="fc"), node("Add", ["a", "b"], ["c"]),
         node("Relu", ["c"], ["y"])],
        {"w": weight(4, 5), "b": weight(5)}, ["n", 4],
    )  # fmt: skip
    kind = found(model, (3, 4))[("fc",)]
    assert [n.op_type for n in kind.alone.graph] == ["MatMul", "Add", "Relu"]
    assert kind.shape == (3, 4)


def test_what_is_computed_twice_or_given_out_is_not_taken_along() -> None:
    node = helper.make_node
    model = built(
        [node("Conv", ["x", "w"], ["a"], name="conv"), node("Relu", ["a"], ["r"]),
         node("Add", ["a", "r"], ["y"])],
        {"w": weight(4, 4, 1, 1)}, ["n", 4, 8, 8],
    )  # fmt: skip
    kind = found(model, (1, 4, 8, 8))[("conv",)]
    assert "Relu" not in {n.op_type for n in kind.alone.graph}


@pytest.mark.parametrize("fixture", ["digits_resnet", "digits_depthwise", "digits_mlp"])
def test_every_layer_of_a_trained_net_is_of_some_kind(runner: Runner, fixture: str) -> None:
    model = load(FIXTURES / f"{fixture}.onnx")
    all_kinds = kinds(model, OPERATORS, {"image": (1, 1, 8, 8)})
    layers = [name for kind in all_kinds for name in kind.layers]
    assert len(layers) == len(set(layers))
    assert len(layers) == sum(node.op_type in OPERATORS for node in model.graph)
    for kind in all_kinds:
        (answer,) = runner.outputs(kind.alone, kind.sample())
        assert all(np.isfinite(array).all() for array in answer.values())


def test_layers_of_unknown_shape_are_left_out() -> None:
    node = helper.make_node
    model = built([node("Conv", ["x", "w"], ["y"])], {"w": weight(4, 4, 3, 3)}, ["n", 4, "h", "w"])
    assert kinds(model, OPERATORS, {}) == []
