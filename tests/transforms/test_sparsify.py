"""sparsify: the promised fraction of zeros, in the promised pattern."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import FIXTURES, model, node, normal

from modelcheck.errors import UsageError
from modelcheck.model import load
from modelcheck.transforms import Context, sparsify

LAYERS = {
    "Conv": ({}, (8, 4, 3, 3), (1, 4, 5, 5)),
    "ConvTranspose": ({}, (4, 8, 3, 3), (1, 4, 5, 5)),
    "Gemm": ({"transB": 1}, (8, 4), (2, 4)),
    "MatMul": ({}, (4, 8), (2, 4)),
}


def one_layer(op_type: str, weight: np.ndarray | None = None):
    attributes, shape, x_shape = LAYERS[op_type]
    weight = normal(0, *shape) if weight is None else weight
    return model(
        [node(op_type, ["x", "w"], ["y"], name="layer", **attributes)],
        {"w": weight}, {"x": x_shape}, {"y": None},
    )  # fmt: skip


@given(amount=st.floats(0, 1), seed=st.integers(0, 99))
def test_random_zeroes_exactly_the_fraction_rounded_up(amount, seed) -> None:
    original = one_layer("Conv")
    sparse = sparsify(amount=amount, seed=seed)(original)
    zeros = np.count_nonzero(sparse.weights["w"] == 0)
    assert amount * 288 <= zeros + 1e-9 < amount * 288 + 1
    kept = sparse.weights["w"] != 0
    assert np.array_equal(sparse.weights["w"][kept], original.weights["w"][kept])


def test_random_depends_on_the_seed_and_on_nothing_else() -> None:
    original = load(FIXTURES / "digits_resnet.onnx")
    first = sparsify()(original, Context(seed=1))
    assert sparsify()(original, Context(seed=1)) == first
    assert sparsify(seed=1)(original, Context(seed=2)) == first
    assert sparsify()(original, Context(seed=2)) != first
    alone = sparsify(exclude=["head"])(original, Context(seed=1))
    assert [name for name in first.weights if not np.array_equal(
        first.weights[name], alone.weights[name])] == ["head.weight"]  # fmt: skip


@pytest.mark.parametrize("op_type", LAYERS)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 2), (1, 4)])
def test_n_of_m_keeps_the_n_largest_along_the_input_channels(op_type, n, m) -> None:
    original = one_layer(op_type)
    sparse = sparsify(pattern=f"{n}:{m}")(original)
    axis = {"Conv": 1, "ConvTranspose": 0, "Gemm": 1, "MatMul": 0}[op_type]
    before, after = (
        np.moveaxis(each.weights["w"], axis, -1).reshape(-1, m) for each in (original, sparse)
    )
    assert (np.count_nonzero(after, axis=1) == n).all()
    largest = np.sort(np.abs(before), axis=1)[:, m - n :]
    assert np.array_equal(np.sort(np.abs(after), axis=1)[:, m - n :], largest)


def test_n_of_m_leaves_alone_what_it_does_not_divide() -> None:
    original = one_layer("MatMul")
    context = Context()
    assert sparsify(pattern="2:3")(original, context) is original
    assert context.left_alone[0].reason == "its 4 input channels are no multiple of 3"


@given(
    op_type=st.sampled_from(sorted(LAYERS)), amount=st.floats(0, 1),
    rows=st.integers(1, 9), columns=st.integers(1, 5),
)  # fmt: skip
def test_blocks_go_whole_smallest_first_until_the_fraction_is_zero(
    op_type, amount, rows, columns
) -> None:
    original = one_layer(op_type)
    sparse = sparsify(pattern="block", amount=amount, block=f"{rows}x{columns}")(original)
    before, after = (matrix(op_type, each.weights["w"]) for each in (original, sparse))
    assert np.count_nonzero(after == 0) >= amount * after.size - 1e-9
    kept, dropped = [], []
    for r in range(0, before.shape[0], rows):
        for c in range(0, before.shape[1], columns):
            block = np.s_[r : r + rows, c : c + columns]
            whole = (after[block] == 0).all()
            assert whole or np.array_equal(after[block], before[block])
            (dropped if whole else kept).append(
                (np.abs(before[block].astype(np.float64)).mean(), before[block].size)
            )
    if kept and dropped:
        assert max(dropped)[0] <= min(kept)[0]
    if dropped:  # one block less would not have been enough
        without_last = sum(size for _, size in dropped) - max(dropped)[1]
        assert without_last < amount * after.size


def matrix(op_type: str, weight: np.ndarray) -> np.ndarray:
    """(out, in, kernel)."""
    if op_type in ("ConvTranspose", "MatMul"):
        weight = np.swapaxes(weight, 0, 1)
    return weight.reshape(*weight.shape[:2], -1)


@pytest.mark.parametrize(
    "options",
    [{"amount": 0.3}, {"pattern": "2:4"}, {"pattern": "block", "amount": 0.6, "block": "3x2"}],
)
def test_doing_it_again_changes_nothing(options) -> None:
    once = sparsify(**options)(load(FIXTURES / "digits_resnet.onnx"))
    assert sparsify(**options)(once) is once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "4:2"}, "pattern=4:2 zeroes nothing"),
        ({"pattern": "2:4", "amount": 0.7}, "amount=0.7: pattern=2:4 sets the fraction"),
        ({"pattern": "2-4"}, "pattern=2-4: is not understood"),
        ({"block": "4"}, "block=4: is not understood"),
        ({"seed": -1}, "seed=-1: must be at least 0"),
    ],
)
def test_options_that_contradict_each_other_are_usage_errors(options, message) -> None:
    with pytest.raises(UsageError) as caught:
        sparsify(**options)
    assert str(caught.value).startswith(message)
