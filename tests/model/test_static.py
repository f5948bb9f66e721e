"""What is known without running agrees with onnx's shape inference, and with what runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given

from modelcheck.model import Model, load
from modelcheck.model.static import Static, broadcast
from modelcheck.testing.models import models
from modelcheck.testing.net import Net
from modelcheck.testing.runner import Runner

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "models"


def static_of(model: Model) -> tuple[Static, list[ir.Value]]:
    """What is known when nothing but the inputs is declared."""
    graph = model.edit().graph
    values = [v for node in graph for v in node.outputs if v.name]
    for value in values:
        value.shape = None
    return Static(graph, model.opset), values


def contradictions(runner: Runner, model: Model) -> list[tuple[object, ...]]:
    static, values = static_of(model)
    inferred = runner.shapes(model)
    found = []
    for value in values:
        ours, theirs = static.dims(value), inferred.get(str(value.name))
        if ours is None or theirs is None:
            continue
        pairs = list(zip(ours, theirs, strict=False))
        if len(ours) != len(theirs) or any(None not in p and p[0] != p[1] for p in pairs):
            found.append((value.name, ours, theirs))
    return found


@given(models())
def test_shapes_never_contradict_those_of_onnx(runner: Runner, model: Model) -> None:
    assert contradictions(runner, model) == []


@given(models())
def test_all_shapes_of_generated_models_are_known(model: Model) -> None:
    static, values = static_of(model)
    free_batch = any(s.batch_is_free for s in model.signature.inputs)
    for value in values:
        node = value.producer()
        if node is not None and node.op_type not in ("If", "SiLU"):
            behind = {n.op_type for n in _above(value)}
            if not behind & {"If", "SiLU"}:
                dims = static.dims(value)
                assert dims is not None
                # The batch may stand anywhere: a Gemm may take its input transposed.
                assert dims.count(None) <= free_batch, value.name


def _above(value: ir.Value) -> list[ir.Node]:
    node = value.producer()
    if node is None:
        return []
    return [node, *(n for v in node.inputs if v is not None for n in _above(v))]


@pytest.mark.real_models
@pytest.mark.parametrize("path", sorted(REAL.glob("*.onnx")), ids=lambda p: p.stem)
def test_shapes_of_real_models_never_contradict_those_of_onnx(runner: Runner, path: Path) -> None:
    assert contradictions(runner, load(path)) == []


def test_shape_arithmetic_is_followed() -> None:
    """Reshape to (Shape(x)[0], C * 4), computed in the graph as exporters do."""
    net = Net()
    x = net.input((3, 2, 2))
    batch = net.add("Gather", [net.add("Shape", [x]), net.constant(0, np.int64)], (), axis=0)
    first = net.add("Unsqueeze", [batch, net.constant([0], np.int64)], (1,))
    count = net.add("Mul", [net.constant([3], np.int64), net.constant([4], np.int64)], (1,))
    target = net.add("Concat", [first, count], (2,), axis=0)
    net.outputs.append(net.add("Reshape", [x, target], (12,)))
    static, values = static_of(net.model())
    assert static.dims(values[-1]) == (1, 12)
    shape = static.constant(next(v for v in values if v.name == target.name))
    assert shape is not None
    assert shape.tolist() == [1, 12]


def test_the_size_of_equal_numbers_is_known_where_it_is_constant() -> None:
    net = Net()
    net.input((3, 2, 2))
    net.outputs.append(net.add("ConstantOfShape", [net.constant([2, 5], np.int64)], (5,)))
    static, values = static_of(net.model())
    assert static.dims(values[-1]) == (2, 5)


@pytest.mark.parametrize(
    ("node", "shapes"),
    [
        (("Resize", {}, [1, 1, 0.7, 1.3]), (2, 3, 7, 13)),  # in float32
        (("ConvTranspose", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, None), (2, 3, 20, 20)),
        # The standard has 30 rows, onnxruntime 29.
        (("ConvTranspose", {"auto_pad": "SAME_LOWER", "strides": [3, 3]}, None), None),
    ],
)
def test_sizes_are_those_that_engines_compute_or_not_known(
    runner: Runner, node: tuple[str, dict[str, object], list[float] | None],
    shapes: tuple[int, ...] | None,
) -> None:  # fmt: skip
    operator, attributes, scales = node
    net = Net()
    x = net.input((3, 10, 10))
    if scales is None:
        more = [net.constant(np.ones((3, 3, 2, 2)), np.float32)]
    else:
        more = [net.constant(np.zeros(0), np.float32), net.constant(scales, np.float32)]
    net.outputs.append(net.add(operator, [x, *more], (3, 1, 1), **attributes))
    static, values = static_of(net.model())
    dims = static.dims(values[-1])
    assert dims is not None
    assert (None in dims) if shapes is None else (dims == (1, *shapes[1:]))


def test_products_of_sizes_are_over_the_axes_that_are_named() -> None:
    net = Net()
    net.input((3, 2, 2))
    table = net.constant([[2, 3], [4, 5]], np.int64)
    net.outputs.append(net.add("ReduceProd", [table], (2,), axes=[0], keepdims=0))
    static, values = static_of(net.model())
    assert static.constant(values[-1]).tolist() == [8, 15]  # type: ignore[union-attr]


def test_weights_behind_casts_and_transposes_are_constant() -> None:
    net = Net()
    x = net.input((4,))
    half = net.constant(np.arange(12.0).reshape(3, 4))
    turned = net.add("Transpose", [half], (4, 3), perm=[1, 0])
    net.outputs.append(net.add("MatMul", [x, turned], (3,)))
    static, values = static_of(net.model())
    array = static.constant(next(v for v in values if v.name == turned.name))
    assert array is not None
    assert np.array_equal(array, np.arange(12.0).reshape(3, 4).T)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(2, 1, 4), (3, 1)], (2, 3, 4)),
        ([(None, 3), (1,)], (None, 3)),
        ([(None, 3), (5, 1)], (5, 3)),
        ([(), (2, 3)], (2, 3)),
        ([None, (2, 3)], None),
    ],
)
def test_broadcasting_follows_numpy(shapes: list[tuple[int | None, ...]], expected: object) -> None:
    assert broadcast(shapes) == expected
