"""rewrite: arithmetic with the channels first, padding, gates; fewer passes, the same function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from small_graphs import (
    CLASSIC,
    NEW,
    ROUNDING,
    Runner,
    assert_alike,
    inputs_for,
    model,
    node,
    normal,
    worst_error,
)

from modelcheck.model import Model
from modelcheck.transforms import Context
from modelcheck.transforms.rewrite import rewrite

ENGINES = {"classic": CLASSIC, "new": NEW}
FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]
AXES = np.array([1, 2], np.int64)
IMAGE, OUT = (1, 6, 5, 3), ("a", "b", "c", "d")


def operators(changed: Model) -> Counter[str]:
    return Counter(n.op_type for n in changed.graph)


def behind(*nodes: object, then: str = "m", weights: dict[str, np.ndarray] | None = None) -> Model:
    """An image with its channels last -> nodes that make `then` of 'x' -> first -> Conv -> y."""
    made = [
        *nodes,
        node("Transpose", [then], ["t"], name="first", perm=FIRST),
        node("Conv", ["t", "w"], ["y"], name="conv"),
    ]
    return model(made, {"w": normal(1, 4, 3, 1, 1), **(weights or {})}, {"x": IMAGE}, {"y": OUT})


def normalized(*, shape: tuple[int, ...] = (3,)) -> Model:
    """(x · a + b - mean) / √(mean of squares), as nets from TensorFlow normalize."""
    return behind(
        node("Mul", ["x", "a"], ["p"], name="mul"),
        node("Add", ["p", "b"], ["q"], name="add"),
        node("ReduceMean", ["q"], ["mean"], name="mean", axes=[1, 2]),
        node("Sub", ["q", "mean"], ["s"], name="sub"),
        node("Mul", ["s", "s"], ["square"], name="square"),
        node("ReduceMean", ["square"], ["variance"], name="variance", axes=[0, 1, 2, 3]),
        node("Sqrt", ["variance"], ["deviation"], name="sqrt"),
        node("Div", ["s", "deviation"], ["m"], name="div"),
        weights={"a": normal(2, *shape), "b": normal(3, 1, 1, 1, 3)},
    )


def gated() -> Model:
    """Two branches with channels first, each turned for a product with its gate, and back."""
    return model(
        [
            node("Conv", ["x", "w"], ["c"], name="left"),
            node("Conv", ["x", "v"], ["d"], name="right"),
            node("Transpose", ["c"], ["cl"], name="left last", perm=LAST),
            node("Transpose", ["d"], ["dl"], name="right last", perm=LAST),
            node("Mul", ["cl", "g"], ["p"], name="gate"),
            node("Mul", ["dl", "h"], ["q"], name="other gate"),
            node("Add", ["p", "q"], ["s"], name="sum"),
            node("Transpose", ["s"], ["y"], name="first", perm=FIRST),
        ],
        {"w": normal(1, 4, 3, 1, 1), "v": normal(2, 4, 3, 1, 1), "g": normal(3, 4),
         "h": normal(4, 1, 1, 1, 4)},
        {"x": (1, 3, 5, 6)}, {"y": OUT},
    )  # fmt: skip


CASES = {
    "normalization": normalized(),
    "constants of full rank": normalized(shape=(1, 1, 1, 3)),
    "gates": gated(),
    "channels in another order": behind(
        node("Split", ["x"], ["r", "g", "b"], name="split", axis=-1),
        node("Concat", ["b", "g", "r"], ["m"], name="concat", axis=3),
    ),
    "a softmax over channels": behind(node("Softmax", ["x"], ["m"], name="softmax", axis=-1)),
    "a softmax over rows": behind(node("Softmax", ["x"], ["m"], name="softmax", axis=1)),
    "axes that are an input": behind(
        node("ReduceSum", ["x", "axes"], ["s"], name="sum"),
        node("Sub", ["x", "s"], ["m"], name="sub"),
        weights={"axes": AXES},
    ),
    "a scalar": behind(node("Mul", ["x", "a"], ["m"], name="mul"),
                       weights={"a": np.array(0.5, np.float32)}),
    "a slope of each channel": behind(node("PRelu", ["x", "a"], ["m"], name="prelu"),
                                      weights={"a": normal(2, 3)}),
    "limits": behind(
        node("Clip", ["x", "low", "high"], ["m"], name="clip"),
        weights={"low": np.array(-0.5, np.float32), "high": np.array(0.5, np.float32)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_arithmetic_goes_behind_the_transposition_and_gives_the_same(
    runner: Runner, case: str
) -> None:
    original = CASES[case]
    changed = rewrite(rules=["channels-first"])(original)
    turns = [n for n in changed.graph if n.op_type == "Transpose"]
    assert all(n.inputs[0] is changed.graph.inputs[0] for n in turns)
    assert_alike(runner, original, changed)


# 5.0's classic engine dies of these however their axes lie.
FATAL = ("normalization", "constants of full rank")


@pytest.mark.parametrize(
    ("case", "engine"),
    [(c, e) for c in CASES for e in ENGINES if e == "new" or c not in FATAL],
)
def test_cv2_computes_it_rightly_with_the_channels_first(
    runner: Runner, case: str, engine: str
) -> None:
    original = CASES[case]
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    changed = rewrite(rules=["channels-first"])(original)
    actual = runner.opencv(changed, inputs, engine=ENGINES[engine])
    assert worst_error(expected, actual) < 10 * ROUNDING


def test_what_others_read_is_turned_back_under_its_own_name(runner: Runner) -> None:
    """The mask is a result of the net, and a Reshape reads the sum."""
    original = model(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            node("Transpose", ["c"], ["l"], name="last", perm=LAST),
            node("Sigmoid", ["l"], ["mask"], name="sigmoid"),
            node("Add", ["mask", "l"], ["s"], name="sum"),
            node("Reshape", ["s", "flat"], ["flattened"], name="flatten"),
            node("Transpose", ["s"], ["t"], name="first", perm=FIRST),
            node("Conv", ["t", "v"], ["y"], name="head"),
            node("Transpose", ["mask"], ["u"], name="second", perm=FIRST),
            node("Relu", ["u"], ["z"], name="relu"),
        ],
        {"w": normal(1, 4, 3, 1, 1), "v": normal(2, 2, 4, 1, 1), "flat": np.array([1, -1])},
        {"x": (1, 3, 5, 6)},
        {"mask": (1, 5, 6, 4), "flattened": ("a", "b"), "y": OUT, "z": OUT},
    )
    changed = rewrite(rules=["channels-first"])(original)
    assert changed.signature.outputs[0].shape == (1, 5, 6, 4)
    assert_alike(runner, original, changed)


def test_no_more_is_turned_than_before() -> None:
    """What goes in is larger than what comes out: one transposition behind the sum, none before."""
    original = model(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            node("Relu", ["c"], ["r"], name="relu"),
            node("Sigmoid", ["c"], ["s"], name="sigmoid"),
            node("Add", ["r", "s"], ["a"], name="sum"),
            node("Transpose", ["a"], ["y"], name="first", perm=FIRST),
        ],
        {"w": normal(1, 4, 3, 1, 1)}, {"x": (1, 3, 5, 6)}, {"y": OUT},
    )  # fmt: skip
    assert rewrite(rules=["channels-first"])(original) is original


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ReduceMean", ["x"], ["m"], name="mean", axes=[3], keepdims=0)],
        [node("Reshape", ["x", "dims"], ["m"], name="reshape")],
        [node("MatMul", ["x", "square"], ["m"], name="product")],
    ],
)
def test_what_is_not_arithmetic_stays(nodes: Sequence[object]) -> None:
    weights = {"dims": np.array([1, 5, 6, 3]), "square": normal(5, 3, 3)}
    if nodes[0].op_type == "ReduceMean":  # type: ignore[attr-defined]
        nodes = [*nodes, node("Unsqueeze", ["m", "axis"], ["n"], name="again"),
                 node("Concat", ["n"] * 3, ["k"], name="three", axis=3)]  # fmt: skip
        original = behind(*nodes, then="k", weights={"axis": np.array([3])})
        assert "ReduceMean" in operators(rewrite(rules=["channels-first"])(original))
        return
    used = {name for n in nodes for name in n.input}  # type: ignore[attr-defined]
    original = behind(*nodes, weights={k: v for k, v in weights.items() if k in used})
    assert rewrite(rules=["channels-first"])(original) is original


@st.composite
def regions(draw: st.DrawFn) -> Model:
    """Arithmetic with the channels last, between two images, one turned, and a convolution."""
    channels = draw(st.integers(1, 4))
    nodes = [node("Conv", ["z", "v"], ["c"], name="before"),
             node("Transpose", ["c"], ["v0"], name="turned", perm=LAST)]  # fmt: skip
    weights = {"v": normal(1, channels, 2, 1, 1), "w": normal(2, 3, channels, 1, 1)}
    values = ["v0", "x"]
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["one", "two", "constant", "mean", "softmax", "concat"]))
        name, one = f"v{number + 1}", draw(st.sampled_from(values))
        if kind == "one":
            op, given, attributes = draw(st.sampled_from(["Relu", "Sigmoid", "Tanh"])), [one], {}
        elif kind == "two":
            op, given = draw(st.sampled_from(["Add", "Mul", "Sub", "Max"])), [one]
            given, attributes = [*given, draw(st.sampled_from(values))], {}
        elif kind == "constant":
            shape = draw(st.sampled_from([(channels,), (1, 1, 1, channels), (6, 1, 1), (1,), ()]))
            weights[f"k{number}"] = normal(number + 3, *shape)
            op, given, attributes = draw(st.sampled_from(["Add", "Mul"])), [one, f"k{number}"], {}
        elif kind == "mean":
            axes = draw(st.lists(st.integers(-3, 3).filter(bool), min_size=1, max_size=1))
            nodes.append(node("ReduceMean", [one], [f"m{number}"], name=f"m{number}", axes=axes))
            op, given, attributes = "Sub", [one, f"m{number}"], {}
        elif kind == "softmax":
            op, given = "Softmax", [one]
            attributes = {"axis": draw(st.integers(1, 3))}
        else:
            nodes.append(node("Concat", [one, one], [f"j{number}"], name=f"j{number}", axis=2))
            nodes.append(node("Split", [f"j{number}"], [name, f"rest{number}"], name=name, axis=2))
            values.append(name)
            continue
        nodes.append(node(op, given, [name], name=name, **attributes))
        values.append(name)
    nodes += [node("Transpose", [values[-1]], ["t"], name="first", perm=FIRST),
              node("Conv", ["t", "w"], ["y"], name="after")]  # fmt: skip
    return model(nodes, weights, {"x": (1, 6, 4, channels), "z": (1, 2, 6, 4)}, {"y": OUT})


@given(original=regions())
def test_any_region_of_arithmetic_gives_the_same(runner: Runner, original: Model) -> None:
    changed = rewrite(rules=["channels-first"])(original)
    runner.check(changed)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < 10 * ROUNDING
    assert rewrite(rules=["channels-first"])(changed) is changed


def padded(
    widths: Sequence[int], weight: tuple[int, ...] = (4, 2, 3, 3), *, value: float = 0.0,
    mode: str = "constant", opset: int = 17, **attributes: object,
) -> Model:  # fmt: skip
    """x -> Pad -> Conv -> y."""
    weights = {"w": normal(1, *weight)}
    if opset < 11:
        pad = node("Pad", ["x"], ["p"], name="pad", mode=mode, pads=widths, value=value)
    else:
        weights |= {"widths": np.array(widths), "value": np.array(value, np.float32)}
        pad = node("Pad", ["x", "widths", "value"], ["p"], name="pad", mode=mode)
    layer = node("Conv", ["p", "w"], ["y"], name="conv", **attributes)
    x = (1, weight[1] * int(str(attributes.get("group", 1))), *[7, 8][: len(weight) - 2])
    return model([pad, layer], weights, {"x": x}, {"y": OUT[: len(x)]}, opset=opset)


BELOW = [0, 0, 0, 0, 0, 0, 1, 1]
INTO_CONV = {
    "at the end": padded(BELOW, strides=[2, 2]),
    "on top of its own": padded([0, 0, 1, 2, 0, 0, 1, 0], pads=[1, 0, 0, 1]),
    "VALID": padded(BELOW, auto_pad="VALID"),
    "depthwise": padded([0, 0, 1, 1, 0, 0, 1, 1], (4, 1, 3, 3), group=4),
    "before opset 11": padded(BELOW, opset=9),
    "one dimension": padded([0, 0, 1, 0, 0, 1], (4, 2, 3)),
}
NOT_INTO_CONV = {
    "other numbers than zero": padded(BELOW, value=1.0),
    "reflected": padded(BELOW, mode="reflect"),
    "cut off": padded([0, 0, 0, 0, 0, 0, -1, 0]),
    "channels too": padded([0, 1, 0, 0, 0, 1, 0, 0], (4, 4, 3, 3)),
    "what older engines get wrong": padded([0, 0, 0, 0, 0, 0, 2, 0], (4, 1, 3, 3), group=4),
    "other ends of one dimension": padded([0, 0, 0, 0, 0, 1], (4, 2, 3)),
    "automatic besides": padded(BELOW, auto_pad="SAME_UPPER"),
}


@pytest.mark.parametrize("case", INTO_CONV)
def test_a_pad_becomes_the_convolutions_own(runner: Runner, case: str) -> None:
    original = INTO_CONV[case]
    changed = rewrite(rules=["pad-into-conv"])(original)
    assert operators(changed) == {"Conv": 1}
    assert_alike(runner, original, changed, ENGINES.values())


@pytest.mark.parametrize("case", NOT_INTO_CONV)
def test_any_other_pad_stays(case: str) -> None:
    assert rewrite(rules=["pad-into-conv"])(NOT_INTO_CONV[case]) is NOT_INTO_CONV[case]


def test_a_pad_that_others_read_stays() -> None:
    two = model(
        [
            node("Pad", ["x", "widths"], ["p"], name="pad"),
            node("Conv", ["p", "w"], ["y"], name="conv"),
            node("Relu", ["p"], ["z"], name="relu"),
        ],
        {"w": normal(1, 4, 2, 3, 3), "widths": np.array(BELOW)}, {"x": (1, 2, 5, 5)},
        {"y": OUT, "z": OUT},
    )  # fmt: skip
    assert rewrite(rules=["pad-into-conv"])(two) is two


def with_gate(
    *, swapped: bool = False, size: tuple[int | str, ...] = (6, 7), per_pixel: bool = False,
    given_out: bool = False,
) -> Model:  # fmt: skip
    """A convolution's result, and beside it the same times a gate of its channels."""
    pooled = node("Relu" if per_pixel else "GlobalAveragePool", ["c"], ["pool"], name="pool")
    order = ["p", "c"] if swapped else ["c", "p"]
    product = ["g", "c"] if swapped else ["c", "g"]
    outputs = {"y": OUT, **({"p": OUT} if given_out else {})}
    return model(
        [
            node("Conv", ["x", "w"], ["c"], name="conv"),
            pooled,
            node("HardSigmoid", ["pool"], ["g"], name="gate"),
            node("Mul", product, ["p"], name="product"),
            node("Add", order, ["s"], name="sum"),
            node("Relu", ["s"], ["y"], name="relu"),
        ],
        {"w": normal(1, 4, 2, 1, 1)}, {"x": (1, 2, *size)}, outputs,
    )  # fmt: skip


GATES = {
    "the residual first": with_gate(),
    "the product first": with_gate(swapped=True),
    "an image of free size": with_gate(size=("h", "w")),
}


@pytest.mark.parametrize("case", GATES)
def test_a_residual_goes_into_the_gate(runner: Runner, case: str) -> None:
    original = GATES[case]
    changed = rewrite(rules=["residual-into-gate"])(original)
    (sum_,) = [n for n in changed.graph if n.op_type == "Add"]
    assert sum_.inputs[0] is not None
    assert sum_.inputs[0].name == "g"
    assert_alike(runner, original, changed, ENGINES.values())


@pytest.mark.parametrize(
    "original", [with_gate(per_pixel=True), with_gate(given_out=True), with_gate(size=(2, 2))]
)
def test_other_sums_and_products_stay(original: Model) -> None:
    context = Context()
    assert rewrite(rules=["residual-into-gate"])(original, context) is original
    assert context.left_alone == []


def test_a_transposition_of_the_regions_own_result_is_none_before_it(runner: Runner) -> None:
    """The sum reads a result of the region, and that turned: neither may be turned twice."""
    original = model(
        [
            node("Relu", ["x"], ["a"], name="relu"),
            node("Transpose", ["a"], ["w"], name="last", perm=LAST),
            node("Add", ["a", "w"], ["b"], name="sum"),
            node("Transpose", ["b"], ["y"], name="first", perm=FIRST),
            node("Sigmoid", ["b"], ["s"], name="sigmoid"),
            node("Transpose", ["s"], ["z"], name="second", perm=FIRST),
            node("Tanh", ["b"], ["u"], name="tanh"),
            node("Transpose", ["u"], ["q"], name="third", perm=FIRST),
        ],
        {}, {"x": (2, 4, 4, 4)}, {"y": OUT, "z": OUT, "q": OUT},
    )  # fmt: skip
    changed = rewrite(rules=["channels-first"])(original)
    assert_alike(runner, original, changed)


def test_a_transposition_in_the_body_of_an_if_reads_what_it_did() -> None:
    def branch(name: str) -> onnx.GraphProto:
        turn = node("Transpose", ["b"], [name], name=f"turn {name}", perm=FIRST)
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 5, 3, 4])
        return helper.make_graph([turn], f"body {name}", [], [out])

    graph = helper.make_graph(
        [
            node("Transpose", ["x"], ["a"], name="last", perm=LAST),
            node("Relu", ["a"], ["b"], name="relu"),
            node("If", ["c"], ["y"], name="if", then_branch=branch("t"), else_branch=branch("e")),
            node("Transpose", ["b"], ["z"], name="first", perm=FIRST),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5, 3, 4]),
         helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 5, 3, 4]) for n in "yz"],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    original = Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))
    changed = rewrite(rules=["channels-first"])(original)
    turns = [n for n in changed.graph if n.op_type == "Transpose"]
    assert [n.name for n in turns if n.inputs[0] is changed.graph.inputs[0]] == []
    (inside,) = [n.inputs[0] for n in changed.graph.all_nodes() if n.name == "turn t"]
    assert inside is not None
    made = inside.producer()
    assert made is not None
    assert made.op_type == "Transpose"


def test_a_gate_of_another_type_than_what_it_came_from_gets_a_one_of_its_own(
    runner: Runner,
) -> None:
    graph = helper.make_graph(
        [
            node("Cast", ["h"], ["x"], name="cast", to=TensorProto.FLOAT),
            node("Mul", ["x", "g"], ["p"], name="product"),
            node("Add", ["x", "p"], ["y"], name="sum"),
        ],
        "g",
        [helper.make_tensor_value_info("h", TensorProto.FLOAT16, [2, 4, 4, 4]),
         helper.make_tensor_value_info("g", TensorProto.FLOAT, [2, 4, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4, 4, 4])],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    original = Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))
    changed = rewrite(rules=["residual-into-gate"])(original)
    assert changed is not original
    runner.check(changed)
    (one,) = changed.graph.initializers.values()
    assert str(one.dtype) == "FLOAT"
