"""Small valid models to break, built in code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def info(name: str, shape: Sequence[int | str | None], dtype: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name: str, *shape: int, seed: int = 0, dtype: type = np.float32) -> TensorProto:
    array = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return numpy_helper.from_array(array, name)


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model_of(
    nodes,
    inputs=None,
    outputs=None,
    initializers=(),
    *,
    opset: int = 17,
    ir_version: int = 8,
    value_info=(),
    functions=(),
    domains=(),
) -> onnx.ModelProto:
    """A ModelProto that nothing has checked."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [info("x", [1, 3, 8, 8])] if inputs is None else inputs,
        [info("y", None)] if outputs is None else outputs,
        list(initializers),
        value_info=list(value_info),
    )
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=ir_version, functions=list(functions)
    )


def convnet() -> onnx.ModelProto:
    """Conv, Relu, Flatten, Gemm; one large and two small initializers, one constant."""
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["c"], name="conv",
            kernel_shape=[3, 3], strides=[1, 1], dilations=[1, 1], group=1,
        ),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flatten", axis=1),
        helper.make_node("Gemm", ["f", "gw", "gb"], ["g"], name="gemm"),
        helper.make_node(
            "Constant", [], ["k"], name="constant",
            value=numpy_helper.from_array(np.array([2.0], np.float32)),
        ),
        helper.make_node("Mul", ["g", "k"], ["y"], name="mul"),
    ]  # fmt: skip
    return model_of(
        nodes,
        outputs=[info("y", [1, 5])],
        initializers=[
            weight("w", 4, 3, 3, 3), weight("b", 4), weight("gw", 144, 5), weight("gb", 5),
        ],
    )  # fmt: skip


def with_external_data(folder: Path, *, threshold: int = 100) -> Path:
    """convnet() in `folder`, its two larger weights in weights.bin."""
    path = folder / "model.onnx"
    onnx.save(
        convnet(), path, save_as_external_data=True, location="weights.bin",
        size_threshold=threshold,
    )  # fmt: skip
    return path


def external(model: onnx.ModelProto, name: str) -> dict[str, str]:
    return {e.key: e.value for e in tensor(model, name).external_data}


def tensor(model: onnx.ModelProto, name: str) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == name)


def set_attribute(model: onnx.ModelProto, node_name: str, key: str, value: object) -> None:
    target = node(model, node_name)
    kept = [a for a in target.attribute if a.name != key]
    del target.attribute[:]
    target.attribute.extend([*kept, helper.make_attribute(key, value)])
