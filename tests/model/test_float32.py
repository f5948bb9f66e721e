"""The float32 twin has no float16 left, keeps every name, and is free where nothing is float16."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from modelcheck.model import Model
from modelcheck.model.float32 import as_float32

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16


def half_model() -> Model:
    """float16 everywhere it can hide: initializer, Constant, Cast, ConstantOfShape, subgraph."""
    branches = {}
    for name, number in (("then_branch", 2.0), ("else_branch", 3.0)):
        inner = numpy_helper.from_array(np.float16([number]), "k")
        out = helper.make_tensor_value_info(f"{name}_y", FLOAT16, [1])
        nodes = [helper.make_node("Constant", [], [f"{name}_y"], value=inner)]
        branches[name] = helper.make_graph(nodes, name, [], [out])
    zero = numpy_helper.from_array(np.float16([0.5]), "z")
    nodes = [
        helper.make_node("Cast", ["x"], ["x32"], to=FLOAT),
        helper.make_node("Cast", ["x32"], ["x16"], to=FLOAT16),
        helper.make_node("If", ["flag"], ["f"], **branches),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["half"], value=zero),
        helper.make_node("Mul", ["x16", "f"], ["m"]),
        helper.make_node("Mul", ["m", "half"], ["h"]),
        helper.make_node("Add", ["h", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT16, [3])],
        [helper.make_tensor_value_info("y", FLOAT16, [3])],
        [
            numpy_helper.from_array(np.float16([1, 2, 3]), "w"),
            numpy_helper.from_array(np.array(True), "flag"),
        ],
        value_info=[helper.make_tensor_value_info("m", FLOAT16, [3])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return Model.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def test_nothing_is_float16_afterwards_and_the_values_are_the_same():
    model = half_model()
    twin = as_float32(model)
    text = str(twin.to_proto())
    assert f"data_type: {FLOAT16}" not in text
    assert f"elem_type: {FLOAT16}" not in text
    assert [spec.name for spec in twin.signature.inputs] == ["x"]
    assert twin.signature.inputs[0].dtype == np.float32
    assert twin.signature.outputs[0].dtype == np.float32
    np.testing.assert_array_equal(twin.weights["w"], np.float32([1, 2, 3]))
    cast = next(
        node for node in twin.graph if node.op_type == "Cast" and node.outputs[0].name == "x16"
    )
    assert cast.attributes["to"].as_int() == FLOAT


def test_the_input_is_unchanged():
    model = half_model()
    before = model.digest
    as_float32(model)
    assert model.digest == before
    assert model.signature.inputs[0].dtype == np.float16


def test_a_model_without_float16_is_given_back_itself():
    twin = as_float32(half_model())
    assert as_float32(twin) is twin
