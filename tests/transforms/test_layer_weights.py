"""Where layers keep their weights, and which of them any transform of weights may touch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper
from small_graphs import constant, inputs_for, model, node, normal

from modelcheck.errors import UsageError
from modelcheck.model import Model
from modelcheck.transforms import (
    Context,
    Transform,
    fp16,
    prune_weights,
    quantize_weights,
    sparsify,
)
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import slots

FACTORIES: dict[str, Callable[..., Transform]] = {
    "sparsify": sparsify,
    "prune-weights": prune_weights,
    "quantize-weights": quantize_weights,
    "fp16": fp16,
}
every_transform = pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (node("Conv", ["x", "w"], ["y"]), (8, 2, 3, 3), (1, 0)),
        (node("Conv", ["x", "w"], ["y"], group=4), (8, 1, 3), (1, 0)),
        (node("ConvTranspose", ["x", "w"], ["y"]), (4, 6, 2, 2), (0, 1)),
        (node("Gemm", ["x", "w"], ["y"]), (4, 5), (0, 1)),
        (node("Gemm", ["x", "w"], ["y"], transB=1), (5, 4), (1, 0)),
        (node("Gemm", ["w", "x"], ["y"]), (5, 4), (1, 0)),
        (node("Gemm", ["w", "x"], ["y"], transA=1), (4, 5), (0, 1)),
        (node("MatMul", ["x", "w"], ["y"]), (4, 5), (0, 1)),
        (node("MatMul", ["x", "w"], ["y"]), (3, 4, 5), (1, 2)),
        (node("MatMul", ["w", "x"], ["y"]), (5, 4), (1, 0)),
        (node("MatMul", ["x", "w"], ["y"]), (4,), (0, None)),
    ],
)
def test_a_slot_knows_the_input_and_output_axis_of_its_weight(layer, shape, axes) -> None:
    original = model([layer], {"w": np.ones(shape, np.float32)}, {"x": ("a", "b")}, {"y": None})
    (slot,) = slots(original.graph)
    assert slot.weight.name == "w"
    assert (slot.input_axis, slot.output_axis) == axes


def two_layers(weight: np.ndarray, **more) -> Model:
    return model(
        [
            node("MatMul", ["x", "w"], ["h"], name="first"),
            node("MatMul", ["h", "w"], ["y"], name="second"),
        ],
        {"w": weight}, {"x": (2, 8)}, {"y": (2, 8)}, **more,
    )  # fmt: skip


@every_transform
def test_a_weight_that_two_layers_share_is_changed_once_for_both(runner, factory) -> None:
    original = two_layers(normal(0, 8, 8))
    context = Context()
    changed = factory()(original, context)
    assert context.left_alone == []
    first, second = (n for n in changed.graph if n.op_type == "MatMul")
    assert first.inputs[1] is second.inputs[1]
    assert changed.nbytes <= original.nbytes
    runner.check(changed)


@every_transform
def test_excluding_one_of_the_layers_that_share_a_weight_keeps_it(factory) -> None:
    original = two_layers(normal(0, 8, 8))
    context = Context()
    assert factory(exclude=["fir*"])(original, context) is original
    reasons = {left.layer: left.reason for left in context.left_alone}
    assert reasons.keys() == {"first", "second"}
    assert "'first', which is excluded" in reasons["second"]


@every_transform
def test_an_exclude_that_names_no_layer_is_a_usage_error(factory) -> None:
    with pytest.raises(
        UsageError, match=r"exclude=frist: names no layer.*\n.*Did you mean 'first'"
    ):
        factory(exclude=["frist"])(two_layers(normal(0, 8, 8)))


@every_transform
def test_brackets_in_a_layer_name_are_no_glob(factory) -> None:
    original = model(
        [node("MatMul", ["x", "w"], ["y"], name="block[0]")],
        {"w": normal(0, 8, 8)}, {"x": (2, 8)}, {"y": None},
    )  # fmt: skip
    assert factory(exclude=["block[0]"])(original) is original


@every_transform
def test_weights_from_constant_nodes_are_changed_too(runner, factory) -> None:
    original = model(
        [constant("w", normal(0, 8, 8)), node("Gemm", ["x", "w"], ["y"], name="fc")],
        {}, {"x": (2, 8)}, {"y": (2, 8)},
    )  # fmt: skip
    digest = original.digest
    changed = factory()(original)
    assert changed != original
    assert original.digest == digest
    runner.check(changed)
    runner.onnxruntime(changed, inputs_for(original))


@every_transform
def test_an_embedding_tied_to_a_layer_is_left_alone_and_named(factory) -> None:
    original = model(
        [
            constant("rows", np.array([0, 1])),
            node("Gather", ["w", "rows"], ["e"], name="embed"),
            node("Add", ["x", "e"], ["h"]),
            node("Gemm", ["h", "w"], ["y"], name="head", transB=1),
        ],
        {"w": normal(0, 5, 8)}, {"x": (2, 8)}, {"y": (2, 5)},
    )  # fmt: skip
    context = Context()
    assert factory()(original, context) is original
    (left,) = context.left_alone
    assert (left.layer, left.reason) == ("head", "its weight is also used by Gather 'embed'")


@every_transform
def test_a_weight_that_is_an_output_too_is_left_alone(factory) -> None:
    original = model(
        [node("MatMul", ["x", "w"], ["y"], name="fc")],
        {"w": normal(0, 8, 8)}, {"x": (2, 8)}, {"y": (2, 8), "w": (8, 8)},
    )  # fmt: skip
    context = Context()
    assert factory()(original, context) is original
    assert context.left_alone[0].reason == "its weight is also an output of the model"


@every_transform
def test_biases_normalization_and_activations_keep_their_values(factory) -> None:
    kept = {"b": normal(1, 4), "gamma": normal(2, 4), "beta": normal(3, 4), "scale": normal(4, 4)}
    original = model(
        [
            node("Conv", ["x", "w", "b"], ["c"], name="conv"),
            node("BatchNormalization", ["c", "gamma", "beta", "scale", "var"], ["n"]),
            node("Flatten", ["n"], ["f"]),
            node("MatMul", ["f", "f2"], ["y"], name="attention"),
        ],
        {"w": normal(0, 4, 4, 1, 1), "var": np.ones(4, np.float32), **kept},
        {"x": (1, 4, 1, 1), "f2": (4, 2)}, {"y": (1, 2)},
    )  # fmt: skip
    context = Context()
    changed = factory()(original, context)
    for name, array in kept.items():
        assert np.array_equal(changed.weights[name], array)
    assert context.left_alone == []  # a product of two activations has no weight to name


@every_transform
def test_computed_weights_are_named_with_what_makes_them(factory) -> None:
    original = model(
        [
            node("Transpose", ["w"], ["wt"]),
            node("MatMul", ["x", "wt"], ["y"], name="fc"),
            node("Conv", ["image", "kernel"], ["z"], name="dynamic"),
        ],
        {"w": normal(0, 8, 8)},
        {"x": (2, 8), "image": (1, 1, 4, 4), "kernel": (1, 1, 3, 3)}, {"y": None, "z": None},
    )  # fmt: skip
    context = Context()
    assert factory()(original, context) is original
    assert {left.layer: left.reason for left in context.left_alone} == {
        "fc": "its weight is made by Transpose",
        "dynamic": "its weight is not a constant",
    }


@every_transform
def test_layers_in_subgraphs_and_functions_are_left_alone_and_named(runner, factory) -> None:
    branches = [
        helper.make_graph(
            [node("MatMul", ["x", weight], [output], name=f"{output}.fc")],
            output, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        )
        for weight, output in (("w", "then"), ("v", "else"))
    ]  # fmt: skip
    function = helper.make_function(
        "house", "Dense", ["a", "b"], ["c"], [node("MatMul", ["a", "b"], ["c"], name="deep")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    original = model(
        [
            constant("yes", np.array(True)),
            node("If", ["yes"], ["i"], name="choose", then_branch=branches[0],
                 else_branch=branches[1]),
            node("Dense", ["i", "u"], ["d"], name="call", domain="house"),
            node("MatMul", ["d", "t"], ["y"], name="plain"),
        ],
        {name: normal(n, 8, 8) for n, name in enumerate("wvut")},
        {"x": (2, 8)}, {"y": (2, 8)}, functions=[function],
    )  # fmt: skip
    context = Context()
    changed = factory()(original, context)
    assert {left.layer: left.reason for left in context.left_alone} == {
        "then.fc": "it is in a subgraph of 'choose'",
        "else.fc": "it is in a subgraph of 'choose'",
        "deep": "it is in the local function 'Dense'",
    }
    for name in "wvu":  # captured by the subgraph, or handed to the function
        assert np.array_equal(changed.weights[name], original.weights[name])
    runner.check(changed)
    runner.onnxruntime(changed, inputs_for(original))


def test_of_two_names_for_one_move_the_second_gets_a_number() -> None:
    edit = Edit(two_layers(normal(0, 8, 8)))
    assert [edit.fresh(stem) for stem in ("w", "w", "new", "new")] == ["w_1", "w_2", "new", "new_1"]
