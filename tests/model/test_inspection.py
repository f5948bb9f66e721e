"""What `inspect` counts, and the known faults it finds and does not find."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelcheck.model import Model
from modelcheck.model.inspection import inspect
from modelcheck.model.patterns import PATTERNS
from modelcheck.testing.net import Net, Tensor

MICROSOFT = helper.make_opsetid("com.microsoft", 1)


def faults(model: Model, **shapes: Sequence[int]) -> dict[str, tuple[str, ...]]:
    return {f.pattern.id: f.nodes for f in inspect(model, shapes).known_wrong}


def graph(
    nodes: Sequence[tuple[str, str, str]],
    constants: dict[str, np.ndarray] | None = None,
    *,
    x: tuple[int, Sequence[int | str]] = (TensorProto.FLOAT, (1, 4, 6, 6)),
    **attributes: dict[str, object],
) -> Model:
    """A model from 'Op', 'inputs', 'output' rows; the first input is x, the last output y."""
    made = []
    for op, inputs, output in nodes:
        domain = "com.microsoft" if op.startswith("Q") and op not in STANDARD else ""
        made.append(
            helper.make_node(
                op, inputs.split(), [output], f"the {op}", domain=domain, **attributes.get(op, {})
            )
        )
    built = helper.make_graph(
        made, "g",
        [helper.make_tensor_value_info("x", *x)],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, k) for k, a in (constants or {}).items()],
    )  # fmt: skip
    proto = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17), MICROSOFT])
    proto.ir_version = 8
    return Model.from_proto(proto)


STANDARD = ("QuantizeLinear", "QLinearConv", "QLinearMatMul")
SCALE = {"s": np.float32(0.1), "z": np.int8(0), "u": np.uint8(128)}


def quantized(
    *layers: str,
    weight: tuple[int, ...] = (4, 4, 1, 1),
    dtype: type = np.int8,
    size: int = 6,
    tail: Sequence[tuple[str, str, str]] = (),
    **attributes: dict[str, object],
) -> Model:
    """x -> Q -> DQ -> layer (int8 weight) -> Q -> DQ -> tail, in QDQ form."""
    zero = "z" if dtype is np.int8 else "u"
    rows = [("QuantizeLinear", "x s z", "xq"), ("DequantizeLinear", "xq s z", "xd")]
    rows += [("DequantizeLinear", f"w s {zero}", "wd")]
    before = "xd"
    for i, op in enumerate(layers):
        rows.append((op, f"{before} wd" if i == 0 else before, f"v{i}"))
        rows += [
            ("QuantizeLinear", f"v{i} s z", f"q{i}"),
            ("DequantizeLinear", f"q{i} s z", f"d{i}"),
        ]
        before = f"d{i}"
    rank_2 = layers[0] in ("Gemm", "MatMul")
    shape = (1, weight[0]) if rank_2 else (1, 4, size, size)
    constants = {**SCALE, "w": np.ones(weight, dtype)}
    return graph([*rows, *tail], constants, x=(TensorProto.FLOAT, shape), **attributes)


def squeeze_excite(*, quantize: bool) -> Model:
    rows = [("DequantizeLinear", "wq s z", "w")] if quantize else []
    rows += [("GlobalAveragePool", "x", "p")]
    rows += [("QuantizeLinear", "p s z", "pq"), ("DequantizeLinear", "pq s z", "pd")]
    rows += [
        ("Conv", "pd w" if quantize else "pd f", "c"),
        ("Sigmoid", "c", "g"),
        ("Mul", "x g", "y"),
    ]
    weight = np.ones((4, 4, 1, 1))
    return graph(rows, {**SCALE, "wq": weight.astype(np.int8), "f": weight.astype(np.float32)})


def pool(**attributes: object) -> Model:
    return graph([("AveragePool", "x", "y")], AveragePool={"kernel_shape": [2, 2], **attributes})


def plain(*, batch: int | str = 1, rank: int = 4, dtype: int = TensorProto.FLOAT) -> Model:
    return graph([("Identity", "x", "y")], x=(dtype, (batch, *[4] * (rank - 1))))


def residual(batch: int | str) -> Model:
    w = np.ones((4, 4, 1, 1), np.float32)
    rows = [("Conv", "x w", "a"), ("Conv", "x w", "b"), ("Add", "a b", "y")]
    return graph(rows, {"w": w}, x=(TensorProto.FLOAT, (batch, 4, 6, 6)))


def product(batch: int | str) -> Model:
    w = np.ones((4, 3), np.float32)
    return graph([("MatMul", "x w", "y")], {"w": w}, x=(TensorProto.FLOAT, (batch, 5, 4)))


def qlinear_matmul(*, constant: bool) -> Model:
    other = "w" if constant else "xq"
    rows = [("QuantizeLinear", "x s z", "xq"), ("QLinearMatMul", f"xq s z {other} s z s z", "y")]
    return graph(rows, {**SCALE, "w": np.ones((4, 4), np.int8)}, x=(TensorProto.FLOAT, (4, 4)))


def qlinear_add(*, constant: bool) -> Model:
    other = "w" if constant else "xq"
    rows = [("QuantizeLinear", "x s z", "xq"), ("QLinearAdd", f"xq s z {other} s z s z", "y")]
    return graph(rows, {**SCALE, "w": np.ones((4, 1, 1), np.int8)})


def operator(op: str, inputs: str = "x") -> Model:
    return graph([(op, inputs, "y")], SCALE)


def conditional() -> Model:
    return graph([("NonZero", "x", "y")])


DEPTHWISE = {"group": 4, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}

# Pattern id: a model that has it, and one that is like it but has not.
CASES: dict[str, tuple[Callable[[], Model], Callable[[], Model]]] = {
    "quantized-conv-sigmoid": (
        lambda: quantized("Conv", "Sigmoid"),
        lambda: quantized("Conv", "Sigmoid", tail=[("Mul", "d0 d1", "y")]),  # SiLU is right
    ),
    "quantized-squeeze-excite": (
        lambda: squeeze_excite(quantize=True),
        lambda: squeeze_excite(quantize=False),
    ),
    "int8-tail-1x1": (lambda: quantized("Conv", size=5), lambda: quantized("Conv", size=8)),
    "int8-tail-depthwise": (
        lambda: quantized("Conv", weight=(4, 1, 3, 3), size=7, Conv=DEPTHWISE),
        lambda: quantized("Conv", weight=(4, 1, 3, 3), size=14, Conv=DEPTHWISE),
    ),
    "qgemm": (lambda: operator("QGemm", "x s z z s z"), lambda: quantized("Gemm", weight=(4, 4))),
    "qlinear-averagepool": (
        lambda: operator("QLinearAveragePool", "x s z s z"),
        lambda: operator("QLinearGlobalAveragePool", "x s z s z"),
    ),
    "qlinear-add-constant": (
        lambda: qlinear_add(constant=True),
        lambda: qlinear_add(constant=False),
    ),
    "qlinear-matmul-activations": (
        lambda: qlinear_matmul(constant=False),
        lambda: qlinear_matmul(constant=True),
    ),
    "qlinear-matmul-activations-unsupported": (
        lambda: qlinear_matmul(constant=False),
        lambda: qlinear_matmul(constant=True),
    ),
    "qdq-gemm-batch": (
        lambda: quantized("Gemm", weight=(4, 4)),
        lambda: quantized("MatMul", weight=(4, 4)),
    ),
    "qdq-gemm": (
        lambda: quantized("Gemm", weight=(4, 4)),
        lambda: quantized("MatMul", weight=(4, 4)),
    ),
    "qdq-matmul-add": (
        lambda: quantized("MatMul", weight=(4, 4), tail=[("Add", "d0 d0", "y")]),
        lambda: quantized("MatMul", weight=(4, 4)),
    ),
    "qdq-uint8-weights": (
        lambda: quantized("Conv", dtype=np.uint8),
        lambda: quantized("Conv", dtype=np.int8),
    ),
    "dynamic-quantization": (
        lambda: graph([("ConvInteger", "x w", "y")], {"w": np.ones((4, 4, 1, 1), np.int8)}),
        lambda: operator("QuantizeLinear", "x s z"),
    ),
    "qdq-conv-unfused": (lambda: quantized("Conv"), lambda: residual(1)),
    "counted-padding": (
        lambda: pool(count_include_pad=1, pads=[1, 1, 1, 1]),
        lambda: pool(count_include_pad=1),
    ),
    "same-lower-even": (
        lambda: pool(auto_pad="SAME_LOWER"),
        lambda: pool(auto_pad="SAME_LOWER", kernel_shape=[3, 3]),
    ),
    "float16-input": (lambda: plain(dtype=TensorProto.FLOAT16), plain),
    "if-nonzero": (conditional, plain),
    "free-sizes": (
        lambda: graph([("Relu", "x", "y")], x=(TensorProto.FLOAT, ("n", 3, "h", "w"))),
        lambda: plain(batch="n"),
    ),
    "rank-5-input": (lambda: plain(rank=5), plain),
    "int64-input": (lambda: plain(dtype=TensorProto.INT64), lambda: plain(dtype=TensorProto.INT32)),
    "reused-net-add": (lambda: residual("n"), lambda: residual(1)),
    "reused-net-matmul": (lambda: product("n"), lambda: product(1)),
}
# Too large to build here.
UNTESTED = {"over-2-gib"}


@pytest.mark.parametrize("name", CASES)
def test_a_known_fault_is_found_where_it_is_and_only_there(name: str) -> None:
    faulty, sound = CASES[name]
    assert name in faults(faulty())
    assert name not in faults(sound())


def test_every_known_fault_has_a_case() -> None:
    assert {p.id for p in PATTERNS} == set(CASES) | UNTESTED
    assert len({p.id for p in PATTERNS}) == len(PATTERNS)


def test_a_fault_names_its_nodes_and_the_worst_comes_first() -> None:
    found = inspect(quantized("Conv", size=5)).known_wrong
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
    asymmetric = inspect(quantized("Conv", dtype=np.uint8))
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
