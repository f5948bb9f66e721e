"""The float64 evaluation agrees with onnxruntime, and with onnx's own operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from modelcheck.model import Model
from modelcheck.testing.float64 import Float64, as_float64, moved
from modelcheck.testing.float64_operators import OPERATORS
from modelcheck.testing.models import models, sample
from modelcheck.testing.runner import Runner

FLOAT32 = 1e-4  # what float32 may lose in a small net, by the largest output


@given(model=models(), seed=st.integers(0, 99))
def test_it_agrees_with_onnxruntime(runner: Runner, model: Model, seed: int) -> None:
    arrays = sample(model.signature, seed)
    (expected,) = runner.outputs(model, arrays)
    assert moved(Float64(model.to_proto()).run(arrays), expected) < FLOAT32


@pytest.mark.parametrize(
    ("op", "weight", "attributes"),
    [
        ("Conv", (6, 2, 3, 2), {"group": 2, "strides": [2, 1], "pads": [1, 0, 2, 1]}),
        ("Conv", (4, 4, 3, 3), {"dilations": [2, 1], "auto_pad": "SAME_LOWER"}),
        ("ConvTranspose", (4, 3, 3, 3), {"strides": [2, 2], "output_padding": [1, 0]}),
        ("ConvTranspose", (4, 3, 2, 3), {"pads": [1, 0, 0, 1]}),
        ("MaxPool", None, {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("MaxPool", None, {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("AveragePool", None, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("AveragePool", None, {"kernel_shape": [3, 3], "pads": [1, 0, 1, 2],
                               "count_include_pad": 1}),
    ],
)  # fmt: skip
def test_its_windows_are_those_of_the_reference_implementation(
    op: str, weight: tuple[int, ...] | None, attributes: dict[str, object]
) -> None:
    random = np.random.default_rng(0)
    proto = _net(op, None if weight is None else random.standard_normal(weight), attributes)
    x = {"x": random.standard_normal((2, 4, 9, 8))}
    expected = ReferenceEvaluator(proto).run(None, x)[0]
    actual = ReferenceEvaluator(proto, new_ops=list(OPERATORS)).run(None, x)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_every_float_becomes_double_and_nothing_else_changes() -> None:
    proto = _net("Conv", np.ones((2, 4, 1, 1)), {}, TensorProto.FLOAT)
    wide = as_float64(proto)
    assert {t.data_type for t in wide.graph.initializer} == {TensorProto.DOUBLE}
    assert wide.graph.output[0].type.tensor_type.elem_type == TensorProto.DOUBLE
    assert [n.op_type for n in wide.graph.node] == [n.op_type for n in proto.graph.node]
    assert proto.graph.initializer[0].data_type == TensorProto.FLOAT


def test_softmax_before_opset_13_is_over_all_axes_from_its_axis_on() -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 2, 2))
    y = Float64(_net("Softmax", None, {}, opset=7)).run({"x": x})["y"]
    assert y.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [([1.0, 2.0], [1.0, 2.0], 0.0), ([1.0, -2.0], [1.5, -2.0], 0.25),
     ([0.0], [1e-9], np.inf), ([1.0], [np.nan], np.inf), ([1.0], [1.0, 1.0], np.inf)],
)  # fmt: skip
def test_movement_is_relative_to_the_scale_of_the_output(
    before: list[float], after: list[float], expected: float
) -> None:
    assert moved({"y": np.array(before)}, {"y": np.array(after)}) == expected


def _net(
    op: str, weight: np.ndarray | None, attributes: dict[str, object],
    dtype: int = TensorProto.DOUBLE, opset: int = 13,
) -> onnx.ModelProto:  # fmt: skip
    weights = []
    if weight is not None:
        array = weight.astype(helper.tensor_dtype_to_np_dtype(dtype))
        weights = [numpy_helper.from_array(array, "w")]
    node = helper.make_node(op, ["x", "w"] if weights else ["x"], ["y"], **attributes)
    ends = [helper.make_tensor_value_info(name, dtype, None) for name in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
