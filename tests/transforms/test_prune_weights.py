"""prune-weights: exactly the smallest magnitudes go, and no second copy of the weights is held."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import FIXTURES, inputs_for, model, node, normal

from modelcheck.model import load, save
from modelcheck.transforms import Context, prune_weights
from modelcheck.transforms.magnitude import Cut, at_least, below, smallest

# Chunks are 2^18 elements: the larger sizes cross their borders.
SIZES = st.sampled_from([0, 1, 7, 1000, (1 << 18) + 5])
KINDS = st.sampled_from(["normal", "few values", "tiny", "zeros"])


def drawn(seed: int, kind: str, size: int, dtype: type) -> np.ndarray:
    generator = np.random.default_rng(seed)
    match kind:
        case "normal":
            values = generator.standard_normal(size)
        case "few values":
            values = generator.integers(-2, 3, size).astype(float)
        case "tiny":  # denormal in float16
            values = generator.standard_normal(size) * 1e-6
        case _:
            values = np.zeros(size)
    return values.astype(dtype)


def applied(cut: Cut, array: np.ndarray) -> np.ndarray:
    pieces = list(cut.pieces(ir.tensor(array)))
    return np.concatenate(pieces) if pieces else array


@given(
    parts=st.lists(
        st.tuples(
            st.integers(0, 999), KINDS, SIZES, st.sampled_from([np.float16, np.float32, np.float64])
        ),
        min_size=1, max_size=3,
    ),
    fraction=st.floats(0, 1),
)  # fmt: skip
def test_the_smallest_magnitudes_are_those_of_a_stable_sort(parts, fraction) -> None:
    arrays = [drawn(*part) for part in parts]
    together = np.concatenate([a.astype(np.float64) for a in arrays])
    count = int(fraction * together.size)
    expected = together.copy()
    expected[np.argsort(np.abs(together), kind="stable")[:count]] = 0
    cuts = smallest([ir.tensor(a) for a in arrays], count)
    pruned = [applied(cut, a) for cut, a in zip(cuts, arrays, strict=True)]
    assert np.array_equal(np.concatenate([p.astype(np.float64) for p in pruned]), expected)
    for cut, before, after in zip(cuts, arrays, pruned, strict=True):
        assert after.dtype == before.dtype
        assert cut.changes(ir.tensor(before)) == (not np.array_equal(before, after))


@given(
    seed=st.integers(0, 999), kind=KINDS, threshold=st.floats(0, 3),
    dtype=st.sampled_from([np.float16, np.float32]),
)  # fmt: skip
def test_a_threshold_zeroes_what_is_below_it_and_nothing_else(seed, kind, threshold, dtype) -> None:
    array = drawn(seed, kind, 500, dtype)
    expected = np.where(np.abs(array.astype(np.float64)) < threshold, 0, array)
    assert np.array_equal(applied(below(ir.tensor(array), threshold), array), expected)


def test_a_threshold_that_the_dtype_cannot_hold_is_rounded_up() -> None:
    array = np.array([0.1], np.float32)  # a little more than 0.1
    assert applied(below(ir.tensor(array), 0.1), array)[0] != 0
    assert applied(below(ir.tensor(array), float(array[0]) + 1e-12), array)[0] == 0


def test_pruned_zeros_are_positive() -> None:
    array = np.array([-1.0, -2.0], np.float32)
    (cut,) = smallest([ir.tensor(array)], 1)
    assert not np.signbit(applied(cut, array)[0])


def test_the_count_is_the_least_that_makes_the_fraction() -> None:
    assert [at_least(0.5, n) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]
    assert at_least(0.07, 100) == 7
    assert at_least(1.0, 10) == 10


def two_scales():
    return model(
        [
            node("MatMul", ["x", "small"], ["h"], name="first"),
            node("MatMul", ["h", "large"], ["y"], name="second"),
        ],
        {"small": normal(0, 9, 11) * np.float32(0.01), "large": normal(1, 11, 10)},
        {"x": (2, 9)}, {"y": (2, 10)},
    )  # fmt: skip


def zeros(array: np.ndarray) -> int:
    return int(array.size - np.count_nonzero(array))


def test_by_layer_every_layer_gets_the_fraction_rounded_up() -> None:
    pruned = prune_weights(amount=0.5)(two_scales())
    assert zeros(pruned.weights["small"]) == 50  # of 99
    assert zeros(pruned.weights["large"]) == 55  # of 110


def test_globally_the_layer_of_small_weights_goes_first() -> None:
    pruned = prune_weights(amount=0.5, scope="global")(two_scales())
    assert zeros(pruned.weights["small"]) > 90
    assert sum(zeros(pruned.weights[n]) for n in ("small", "large")) == 105  # of 209


def test_equal_magnitudes_go_first_by_position_across_layers() -> None:
    ones = np.ones((4, 4), np.float32)
    original = model(
        [node("MatMul", ["x", "a"], ["h"], name="a"), node("MatMul", ["h", "b"], ["y"], name="b")],
        {"a": ones, "b": -ones}, {"x": (1, 4)}, {"y": None},
    )  # fmt: skip
    pruned = prune_weights(amount=0.625, scope="global")(original)
    assert zeros(pruned.weights["a"]) == 16
    assert np.array_equal(np.flatnonzero(pruned.weights["b"] == 0), np.arange(4))


@pytest.mark.parametrize("options", [{"amount": 0.7}, {"amount": 0.7, "scope": "global"},
                                     {"threshold": 0.1}])  # fmt: skip
def test_pruning_again_changes_nothing(options) -> None:
    once = prune_weights(**options)(load(FIXTURES / "digits_resnet.onnx"))
    assert prune_weights(**options)(once) is once


def test_a_pruned_weight_is_computed_when_it_is_read(tmp_path, runner) -> None:
    original = load(FIXTURES / "digits_mlp.onnx")
    digest = original.digest
    pruned = prune_weights(amount=0.9)(original)
    tensors = [v.const_value for v in pruned.graph.initializers.values()]
    assert sum(isinstance(t, ir.LazyTensor) for t in tensors) == 3
    weight = next(t for t in tensors if isinstance(t, ir.LazyTensor))
    assert not weight.numpy().flags.writeable
    assert not np.shares_memory(weight.numpy(), weight.numpy())
    for external in (False, True):
        save(pruned, tmp_path / "pruned.onnx", external_data=external)
        again = load(tmp_path / "pruned.onnx")
        assert again.digest == pruned.digest
    assert original.digest == digest
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (pruned, again))
    assert np.array_equal(expected["logits"], actual["logits"])


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    for scope in ("layer", "global"):
        seen.clear()
        prune_weights(scope=scope)(two_scales(), Context(progress=seen.append))
        assert all(0 <= fraction <= 1 for fraction in seen)
        assert seen[-1] == 1
