"""rewrite: other operators, the same function, on onnxruntime and on cv2."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from small_graphs import (
    CLASSIC,
    NEW,
    ROUNDING,
    Runner,
    inputs_for,
    model,
    node,
    normal,
    worst_error,
)

from modelcheck.errors import UsageError
from modelcheck.model import Model
from modelcheck.transforms import Context
from modelcheck.transforms.rewrite import rewrite

ENGINES = {"classic": CLASSIC, "new": NEW}


def conv(
    weight: tuple[int, ...],
    x: tuple[int | str, ...],
    *,
    bias: bool = True,
    opset: int = 17,
    absolute: bool = False,
    **attributes: object,
) -> Model:
    """x -> Conv 'conv' -> Relu -> y; `absolute`: of inputs >= 0 it gives the sums of |w x| and |b|,
    the scale of what rounding may do to y.
    """
    weights = {"w": normal(1, *weight)}
    if bias:
        weights["b"] = normal(2, weight[0])
    if absolute:
        weights = {name: np.abs(array) for name, array in weights.items()}
    return model(
        [
            node("Conv", ["x", "w", "b"][: 2 + bias], ["c"], name="conv", **attributes),
            node("Relu", ["c"], ["y"], name="relu"),
        ],
        weights, {"x": x}, {"y": free(x)}, opset=opset,
    )  # fmt: skip


def assert_rounded(runner: Runner, original: Model, changed: Model, sums: Model) -> None:
    """The same but for roundings of the sums, however much of these cancels out."""
    inputs = inputs_for(original)
    expected, actual, scale = (
        runner.onnxruntime(m, inputs)["y"] for m in (original, changed, sums)
    )
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < ROUNDING * scale.max()


def free(x: tuple[int | str, ...]) -> list[str]:
    """A shape of the same rank that says nothing."""
    return [f"d{axis}" for axis in range(len(x))]


def pool(kind: str, x: tuple[int, ...], **attributes: object) -> Model:
    pooling = node(kind, ["x"], ["y"], name="pool", **attributes)
    return model([pooling], {}, {"x": x}, {"y": free(x)})


def operators(changed: Model) -> list[str]:
    return sorted(n.op_type for n in changed.graph if n.op_type not in ("Relu", "Reshape"))


POINTWISE = {
    "2-D": conv((6, 4, 1, 1), (1, 4, 5, 7)),
    "without a bias": conv((6, 4, 1, 1), (1, 4, 5, 7), bias=False),
    "batch of 3": conv((6, 4, 1, 1), (3, 4, 5, 7)),
    "free batch": conv((6, 4, 1, 1), ("n", 4, 5, 7)),
    "1-D": conv((6, 4, 1), (2, 4, 5)),
    "opset 7 without a bias": conv((6, 4, 1, 1), (1, 4, 5, 7), bias=False, opset=7),
    "groups": conv((6, 4, 1, 1), (2, 8, 5, 5), group=2),
    "1-D in groups": conv((6, 4, 1), (2, 8, 5), group=2),
}
WINDOWED = {
    "3x3 padded": conv((6, 4, 3, 3), (2, 4, 5, 7), pads=[1, 1, 1, 1]),
    "strides": conv((6, 4, 3, 3), (1, 4, 9, 8), strides=[2, 3], pads=[1, 0, 0, 1]),
    "dilations": conv((6, 4, 3, 3), (1, 4, 9, 9), dilations=[2, 2], pads=[2, 2, 2, 2]),
    "1x1 with strides": conv((6, 4, 1, 1), (1, 4, 8, 8), strides=[2, 2]),
    "1-D": conv((6, 4, 3), (2, 4, 9), pads=[1, 1]),
    "even kernel": conv((6, 4, 2, 4), (1, 4, 6, 6), auto_pad="VALID"),
    "free batch": conv((6, 4, 3, 3), ("n", 4, 5, 7), pads=[1, 1, 1, 1]),
    "opset 7": conv((6, 4, 3, 3), (1, 4, 9, 8), strides=[2, 3], pads=[1, 0, 0, 1], opset=7),
}
NO_BATCH = ("batch of 3", "free batch", "groups", "1-D in groups", "3x3 padded", "1-D")
AS_PRODUCTS = {
    **{f"1x1 {k}": (m, "conv1x1-as-matmul") for k, m in POINTWISE.items()},
    **{f"kxk {k}": (m, "conv-as-matmul") for k, m in WINDOWED.items()},
    **{
        f"{k} as Gemm": (m, f"{rule}-as-gemm")
        for rule, cases in (("conv1x1", POINTWISE), ("conv", WINDOWED))
        for k, m in cases.items()
        if k not in NO_BATCH
    },
}


@pytest.mark.parametrize("case", AS_PRODUCTS)
def test_a_convolution_becomes_a_product_of_the_same_value(runner: Runner, case: str) -> None:
    original, rule = AS_PRODUCTS[case]
    changed = rewrite(rules=[rule])(original)
    runner.check(changed)
    assert "Conv" not in operators(changed)
    assert {"MatMul", "Gemm"} & set(operators(changed))
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", AS_PRODUCTS)
def test_cv2_computes_the_product_rightly(runner: Runner, case: str, engine: str) -> None:
    original, rule = AS_PRODUCTS[case]
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    actual = runner.opencv(rewrite(rules=[rule])(original), inputs, engine=ENGINES[engine])
    assert worst_error(expected, actual) < 10 * ROUNDING


def test_the_bias_of_a_wide_kernel_is_a_channel_of_ones_that_no_layer_shares() -> None:
    """OpenCV's classic engine cannot load a constant that two Concats read."""
    two = model(
        [
            node("Conv", ["x", "w", "b"], ["a"], name="first", pads=[1] * 4),
            node("Conv", ["a", "w", "b"], ["y"], name="second", pads=[1] * 4),
        ],
        {"w": normal(1, 2, 2, 3, 3), "b": normal(2, 2)}, {"x": (1, 2, 5, 5)},
        {"y": free((1, 2, 5, 5))},
    )  # fmt: skip
    changed = rewrite(rules=["conv-as-matmul"])(two)
    assert "Add" not in operators(changed)
    stacked = [str(n.inputs[-1].name) for n in changed.graph if n.op_type == "Concat"]
    assert stacked == ["first.ones", "second.ones"]


@pytest.mark.parametrize("case", ["free batch", "1x1 with strides"])
def test_a_bias_is_added_where_the_batch_is_free_or_there_is_one_tap(case: str) -> None:
    changed = rewrite(rules=["conv-as-matmul"])(WINDOWED[case])
    assert "Add" in operators(changed)
    assert not any("ones" in str(name) for name in changed.graph.initializers)


@pytest.mark.parametrize(
    ("original", "rule", "reason"),
    [
        (conv((4, 1, 1, 1), (1, 4, 5, 5), group=4), "conv1x1-as-matmul", "depthwise"),
        (conv((6, 4, 1, 1), (1, 4, "h", "w")), "conv1x1-as-matmul", "not known"),
        (conv((6, 4, 3, 3), (1, 8, 5, 5), group=2), "conv-as-matmul", "groups"),
        (conv((6, 4, 3, 3), (1, 4, 5, 5), auto_pad="SAME_UPPER"), "conv-as-matmul", "automatic"),
        (POINTWISE["batch of 3"], "conv1x1-as-gemm", "not fixed to 1"),
        (POINTWISE["free batch"], "conv1x1-as-gemm", "not fixed to 1"),
        (conv((6, 4, 1, 1), (1, 8, 5, 5), group=2), "conv1x1-as-gemm", "groups"),
        (WINDOWED["free batch"], "conv-as-gemm", "not fixed to 1"),
        (conv((6, 4, 3, 3), (1, 4, 5, 5), opset=5), "conv-as-matmul", "opset 5 is older than 11"),
    ],
)  # fmt: skip
def test_what_cannot_be_rewritten_is_left_alone_and_named(
    original: Model, rule: str, reason: str
) -> None:
    context = Context()
    assert rewrite(rules=[rule])(original, context) is original
    assert [left.layer for left in context.left_alone] == ["conv"]
    assert reason in context.left_alone[0].reason


@pytest.mark.parametrize("rule", ["conv1x1-as-matmul", "conv-as-matmul"])
def test_a_rule_is_silent_about_the_convolutions_of_the_other(rule: str) -> None:
    original = WINDOWED["strides"] if rule == "conv1x1-as-matmul" else POINTWISE["2-D"]
    context = Context()
    assert rewrite(rules=[rule])(original, context) is original
    assert context.left_alone == []


SAME = {
    **{
        f"{kind} {auto}": pool(kind, (1, 2, 5, 6), auto_pad=auto, kernel_shape=[2, 4])
        for kind in ("MaxPool", "AveragePool")
        for auto in ("SAME_UPPER", "SAME_LOWER")
    },
    "Conv SAME_UPPER": conv((6, 4, 2, 4), (1, 4, 5, 6), auto_pad="SAME_UPPER", strides=[2, 1]),
    "Conv SAME_LOWER": conv((6, 4, 2, 4), (1, 4, 5, 6), auto_pad="SAME_LOWER", strides=[2, 1]),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", SAME)
def test_explicit_pads_say_what_automatic_ones_mean(runner: Runner, case: str, engine: str) -> None:
    changed = rewrite(rules=["explicit-pads"])(SAME[case])
    inputs = inputs_for(SAME[case])
    expected = runner.onnxruntime(SAME[case], inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING
    actual = runner.opencv(changed, inputs, engine=ENGINES[engine])
    assert worst_error(expected, actual) < 10 * ROUNDING


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pool_that_counts_its_padding_is_right_on_every_engine(
    runner: Runner, engine: str
) -> None:
    original = pool(
        "AveragePool", (1, 2, 5, 6), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    )
    changed = rewrite(rules=["pad-before-pool"])(original)
    assert operators(changed) == ["AveragePool", "Pad"]
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.opencv(changed, inputs, engine=ENGINES[engine])) < 1e-5


def dense(op_type: str, *, add: bool = False, **attributes: object) -> Model:
    weights = {"w": normal(1, 4, 5), "b": normal(2, 5)}
    if attributes.get("transB"):
        weights["w"] = np.ascontiguousarray(weights["w"].T)
    first = ["x", "w"] if add else ["x", "w", "b"]
    nodes = [node(op_type, first, ["h" if add else "y"], name="dense", **attributes)]
    if add:
        nodes.append(node("Add", ["b", "h"], ["y"], name="add"))
    return model(nodes, weights, {"x": (3, 4)}, {"y": (3, 5)})


@pytest.mark.parametrize(
    ("original", "rule", "expected"),
    [
        (dense("Gemm"), "gemm-as-matmul", ["Add", "MatMul"]),
        (dense("Gemm", transB=1, alpha=0.5, beta=2.0), "gemm-as-matmul", ["Add", "MatMul"]),
        (dense("MatMul", add=True), "matmul-as-gemm", ["Gemm"]),
    ],
)
def test_dense_layers_take_the_other_form(
    runner: Runner, original: Model, rule: str, expected: list[str]
) -> None:
    changed = rewrite(rules=[rule])(original)
    runner.check(changed)
    assert operators(changed) == expected
    inputs = inputs_for(original)
    want = runner.onnxruntime(original, inputs)
    assert worst_error(want, runner.onnxruntime(changed, inputs)) < ROUNDING


class TestChoice:
    def two(self) -> Model:
        return model(
            [
                node("Conv", ["x", "v"], ["a"], name="first"),
                node("Conv", ["a", "w"], ["y"], name="second"),
            ],
            {"v": normal(1, 6, 4, 1, 1), "w": normal(2, 6, 6, 1, 1)},
            {"x": (1, 4, 5, 5)}, {"y": (1, 6, 5, 5)},
        )  # fmt: skip

    def convolutions(self, **options: object) -> list[str]:
        changed = rewrite(rules=["conv1x1-as-matmul"], **options)(self.two())  # type: ignore[arg-type]
        return [n.name or "" for n in changed.graph if n.op_type == "Conv"]

    def test_only_names_the_layers_that_are_rewritten(self) -> None:
        assert self.convolutions(only=["first"]) == ["second"]

    def test_excluded_layers_stay(self) -> None:
        assert self.convolutions(exclude=["f*"]) == ["first"]

    @pytest.mark.parametrize("option", ["only", "exclude"])
    def test_a_name_that_no_layer_has_is_an_error(self, option: str) -> None:
        with pytest.raises(UsageError, match="frist"):
            self.convolutions(**{option: ["frist"]})


def test_a_scalar_constant_goes_second_and_every_bit_stays(runner: Runner) -> None:
    original = model(
        [
            node("Mul", ["half", "x"], ["a"], name="first"),
            node("Add", ["row", "a"], ["b"], name="row first"),
            node("Add", ["b", "half"], ["c"], name="second"),
            node("Sub", ["half", "c"], ["y"], name="difference"),
        ],
        {"half": np.array(0.5, np.float32), "row": normal(1, 4)}, {"x": (3, 4)}, {"y": (3, 4)},
    )  # fmt: skip
    changed = rewrite(rules=["constants-second"])(original)
    orders = {n.name: [str(v.name) for v in n.inputs if v] for n in changed.graph}
    assert orders == {
        "first": ["x", "half"], "row first": ["row", "a"], "second": ["b", "half"],
        "difference": ["half", "c"],
    }  # fmt: skip
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, changed))
    assert all(np.array_equal(expected[name], actual[name]) for name in expected)


def test_convolutions_behind_each_other_are_all_rewritten_though_no_shape_is_declared() -> None:
    two = model(
        [
            node("Conv", ["x", "w"], ["a"], name="first", pads=[1] * 4),
            node("Conv", ["a", "w"], ["y"], name="second", pads=[1] * 4),
        ],
        {"w": normal(1, 2, 2, 3, 3)}, {"x": (1, 2, 5, 5)}, {"y": free((1, 2, 5, 5))},
    )  # fmt: skip
    context = Context()
    changed = rewrite(rules=["conv-as-matmul"])(two, context)
    assert "Conv" not in operators(changed)
    assert context.left_alone == []


def test_rules_that_undo_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="undo each other"):
        rewrite(rules=["gemm-as-matmul", "matmul-as-gemm"])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_over_one_dimension_other_pads_at_the_end_are_a_pad(
    runner: Runner, auto_pad: str, engine: str
) -> None:
    layer = node("Conv", ["x", "w"], ["y"], name="conv", auto_pad=auto_pad)
    original = model([layer], {"w": normal(1, 4, 4, 2)}, {"x": (1, 4, 9)}, {"y": ("n", "c", "l")})
    changed = rewrite(rules=["explicit-pads"])(original)
    assert operators(changed) == ["Conv", "Pad"]
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    actual = runner.opencv(changed, inputs, engine=ENGINES[engine])
    assert worst_error(expected, actual) < 10 * ROUNDING


def test_pooling_over_one_dimension_keeps_its_automatic_padding() -> None:
    layer = node("MaxPool", ["x"], ["y"], name="pool", kernel_shape=[2], auto_pad="SAME_UPPER")
    original, context = model([layer], {}, {"x": (1, 4, 9)}, {"y": ("n", "c", "l")}), Context()
    assert rewrite(rules=["explicit-pads"])(original, context) is original
    assert "one dimension" in context.left_alone[0].reason


def test_a_scale_stays_where_opencv_5_would_fold_a_batchnorm_in_its_place() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv"),
        node("Mul", ["c", "s"], ["m"], name="mul"),
        node("Sigmoid", ["m"], ["a"], name="act"),
        node("BatchNormalization", ["a", *"gbnv"], ["y"], name="bn"),
    ]
    weights = {"w": normal(1, 4, 4, 3, 3), "s": normal(2, 4, 1, 1)}
    weights |= {name: np.abs(normal(i, 4)) for i, name in enumerate("gbnv")}
    original, context = model(nodes, weights, {"x": (1, 4, 8, 8)}, {"y": None}), Context()
    assert rewrite(rules=["affine-into-conv"])(original, context) is original
    assert "OpenCV 5" in context.left_alone[0].reason


TRANSPOSITIONS = {
    "a matrix": ((1, 5, 7), (0, 2, 1)),
    "a pixel shuffle": ((2, 1, 3, 2, 4, 5), (0, 1, 4, 2, 5, 3)),
    "two turns": ((2, 3, 4, 2, 5), (4, 1, 0, 3, 2)),
    "of nothing but ones": ((1, 1, 7), (1, 2, 0)),
    "a free batch": (("n", 3, 2, 4, 5), (0, 3, 1, 4, 2)),
}


@pytest.mark.parametrize("case", TRANSPOSITIONS)
def test_a_transposition_is_one_of_four_axes_and_every_bit_stays(runner: Runner, case: str) -> None:
    dims, perm = TRANSPOSITIONS[case]
    nodes = [node("Relu", ["x"], ["r"]), node("Transpose", ["r"], ["y"], name="t", perm=perm)]
    original = model(nodes, {}, {"x": dims}, {"y": free(dims)})
    changed = rewrite(rules=["transpose-in-4d"])(original)
    runner.check(changed)
    ranks = [len(n.attributes["perm"].as_ints()) for n in changed.graph if n.op_type == "Transpose"]
    assert set(ranks) <= {4}
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    results = [runner.onnxruntime(changed, inputs)]
    results += [runner.opencv(changed, inputs, engine=engine) for engine in ENGINES.values()]
    for actual in results:
        assert all(np.array_equal(expected[name], actual[name]) for name in expected)


def test_a_transposition_that_needs_three_turns_is_left_alone() -> None:
    turn = node("Transpose", ["x"], ["y"], name="turn", perm=[5, 1, 4, 0, 3, 2])
    original = model([turn], {}, {"x": (2, 3, 2, 3, 2, 3)}, {"y": free((1,) * 6)})
    context = Context()
    assert rewrite(rules=["transpose-in-4d"])(original, context) is original
    assert "more axes" in context.left_alone[0].reason


@pytest.mark.parametrize("auto_pad", [False, True])
def test_wide_windows_are_taken_over_narrower_ones_and_every_bit_stays(
    runner: Runner, auto_pad: bool
) -> None:
    def wide(k: int, name: str) -> object:
        padding = {"auto_pad": "SAME_UPPER"} if auto_pad else {"pads": [k // 2] * 4}
        return node("MaxPool", ["x"], [name], name=name, kernel_shape=[k, k], **padding)

    original = model(
        [wide(9, "b"), wide(13, "c"), wide(5, "a"), node("Concat", ["a", "b", "c"], ["y"], axis=1)],
        {}, {"x": (2, 3, 8, 11)}, {"y": free((1,) * 4)},
    )  # fmt: skip
    changed = rewrite(rules=["maxpool-in-turns"])(original)
    sizes = sorted(
        list(n.attributes["kernel_shape"].as_ints()) for n in changed.graph
        if n.op_type == "MaxPool"
    )  # fmt: skip
    assert sizes == [[5, 5]] * 3
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    actual = runner.onnxruntime(changed, inputs)
    assert all(np.array_equal(expected[name], actual[name]) for name in expected)


def test_windows_of_one_size_or_in_steps_stay(runner: Runner) -> None:
    original = model(
        [
            node("MaxPool", ["x"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
            node("MaxPool", ["x"], ["b"], kernel_shape=[3, 3], pads=[1] * 4),
            node("MaxPool", ["x"], ["c"], kernel_shape=[5, 5], pads=[2] * 4, strides=[2, 2]),
        ],
        {}, {"x": (1, 2, 8, 8)}, {name: free((1,) * 4) for name in "abc"},
    )  # fmt: skip
    assert rewrite(rules=["maxpool-in-turns"])(original) is original


def gated(gate: str) -> Model:
    return model(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            node(gate, ["c"], ["g"], name="gate"),
            node("Mul", ["g", "c"], ["y"], name="mul"),
        ],
        {"w": normal(1, 6, 4, 3, 3)}, {"x": (1, 4, 5, 5)}, {"y": free((1,) * 4)},
    )  # fmt: skip


@pytest.mark.parametrize("original", [conv((6, 4, 3, 3), (1, 4, 5, 5)), gated("Sigmoid")])
def test_a_reshape_keeps_an_activation_apart(runner: Runner, original: Model) -> None:
    changed = rewrite(rules=["activation-apart"])(original)
    (behind,) = (use.node.op_type for n in changed.graph if n.op_type == "Conv"
                 for use in n.outputs[0].uses())  # fmt: skip
    assert behind == "Reshape"
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    for engine in ENGINES.values():
        assert worst_error(expected, runner.opencv(changed, inputs, engine=engine)) < 10 * ROUNDING


def test_what_is_no_gate_stays_fused() -> None:
    original = model(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            node("Sigmoid", ["c"], ["g"], name="gate"),
            node("Mul", ["c", "x"], ["y"], name="mul"),
        ],
        {"w": normal(1, 4, 4, 1, 1)}, {"x": (1, 4, 5, 5)}, {name: free((1,) * 4) for name in "gy"},
    )  # fmt: skip
    assert rewrite(rules=["activation-apart"])(original) is original


def test_a_reshape_behind_another_one_says_its_shape_in_numbers(runner: Runner) -> None:
    original = model(
        [
            node("Reshape", ["x", "first"], ["r"], name="first"),
            node("Reshape", ["r", "second"], ["s"], name="second"),
            node("Relu", ["s"], ["y"], name="relu"),
        ],
        {"first": np.array([3, 8, 2]), "second": np.array([0, 4, -1])},
        {"x": (1, 12, 4)}, {"y": free((1,) * 3)},
    )  # fmt: skip
    changed = rewrite()(original)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.opencv(changed, inputs, engine=NEW)) == 0


ROW = np.array([2.0, -0.5, 4.0, 0.25], np.float32)


def beside(
    *nodes: object, x: tuple[int | str, ...] = (2, 4, 5, 6), y: str = "y", **weights: np.ndarray
) -> Model:
    given = {"w": normal(1, 6, 4, 3, 3), "b": normal(2, 6), **weights}
    return model(list(nodes), given, {"x": x}, {y: free(x)})


def convolved(x: str, y: str, **attributes: object) -> object:
    return node("Conv", [x, "w", "b"], [y], name="conv", **attributes)


C = {"c": ROW.reshape(4, 1, 1)}
BEFORE = {
    "scaled": beside(node("Mul", ["x", "c"], ["a"]), convolved("a", "y", pads=[1] * 4), **C),
    "divided": beside(node("Div", ["x", "c"], ["a"]), convolved("a", "y", pads=[1] * 4), **C),
    "shifted": beside(node("Add", ["c", "x"], ["a"]), convolved("a", "y"), **C),
    "taken from": beside(node("Sub", ["c", "x"], ["a"]), convolved("a", "y"), **C),
    "one number": beside(
        node("Sub", ["x", "c"], ["a"]), node("Mul", ["a", "c"], ["m"]), convolved("m", "y"),
        c=np.array(0.5, np.float32),
    ),
    "through a transpose": beside(
        node("Mul", ["x", "c"], ["a"]), node("Add", ["a", "c"], ["d"]),
        node("Transpose", ["d"], ["t"], perm=[0, 3, 1, 2]), convolved("t", "y"),
        x=(2, 5, 6, 4), c=ROW,
    ),
    "groups": beside(
        node("Mul", ["x", "c"], ["a"]), convolved("a", "y", group=2), w=normal(1, 6, 2, 3, 3), **C
    ),
}  # fmt: skip
BEHIND = {
    "added": beside(convolved("x", "h"), node("Add", ["h", "c"], ["y"]), c=normal(3, 6, 1, 1)),
    "scaled and shifted": beside(
        convolved("x", "h"), node("Mul", ["h", "c"], ["m"]), node("Sub", ["m", "c"], ["y"]),
        c=normal(3, 1, 6, 1, 1),
    ),
    "of a transposed convolution": beside(
        node("ConvTranspose", ["x", "w"], ["h"], strides=[2, 2], group=2),
        node("Add", ["h", "c"], ["y"]),
        w=normal(1, 4, 3, 2, 2), c=normal(3, 6, 1, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", {**BEFORE, **BEHIND})
def test_what_is_done_to_each_channel_goes_into_the_weights(runner: Runner, case: str) -> None:
    original = {**BEFORE, **BEHIND}[case]
    changed = rewrite(rules=["affine-into-conv"])(original)
    runner.check(changed)
    assert {"Add", "Sub", "Mul", "Div"}.isdisjoint(operators(changed))
    assert changed.signature == original.signature
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING


@pytest.mark.parametrize(
    "original",
    [
        beside(node("Add", ["x", "c"], ["a"]), convolved("a", "y", pads=[1] * 4), **C),  # pads
        beside(node("Div", ["c", "x"], ["a"]), convolved("a", "y"), **C),
        beside(node("Mul", ["x", "c"], ["a"]), convolved("a", "y"), c=normal(3, 5, 6)),
        beside(
            node("Mul", ["x", "c"], ["a"]), convolved("a", "h"), node("Relu", ["a"], ["r"]),
            node("GlobalAveragePool", ["r"], ["y"]), **C,
        ),
        beside(node("Mul", ["x", "c"], ["a"]), convolved("a", "y"), x=(2, 1, 5, 6), **C),  # widens
    ],
)  # fmt: skip
def test_what_is_no_scale_of_channels_stays(original: Model) -> None:
    assert rewrite(rules=["affine-into-conv"])(original) is original


def family(*sizes: int, then: str | None = "Relu", differ: bool = False) -> Model:
    """Convolutions of so many channels each that read one tensor, beside one another behind."""
    nodes, weights = [], {}
    for i, size in enumerate(sizes):
        weights[f"w{i}"], weights[f"b{i}"] = normal(i, size, 4, 1, 1), normal(10 + i, size)
        given = ["x", f"w{i}", f"b{i}"][: 2 + i % 2]
        strides = [2, 2] if differ and i else [1, 1]
        nodes.append(node("Conv", given, [f"c{i}"], name=f"conv{i}", strides=strides))
        if then == "silu":
            nodes.append(node("Sigmoid", [f"c{i}"], [f"g{i}"], name=f"gate{i}"))
            nodes.append(node("Mul", [f"c{i}", f"g{i}"], [f"y{i}"], name=f"mul{i}"))
        else:
            nodes.append(node(then or "Abs", [f"c{i}"], [f"y{i}"], name=f"act{i}"))
    shapes = {f"y{i}": free((1,) * 4) for i in range(len(sizes))}
    return model(nodes, weights, {"x": ("n", 4, 6, 6)}, shapes)


@pytest.mark.parametrize("then", ["Relu", "silu", "Abs"])
def test_convolutions_of_one_tensor_become_one(runner: Runner, then: str) -> None:
    original = family(3, 5, 8, then=then)
    changed = rewrite(rules=["siblings-as-one"])(original)
    runner.check(changed)
    counts = [n.op_type for n in changed.graph]
    assert counts.count("Conv") == 1
    assert counts.count("Relu" if then == "Relu" else "Sigmoid") == (then != "Abs")
    assert changed.signature == original.signature
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    for actual in (
        runner.onnxruntime(changed, inputs),
        *(runner.opencv(changed, inputs, engine=engine) for engine in ENGINES.values()),
    ):
        assert worst_error(expected, actual) < 10 * ROUNDING


def test_convolutions_that_differ_or_are_excluded_stay_apart() -> None:
    apart = family(3, 5, differ=True)
    assert rewrite(rules=["siblings-as-one"])(apart) is apart
    two = family(3, 5)
    assert rewrite(rules=["siblings-as-one"], exclude=["conv1"])(two) is two


RESHAPED = {
    "a transposition": model(
        [
            node("Transpose", ["x"], ["t"], name="t", perm=[0, 2, 1]),
            node("Reshape", ["t", "s"], ["y"], name="r"),
        ],
        {"s": np.array([0, -1])}, {"x": (2, 3, 4)}, {"y": free((1,) * 2)},
    ),
    "a transposition of a free batch": model(
        [
            node("Transpose", ["x"], ["t"], name="t", perm=[0, 2, 1]),
            node("Reshape", ["t", "s"], ["y"], name="r"),
        ],
        {"s": np.array([0, -1])}, {"x": ("n", 3, 4)}, {"y": free((1,) * 2)},
    ),
    "a transposed convolution": model(
        [
            node("ConvTranspose", ["x", "w"], ["c"], name="c", strides=[2, 2]),
            node("Reshape", ["c", "s"], ["y"], name="r"),
        ],
        {"w": normal(1, 2, 3, 2, 2), "s": np.array([0, 0, -1])}, {"x": (2, 2, 4, 4)},
        {"y": free((1,) * 3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", RESHAPED)
def test_a_zero_in_a_shape_behind_a_rule_is_still_the_size_it_was(
    runner: Runner, case: str, engine: str
) -> None:
    original = RESHAPED[case]
    changed = rewrite(rules=["transpose-in-4d", "convtranspose-as-conv"])(original)
    assert changed is not original
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    actual = runner.opencv(changed, inputs, engine=ENGINES[engine])
    assert worst_error(expected, actual) < 10 * ROUNDING


def branching(layer: object, inner: object, weights: dict[str, np.ndarray]) -> Model:
    """A layer whose result, or input, a node within a branch reads."""
    branches = {
        "then_branch": helper.make_graph([inner], "t", [], [info("t")]),
        "else_branch": helper.make_graph([node("Identity", ["x"], ["e"])], "e", [], [info("e")]),
    }
    choice = node("If", ["flag"], ["z"], name="if", **branches)
    flag = np.array(True)
    return model(
        [layer, choice], {**weights, "flag": flag}, {"x": (1, 2, 8, 8)},
        {"y": free((1,) * 4), "z": free((1,) * 4)},
    )  # fmt: skip


def info(name: str) -> object:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def test_what_a_branch_reads_is_not_taken_for_a_neighbour() -> None:
    weights = {"w": normal(1, 2, 2, 2, 2)}
    layer = node("ConvTranspose", ["x", "w"], ["y"], name="y", strides=[2, 2])
    read = branching(layer, node("Relu", ["y"], ["t"]), weights)
    rewrite(rules=["convtranspose-as-conv"])(read)
    pool = node("MaxPool", ["x"], ["y"], name="y", kernel_shape=[5, 5], pads=[2] * 4)
    inner = node("MaxPool", ["x"], ["t"], kernel_shape=[3, 3], pads=[1] * 4)
    beside_it = branching(pool, inner, {})
    assert rewrite(rules=["maxpool-in-turns"])(beside_it) is beside_it


def test_a_reshape_of_old_opsets_has_its_shape_as_an_attribute() -> None:
    reshape = node("Reshape", ["x"], ["y"], name="r", shape=[2, 12])
    original = model([reshape], {}, {"x": (2, 3, 4)}, {"y": (2, 12)}, opset=4)
    rewrite()(original)


def test_numbers_that_float32_does_not_hold_stay_outside_the_weights() -> None:
    original = beside(
        node("Mul", ["x", "c"], ["a"]), convolved("a", "y"), c=np.array(1e-38, np.float32)
    )
    assert rewrite(rules=["affine-into-conv"])(original) is original


def test_an_empty_tensor_is_not_reshaped() -> None:
    turn = node("Transpose", ["x"], ["y"], name="turn", perm=[2, 0, 1])
    original = model([turn], {}, {"x": (2, 0, 3)}, {"y": (3, 2, 0)})
    assert rewrite(rules=["transpose-in-4d"])(original) is original


ROWS = ["rows-into-channels"]
FEW = {
    "an image": conv((6, 3, 3, 3), (2, 3, 7, 9), pads=[1, 1, 1, 1]),
    "an image in steps": conv((6, 3, 3, 3), (1, 3, 8, 9), pads=[1, 1, 1, 1], strides=[2, 2]),
    "steps that do not fit": conv((6, 1, 5, 3), (1, 1, 13, 9), strides=[3, 1], pads=[2, 0, 1, 1]),
    "one channel": conv((6, 1, 5, 5), (1, 1, 9, 9), pads=[2, 2, 2, 2]),
    "wide": conv((6, 3, 9, 9), (1, 3, 12, 14), pads=[4, 4, 4, 4]),
    "wide in steps": conv((6, 3, 7, 7), (1, 3, 14, 12), pads=[2, 2, 3, 3], strides=[2, 2]),
    "dilated": conv((6, 2, 3, 3), (1, 2, 9, 9), dilations=[2, 3], pads=[2, 3, 2, 3]),
    "dilated in steps": conv((6, 2, 5, 3), (1, 2, 13, 9), dilations=[2, 1], strides=[2, 1]),
    "without a bias": conv((6, 2, 3, 3), (1, 2, 5, 5), bias=False, auto_pad="VALID"),
    "1-D": conv((6, 2, 5), (2, 2, 9), pads=[1, 2]),
    "free batch": conv((6, 3, 3, 3), ("n", 3, 5, 7), pads=[1, 1, 1, 1]),
    "opset 7": conv((6, 3, 3, 3), (1, 3, 9, 8), strides=[2, 3], pads=[1, 0, 0, 1], opset=7),
}


@pytest.mark.parametrize("case", FEW)
def test_rows_of_kernels_become_channels(runner: Runner, case: str) -> None:
    original = FEW[case]
    changed = rewrite(rules=ROWS)(original)
    runner.check(changed)
    assert "Concat" in operators(changed)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING
    for engine in ENGINES.values():
        assert worst_error(expected, runner.opencv(changed, inputs, engine=engine)) < 10 * ROUNDING
    assert rewrite(rules=ROWS)(changed) is changed


@given(
    channels=st.integers(1, 4),
    kernel=st.tuples(st.integers(2, 9), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 2)),
    dilations=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    pads=st.tuples(*(st.integers(0, 4) for _ in range(4))),
    more=st.tuples(st.integers(0, 6), st.integers(0, 3)),
)
def test_any_convolution_of_few_channels_keeps_its_function(
    runner: Runner, channels: int, kernel: tuple[int, int], strides: tuple[int, int],
    dilations: tuple[int, int], pads: tuple[int, ...], more: tuple[int, int],
) -> None:  # fmt: skip
    size = [d * (k - 1) + 1 + m for k, d, m in zip(kernel, dilations, more, strict=True)]
    original, sums = (
        conv((3, channels, *kernel), (1, channels, *size),
             strides=strides, dilations=dilations, pads=pads, absolute=absolute)
        for absolute in (False, True)
    )  # fmt: skip
    assert_rounded(runner, original, rewrite(rules=ROWS)(original), sums)


@pytest.mark.parametrize(
    "original",
    [
        conv((6, 8, 3, 3), (1, 8, 5, 5)),
        conv((6, 16, 3, 3), (1, 16, 5, 5)),
        conv((6, 12, 3, 3), (1, 12, 5, 5)),
        conv((6, 3, 1, 3), (1, 3, 5, 5)),
        conv((4, 1, 3, 3), (1, 4, 5, 5), group=4),
    ],
)
def test_kernels_of_one_row_and_full_blocks_stay(original: Model) -> None:
    context = Context()
    assert rewrite(rules=ROWS)(original, context) is original
    assert context.left_alone == []


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        (conv((6, 3, 3, 3), (1, 3, "h", "w")), "not known"),
        (conv((6, 3, 3, 3), (1, 3, 5, 5), auto_pad="SAME_UPPER"), "automatic"),
    ],
)
def test_rows_stay_where_sizes_are_not_known(original: Model, reason: str) -> None:
    context = Context()
    assert rewrite(rules=ROWS)(original, context) is original
    assert reason in context.left_alone[0].reason


GROUPED = {
    "of four": conv((12, 4, 3, 3), (2, 16, 5, 7), group=4, pads=[1] * 4),
    "of two": conv((8, 2, 1, 1), (1, 16, 5, 5), group=8),
    "of two, 1-D": conv((16, 2, 3), (1, 8, 9), group=4, bias=False),
}
FIVES = {
    "padded": conv((6, 1, 5, 5), (2, 6, 9, 7), group=6, pads=[2] * 4),
    "in steps": conv((6, 1, 5, 5), (1, 6, 9, 12), group=6, pads=[2, 1, 2, 2], strides=[2, 2]),
    "not padded": conv((6, 1, 5, 5), (1, 6, 5, 6), group=6, bias=False),
    "padded on one side": conv((6, 1, 5, 5), (1, 6, 4, 4), group=6, pads=[0, 3, 4, 0]),
    "valid": conv((6, 1, 5, 5), ("n", 6, 8, 8), group=6, auto_pad="VALID"),
}
IN_GROUPS = {
    **{f"groups {k}": (m, "groups-in-eights") for k, m in GROUPED.items()},
    **{f"5x5 {k}": (m, "depthwise-in-threes") for k, m in FIVES.items()},
}


@pytest.mark.parametrize("case", IN_GROUPS)
def test_groups_take_the_sizes_that_engines_are_fast_at(runner: Runner, case: str) -> None:
    original, rule = IN_GROUPS[case]
    changed = rewrite(rules=[rule])(original)
    assert changed is not original
    runner.check(changed)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING
    for engine in ENGINES.values():
        assert worst_error(expected, runner.opencv(changed, inputs, engine=engine)) < 10 * ROUNDING
    assert rewrite(rules=[rule])(changed) is changed


@given(
    groups=st.integers(1, 12),
    channels=st.sampled_from((1, 2, 3, 4, 8)),
    outputs=st.integers(1, 3),
    k=st.sampled_from((1, 3, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    pads=st.tuples(*(st.integers(0, 3) for _ in range(4))),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
)
def test_any_convolution_in_groups_keeps_its_function(
    runner: Runner, groups: int, channels: int, outputs: int, k: int, strides: tuple[int, int],
    pads: tuple[int, ...], size: tuple[int, int],
) -> None:  # fmt: skip
    original, sums = (
        conv((groups * outputs, channels, k, k), (1, groups * channels, *size),
             group=groups, strides=strides, pads=pads, absolute=absolute)
        for absolute in (False, True)
    )  # fmt: skip
    changed = rewrite(rules=["groups-in-eights", "depthwise-in-threes"])(original)
    assert_rounded(runner, original, changed, sums)


@pytest.mark.parametrize(
    ("original", "rule", "reason"),
    [
        (conv((12, 4, 3, 3), (1, 12, 5, 5), group=3), "groups-in-eights", "3 groups"),
        (conv((4, 1, 5, 5), (1, 4, 9, 9), group=4, dilations=[2, 2]),
         "depthwise-in-threes", "dilated"),
        (conv((4, 1, 5, 5), (1, 4, 9, 9), group=4, auto_pad="SAME_LOWER"),
         "depthwise-in-threes", "automatic"),
        (conv((4, 1, 5, 5), (1, 4, "h", 9), group=4), "depthwise-in-threes", "not known"),
    ],
)  # fmt: skip
def test_groups_that_cannot_be_written_anew_are_named(
    original: Model, rule: str, reason: str
) -> None:
    context = Context()
    assert rewrite(rules=[rule])(original, context) is original
    assert reason in context.left_alone[0].reason


def test_a_weight_that_is_shared_stays_as_it_is_for_the_other_layer(runner: Runner) -> None:
    original = model(
        [
            node("Conv", ["x", "w"], ["a"], name="first", group=4),
            node("Conv", ["x", "w"], ["b"], name="second", group=4),
            node("Add", ["a", "b"], ["y"], name="add"),
        ],
        {"w": normal(1, 16, 4, 1, 1)}, {"x": (1, 16, 5, 5)}, {"y": free((1,) * 4)},
    )  # fmt: skip
    changed = rewrite(rules=["groups-in-eights"], only=["first"])(original)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING
