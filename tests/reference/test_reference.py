"""The reference child: what it refuses, what it survives, what it answers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelcheck.errors import Crashed, InvalidInput, TimedOut, Unsupported
from modelcheck.model import Model, save
from modelcheck.process import ChildLimits, Workspace
from modelcheck.reference import Reference, open_reference

FLOAT, FLOAT16, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def proto_of(nodes, inputs, outputs, initializers=(), opset=17) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(a, n) for n, a in initializers],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def convolution(dtype=np.float32, stride=1) -> Model:
    tensor = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(dtype)
    proto = proto_of(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], strides=[stride, stride]),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        [("x", tensor, ["n", 3, 8, 8])],
        [("y", tensor, ["n", 4, "h", "v"])],
        [("w", weight)],
    )
    return Model.from_proto(proto)


def endless() -> onnx.ModelProto:
    """A Loop that runs for hours."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["more_out"]),
            helper.make_node("Sin", ["v"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("more_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", FLOAT, [1]),
        ],
    )
    return proto_of(
        [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)],
        [("x", FLOAT, [1])],
        [("y", FLOAT, [1])],
        [("trips", np.array(2**60))],
    )


@pytest.fixture
def workspace():
    with Workspace() as workspace:
        yield workspace


def test_the_outputs_are_those_of_the_network(workspace):
    model = convolution()
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    w = model.weights["w"]
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    expected = np.maximum(np.einsum("nchwij,ocij->nohw", windows, w), 0)
    with open_reference(model, workspace) as reference:
        np.testing.assert_allclose(reference.run({"x": x})["y"], expected, atol=1e-5)


@pytest.mark.parametrize("per_channel", [True, False])
def test_dequantized_weights_are_multiplied_in_float32(workspace, per_channel):
    """onnxruntime's own choice rounds the activations to int8, an error of 0.7 %."""
    random = np.random.default_rng(0)
    w = random.integers(-127, 128, (32, 16)).astype(np.int8)
    scale = random.uniform(0.5, 1.0, 16 if per_channel else ()).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["wide"], axis=1),
        helper.make_node("MatMul", ["x", "wide"], ["y"]),
    ]
    ends = [("x", FLOAT, ["n", 32])], [("y", FLOAT, ["n", 16])]
    model = Model.from_proto(proto_of(nodes, *ends, [("w", w), ("scale", scale)]))
    x = random.normal(size=(4, 32)).astype(np.float32)
    expected = x @ (w * scale)
    with open_reference(model, workspace) as reference:
        actual = reference.run({"x": x})["y"]
    assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_float16_model_runs_as_float32_and_its_input_is_cast(workspace):
    model = convolution(np.float16)
    x = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float16)
    with open_reference(model, workspace) as reference:
        y = reference.run({"x": x})["y"]
    assert y.dtype == np.float32
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float32), (3, 3), axis=(2, 3))
    w = model.weights["w"].astype(np.float32)
    expected = np.maximum(np.einsum("nchwij,ocij->nohw", windows, w), 0)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_send_and_receive_let_several_references_work_at_once(workspace):
    x = np.ones((1, 3, 8, 8), np.float32)
    path = workspace.path / "m.onnx"
    save(convolution(), path)
    with Reference() as one, Reference() as other:
        for reference in (one, other):
            reference.load(path)
        for reference in (one, other):
            reference.send({"x": x})
        np.testing.assert_array_equal(one.receive()["y"], other.receive()["y"])


def test_a_model_that_the_checker_refuses_is_invalid_input(workspace):
    proto = convolution().to_proto()
    proto.graph.node[0].attribute[0].ints[:] = [1, 1, 1]  # three strides for two dimensions
    path = workspace.path / "bad.onnx"
    onnx.save(proto, path)
    with Reference() as reference:
        with pytest.raises(InvalidInput, match=r"bad\.onnx: onnx's checker refuses it") as error:
            reference.check(path)
        assert error.value.exit_code == 3
        save(convolution(), path)
        reference.check(path)  # the child lives on, and accepts a sound model


def test_an_operator_that_onnx_does_not_know_is_unsupported(workspace):
    proto = convolution().to_proto()
    proto.graph.node[1].op_type = "Relux"
    path = workspace.path / "unknown.onnx"
    onnx.save(proto, path)
    with Reference() as reference, pytest.raises(Unsupported, match="Relux"):
        reference.check(path)


def test_what_onnxruntime_cannot_load_or_run_is_unsupported(workspace):
    path = workspace.path / "m.onnx"
    path.write_bytes(b"not a model")
    with Reference() as reference:
        with pytest.raises(Unsupported, match="onnxruntime cannot load it"):
            reference.load(path)
        save(convolution(), path)
        reference.load(path)
        with pytest.raises(Unsupported, match="onnxruntime cannot run it"):
            reference.run({"x": np.ones((1, 5, 8, 8), np.float32)})
        assert reference.run({"x": np.ones((1, 3, 8, 8), np.float32)})["y"].shape == (1, 4, 6, 6)


def test_a_hang_is_killed_and_named(workspace):
    path = workspace.path / "endless.onnx"
    onnx.save(endless(), path)
    with Reference(limits=ChildLimits(request_s=1.5)) as reference:
        reference.load(path)
        with pytest.raises(TimedOut, match="onnxruntime, the reference: no answer") as error:
            reference.run({"x": np.ones(1, np.float32)})
        assert error.value.exit_code == 6


def test_a_crash_is_contained_and_named(workspace):
    path = workspace.path / "endless.onnx"
    onnx.save(endless(), path)
    with Reference() as reference:
        reference.load(path)
        reference.send({"x": np.ones(1, np.float32)})
        os.kill(reference._child.pid, signal.SIGSEGV)
        with pytest.raises(Crashed, match="onnxruntime, the reference: died of SIGSEGV") as error:
            reference.receive()
        assert error.value.exit_code == 6


def test_inferred_shapes_are_fixed_by_the_input(workspace):
    with Reference() as reference:
        model = convolution(stride=2)
        assert reference.shapes(model)["c"] == (None, 4, 3, 3)
        assert reference.shapes(model, {"x": (5, 3, 8, 12)})["y"] == (5, 4, 3, 5)
        path = Path(workspace.path / "m.onnx")
        save(model, path)
        assert reference.shapes(path, {"x": (5, 3, 8, 12)})["y"] == (5, 4, 3, 5)


def test_models_are_held_by_key_until_they_are_unloaded(workspace):
    x = np.ones((1, 3, 8, 8), np.float32)
    path = workspace.path / "m.onnx"
    with Reference() as reference:
        save(convolution(), path)
        reference.load(path, "a")
        save(convolution(stride=2), path)
        reference.load(path, "b")
        assert reference.run({"x": x}, key="a")["y"].shape == (1, 4, 6, 6)
        assert reference.run({"x": x}, key="b")["y"].shape == (1, 4, 3, 3)
        reference.unload("a")
        with pytest.raises(Unsupported):
            reference.run({"x": x}, key="a")
