"""What `inspect` counts, and the known faults it finds and does not find."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from faulty_nets import CASES
from onnx import TensorProto, helper, numpy_helper

from modelcheck.model import Model
from modelcheck.model.inspection import inspect
from modelcheck.model.patterns import PATTERNS
from modelcheck.testing.net import Net, Tensor


def faults(model: Model, **shapes: Sequence[int]) -> dict[str, tuple[str, ...]]:
    return {f.pattern.id: f.nodes for f in inspect(model, shapes).known_wrong}


def graph(
    nodes: Sequence[tuple[str, str, str]],
    constants: dict[str, np.ndarray] | None = None,
    *,
    x: tuple[int, Sequence[int | str]],
) -> Model:
    """A model from 'Op', 'inputs', 'output' rows; the first input is x, the last output y."""
    made = [
        helper.make_node(op, inputs.split(), [output], f"the {op}") for op, inputs, output in nodes
    ]
    built = helper.make_graph(
        made, "g",
        [helper.make_tensor_value_info("x", *x)],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, [None] * len(x[1]))],
        [numpy_helper.from_array(a, k) for k, a in (constants or {}).items()],
    )  # fmt: skip
    proto = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    return Model.from_proto(proto)


SCALE = {"s": np.float32(0.1), "z": np.int8(0), "u": np.uint8(128)}


def quantized(*, dtype: type = np.int8, size: int = 6) -> Model:
    """A 1x1 Conv in QDQ form."""
    zero = "z" if dtype is np.int8 else "u"
    rows = [
        ("QuantizeLinear", "x s z", "xq"),
        ("DequantizeLinear", "xq s z", "xd"),
        ("DequantizeLinear", f"w s {zero}", "wd"),
        ("Conv", "xd wd", "v"),
        ("QuantizeLinear", "v s z", "q"),
        ("DequantizeLinear", "q s z", "d"),
    ]
    weight = np.ones((4, 4, 1, 1), dtype)
    return graph(rows, {**SCALE, "w": weight}, x=(TensorProto.FLOAT, (1, 4, size, size)))


def residual(batch: int | str) -> Model:
    w = np.ones((4, 4, 1, 1), np.float32)
    rows = [("Conv", "x w", "a"), ("Conv", "x w", "b"), ("Add", "a b", "y")]
    return graph(rows, {"w": w}, x=(TensorProto.FLOAT, (batch, 4, 6, 6)))


def product(batch: int | str) -> Model:
    w = np.ones((4, 3), np.float32)
    return graph([("MatMul", "x w", "y")], {"w": w}, x=(TensorProto.FLOAT, (batch, 5, 4)))


# Rows that no engine is run for: a model that has the pattern, and one that is like it.
MORE_CASES: dict[str, tuple[Callable[[], Model], Callable[[], Model]]] = {
    "qdq-conv-unfused": (lambda: quantized(size=8), lambda: residual(1)),
    "reused-net-add": (lambda: residual("n"), lambda: residual(1)),
    "reused-net-matmul": (lambda: product("n"), lambda: product(1)),
}
MATCHED = {name: (case.shows, case.like) for name, case in CASES.items()} | MORE_CASES
ROWS = {pattern.id: pattern for pattern in PATTERNS}
# Too large to build here.
UNBUILT = {"over-2-gib"}


@pytest.mark.parametrize("name", MATCHED)
def test_a_known_fault_is_found_where_it_is_and_only_there(name: str) -> None:
    faulty, sound = MATCHED[name]
    assert name in faults(faulty())
    assert name not in faults(sound())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.right])
def test_the_form_that_a_remedy_names_has_the_fault_no_more(name: str) -> None:
    right = CASES[name].right
    assert right is not None
    # Clipped values are right, but a graph does not show what is fed.
    assert name not in faults(right()) or ROWS[name].when


def test_every_known_fault_has_a_case() -> None:
    assert set(ROWS) == set(MATCHED) | UNBUILT
    assert len(ROWS) == len(PATTERNS)


def test_a_fault_names_its_nodes_and_the_worst_comes_first() -> None:
    found = inspect(quantized(size=5)).known_wrong
    assert [f.pattern.severity for f in found] == ["wrong", "slow"]
    assert found[0].nodes == ("the Conv",)


def test_macs_are_those_of_the_definition() -> None:
    net = Net()
    y = net.input((4, 6, 6))
    y = net.add(
        "Conv", [y, net.weight((8, 2, 3, 3))], (8, 3, 3), group=2, strides=[2, 2], pads=[1] * 4
    )
    y = net.add("ConvTranspose", [y, net.weight((8, 3, 2, 2))], (3, 6, 6), strides=[2, 2])
    y = net.add("MatMul", [net.weight((5, 6)), y], (3, 5, 6))
    y = net.add("Flatten", [y], (90,))
    net.outputs.append(net.add("Gemm", [y, net.weight((7, 90))], (7,), transB=1))
    found = inspect(net.model())
    expected = [8 * 9 * 2 * 9, 8 * 9 * 3 * 4, 3 * 5 * 6 * 6, 7 * 90]
    assert [layer.macs for layer in found.layers] == expected
    assert found.macs == sum(expected)


def test_macs_are_unknown_until_shapes_are_given() -> None:
    model = residual("n")
    assert inspect(model).macs is None
    given = inspect(model, {"x": (2, 4, 6, 6), "a": (2, 4, 6, 6), "b": (2, 4, 6, 6)})
    assert given.macs == 2 * (2 * 4 * 36 * 4)


def test_sparsity_counts_zeros_and_zero_points() -> None:
    net = Net()
    y = net.input((4,))
    weight = np.ones((4, 5))
    weight[:2] = 0
    net.outputs.append(net.add("MatMul", [y, net.constant(weight)], (5,)))
    found = inspect(net.model())
    assert found.layers[0].sparsity == found.sparsity == 0.5
    asymmetric = inspect(quantized(dtype=np.uint8))
    assert asymmetric.layers[0].sparsity == 0  # all ones, and zero is stored as 128


def test_operators_and_parameters_in_constant_nodes_are_counted() -> None:
    net = Net()
    x = net.input((4, 5, 5))
    y: Tensor = net.add("Conv", [x, net.weight((4, 4, 3, 3))], pads=[1] * 4)
    net.outputs.append(net.add("Relu", [net.add("Relu", [y])]))
    proto = net.proto()
    tensor = proto.graph.initializer.pop()
    proto.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    found = inspect(Model.from_proto(proto))
    assert next(iter(found.operators.items())) == ("Relu", 2)
    assert found.parameters == 4 * 4 * 9
    assert found.nbytes == 4 * found.parameters
    assert found.layers[0].weight_shape == (4, 4, 3, 3)
