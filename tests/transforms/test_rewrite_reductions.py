"""rewrite: reductions that engines get wrong, and pooling as one; the same function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from small_graphs import (
    CLASSIC,
    NEW,
    ROUNDING,
    Runner,
    assert_alike,
    inputs_for,
    model,
    node,
    worst_error,
)

from modelcheck.model import Model
from modelcheck.model.reduction_faults import are_last, misreads
from modelcheck.transforms.rewrite import rewrite

ENGINES = (CLASSIC, NEW)
OUT = ("a", "b", "c", "d", "e", "f")
OPERATORS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip


def reduced(op: str, shape: tuple[int, ...], axes: list[int], *, opset: int = 13) -> Model:
    """x, from 0.5 to 1.5, over some axes, which stay; opset 13 has them as an attribute of all but
    ReduceSum, 18 as an input of all.
    """
    weights = {"half": np.array(0.5, np.float32)}
    if opset >= 18 or op == "ReduceSum":
        weights["axes"] = np.array(axes, np.int64)
        reduce = node(op, ["z", "axes"], ["y"], name="reduce")
    else:
        reduce = node(op, ["z"], ["y"], name="reduce", axes=axes)
    nodes = [node("Add", ["x", "half"], ["z"], name="add"), reduce]
    return model(nodes, weights, {"x": shape}, {"y": OUT[: len(shape)]}, opset=opset)


@st.composite
def over_some_axes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int]]:
    """A shape, and fewer axes than it has."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=6)))
    axes = st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape) - 1)
    return shape, sorted(set(draw(axes)))


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("op", OPERATORS)
def test_reductions_over_five_axes_take_three_turns(runner: Runner, op: str, opset: int) -> None:
    original = reduced(op, (3, 2, 2, 2, 2, 2), [0, 1, 2, 3, 4], opset=opset)
    changed = rewrite(rules=["reductions-in-turns"])(original)
    assert len([n for n in changed.graph if n.op_type.startswith("Reduce")]) == 3
    assert_alike(runner, original, changed, ENGINES)


@given(over_some_axes(), st.sampled_from(OPERATORS), st.sampled_from((13, 18)))
def test_reductions_are_right_on_every_engine_afterwards(
    runner: Runner, over: tuple[tuple[int, ...], list[int]], op: str, opset: int
) -> None:
    original = reduced(op, *over, opset=opset)
    changed = rewrite(rules=["reductions-in-turns"])(original)
    assert (changed is not original) == misreads(over[1], over[0])
    assert_alike(runner, original, changed, ENGINES)


@given(over_some_axes())
def test_what_is_known_of_reductions_is_what_engines_do(
    runner: Runner, over: tuple[tuple[int, ...], list[int]]
) -> None:
    """Neither more nor less: a row that an OpenCV has mended, or misses a form, fails here."""
    shape, axes = over
    original = reduced("ReduceL2", shape, axes)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    known = {CLASSIC: misreads(axes, shape)}
    known[NEW] = known[CLASSIC] and not are_last(axes, shape)
    for engine, is_wrong in known.items():
        error = worst_error(expected, runner.opencv(original, inputs, engine=engine))
        assert (error > 10 * ROUNDING) == is_wrong


@pytest.mark.parametrize(("x", "opset"), [((2, 3, 5, 6), 13), ((1, 3, 5, 6), 18), ((1, 3, 7), 13)])
def test_a_global_pool_is_a_mean(runner: Runner, x: tuple[int, ...], opset: int) -> None:
    pool = node("GlobalAveragePool", ["x"], ["y"], name="pool")
    original = model([pool], {}, {"x": x}, {"y": OUT[: len(x)]}, opset=opset)
    changed = rewrite(rules=["globalpool-as-mean"])(original)
    assert [n.op_type for n in changed.graph] == ["ReduceMean"]
    assert_alike(runner, original, changed, ENGINES)


def test_a_global_pool_over_three_dimensions_stays() -> None:
    """OpenCV's classic engine gets a mean over three axes wrong (docs/known-faults.md)."""
    pool = node("GlobalAveragePool", ["x"], ["y"], name="pool")
    original = model([pool], {}, {"x": (1, 3, 4, 5, 6)}, {"y": OUT[:5]})
    assert rewrite(rules=["globalpool-as-mean"])(original) is original


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceL2"])
def test_integers_are_not_rounded_twice(op: str) -> None:
    reduce = node(op, ["x"], ["y"], name="reduce", axes=[1, 2, 3])
    original = model([reduce], {}, {"x": (1, 3, 2, 2)}, {"y": OUT[:4]}, opset=13,
                     dtype=TensorProto.INT32)  # fmt: skip
    assert rewrite()(original) is original


def test_an_axis_that_is_named_twice_is_one(runner: Runner) -> None:
    reduce = node("ReduceSum", ["x", "axes"], ["y"], name="reduce")
    original = model(
        [reduce], {"axes": np.array([1, 2, 3, -1])}, {"x": (3, 3, 3, 5)}, {"y": OUT[:4]}
    )
    changed = rewrite()(original)
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, changed))
    assert expected["y"].shape == actual["y"].shape == (3, 1, 1, 1)
    assert worst_error(expected, actual) < ROUNDING
