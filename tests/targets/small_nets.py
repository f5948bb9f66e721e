"""Small ONNX files for the tests of targets, and what they compute, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Net:
    path: Path
    outputs: tuple[str, ...]
    inputs: Arrays
    expected: Callable[[Arrays], Arrays]


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Arrays,
    outputs: tuple[str, ...],
    expected: Callable[[Arrays], Arrays] = lambda inputs: {},
) -> Net:
    """A model file whose inputs have the dtypes and shapes of the given arrays.

    Every output is float32 and has the shape of the first input.
    """
    shape = next(iter(inputs.values())).shape
    types = {n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in inputs.items()}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(n, types[n], a.shape) for n, a in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in outputs],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return Net(path, outputs, inputs, expected)


def three_outputs(folder: Path) -> Net:
    """Outputs of one shape whose order in the file is neither alphabetical nor that of nodes."""
    nodes = [
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("Tanh", ["x"], ["c"]),
    ]
    x = np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    return save(folder / "three.onnx", nodes, {"x": x}, ("c", "a", "b"), lambda given: {
        "b": np.maximum(given["x"], 0),
        "a": 1 / (1 + np.exp(-given["x"])),
        "c": np.tanh(given["x"]),
    })  # fmt: skip


def two_inputs(folder: Path) -> Net:
    """y = p - q: feeding the inputs the wrong way round shows."""
    p, q = np.float32([[1, 2, 3]]), np.float32([[10, 20, 40]])
    nodes = [helper.make_node("Sub", ["q", "p"], ["y"])]
    return save(folder / "two.onnx", nodes, {"p": p, "q": q}, ("y",),
                lambda given: {"y": given["q"] - given["p"]})  # fmt: skip


def half_input(folder: Path) -> Net:
    """A float16 input, cast to float32 at once."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["wide", "wide"], ["y"]),
    ]
    x = np.float16([[1.5, -2.25, 1000, 0.1]])
    return save(folder / "half.onnx", nodes, {"x": x}, ("y",),
                lambda given: {"y": 2 * given["x"].astype(np.float32)})  # fmt: skip


def integer_input(folder: Path, dtype: type) -> Net:
    """An integer or boolean input, cast to float32."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["wide", "wide"], ["y"]),
    ]
    x = np.array([[0, 1, 1, 0]]).astype(dtype)
    return save(folder / "integer.onnx", nodes, {"x": x}, ("y",),
                lambda given: {"y": 2 * given["x"].astype(np.float32)})  # fmt: skip


def unknown_operator(folder: Path) -> Net:
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"])]
    return save(folder / "unknown.onnx", nodes, {"x": np.zeros((1, 2), np.float32)}, ("y",))
