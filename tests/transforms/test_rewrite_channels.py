"""rewrite: channels in another order, or beside channels of zeros; the same function."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from small_graphs import CLASSIC, NEW, Runner, inputs_for, model, node, normal, worst_error

from modelcheck.model import Model
from modelcheck.transforms import Context
from modelcheck.transforms.rewrite import rewrite

ENGINES = {"classic": CLASSIC, "new": NEW}
ROUNDING = 2e-6
SHUFFLE = ["shuffle-into-weights"]


class Net:
    """A small net in the making: nodes and weights, each layer with a name of its own."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[object] = []
        self.weights: dict[str, np.ndarray] = {}
        self._seed = seed

    def add(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(node(op_type, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: object, dtype: type = np.int64) -> str:
        name = f"k{len(self.weights)}"
        self.weights[name] = np.array(array, dtype)
        return name

    def normal(self, *shape: int) -> str:
        self._seed += 1
        return self.constant(normal(self._seed, *shape) / max(1, np.prod(shape[1:])) ** 0.5,
                             np.float32)  # fmt: skip

    def conv(
        self, x: str, channels: int, outputs: int, *, k: int = 1, act: str = "Relu", **more: object
    ) -> str:
        given = [x, self.normal(outputs, channels // int(str(more.get("group", 1))), k, k)]
        y = self.add("Conv", *given, self.normal(outputs), pads=[k // 2] * 4, **more)
        if act == "SiLU":
            return self.add("Mul", y, self.add("Sigmoid", y))
        return self.add(act, y) if act else y

    def reshape(self, x: str, *dims: int) -> str:
        return self.add("Reshape", x, self.constant(dims))

    def cut(self, x: str, begin: int, end: int, step: int = 1) -> str:
        bounds = [self.constant([n]) for n in (begin, end, 1, step)]
        return self.add("Slice", x, *bounds)

    def build(self, y: str, dims: tuple[int | str, ...], **more: object) -> Model:
        shapes = {y: [f"d{i}" for i in range(4)]}
        return model(self.nodes, self.weights, {"x": dims}, shapes, **more)  # type: ignore[arg-type]


SIZE = 6


def halves(net: Net, x: str, c: int, form: str) -> tuple[str, str]:
    """The even and the odd ones of c channels, as nets in the field write them."""
    if form == "in five axes":
        x = net.reshape(x, c // 2, 2, SIZE * SIZE)
        x = net.add("Transpose", x, perm=[1, 0, 2])
        x = net.reshape(x, 2, -1, c // 2, SIZE, SIZE)
        return tuple(net.add("Gather", x, net.constant(i), axis=0) for i in (0, 1))  # type: ignore[return-value]
    if form == "in steps":
        return net.cut(x, 0, c, 2), net.cut(x, 1, c, 2)
    if form == "gathered":
        even, odd = net.constant(range(0, c, 2)), net.constant(range(1, c, 2))
        return net.add("Gather", x, even, axis=1), net.add("Gather", x, odd, axis=1)
    x = net.reshape(x, -1, c // 2, 2, SIZE, SIZE)
    x = net.add("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = net.reshape(x, -1, c, SIZE, SIZE)
    if form == "cut":
        return net.cut(x, 0, c // 2), net.cut(x, c // 2, c)
    parts = [f"half{len(net.nodes)}{i}" for i in (0, 1)]
    sizes = net.constant([c // 2, c // 2])
    net.nodes.append(node("Split", [x, sizes], parts, name=parts[0], axis=1))
    return parts[0], parts[1]


FORMS = ("in five axes", "in steps", "gathered", "cut", "split")


def shufflenet(
    form: str, *, channels: int = 8, blocks: int = 3, act: str = "Relu", batch: int | str = 1,
    depthwise: bool = True, residual: bool = False, **more: object,
) -> Model:  # fmt: skip
    """ShuffleNetV2: what is even passes by, what is odd goes through a branch."""
    net, c = Net(), channels
    x = net.conv("x", 3, c, k=3, act=act)
    for _ in range(blocks):
        by, through = halves(net, x, c, form)
        inside = net.conv(through, c // 2, c // 2, act=act)
        if depthwise:
            inside = net.conv(inside, c // 2, c // 2, k=3, act="", group=c // 2)
        inside = net.conv(inside, c // 2, c // 2, act=act)
        if residual:
            inside = net.add("Add", inside, through)
        x = net.add("Concat", by, inside, axis=1)
    pooled = net.conv(net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), c, 5)
    return net.build(pooled, (batch, 3, SIZE, SIZE), **more)


def rearranged(changed: Model) -> set[str]:
    """The operators in a model that are there for rearranging channels."""
    steps = {n.name for n in changed.graph if n.op_type == "Slice" and len(n.inputs) > 4}
    return {n.op_type for n in changed.graph} & {"Transpose", "Gather", "Reshape"} | steps


def check(runner: Runner, original: Model, changed: Model) -> None:
    runner.check(changed)
    assert changed.signature == original.signature
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING


@pytest.mark.parametrize("form", FORMS)
def test_shuffles_go_into_the_weights(runner: Runner, form: str) -> None:
    original = shufflenet(form)
    changed = rewrite(rules=SHUFFLE)(original)
    assert rearranged(original)
    assert not rearranged(changed)
    check(runner, original, changed)
    assert rewrite(rules=SHUFFLE)(changed) is changed


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", FORMS)
def test_cv2_computes_them_rightly(runner: Runner, form: str, engine: str) -> None:
    original = shufflenet(form, act="SiLU")
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    changed = rewrite(rules=SHUFFLE)(original)
    assert worst_error(expected, runner.opencv(changed, inputs, engine=ENGINES[engine])) < 1e-5


@given(
    form=st.sampled_from(FORMS),
    channels=st.sampled_from((4, 8, 12, 20)),
    blocks=st.integers(1, 5),
    act=st.sampled_from(("Relu", "SiLU", "HardSwish", "")),
    depthwise=st.booleans(),
    residual=st.booleans(),
)
def test_any_net_with_shuffles_keeps_its_function(
    runner: Runner, form: str, channels: int, blocks: int, act: str, depthwise: bool,
    residual: bool,
) -> None:  # fmt: skip
    original = shufflenet(form, channels=channels, blocks=blocks, act=act,
                          depthwise=depthwise, residual=residual)  # fmt: skip
    check(runner, original, rewrite(rules=SHUFFLE)(original))


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_a_whole_shuffle_leaves_nothing_behind(runner: Runner, groups: int) -> None:
    net = Net()
    x = net.reshape(net.conv("x", 3, 12), 2, groups, 12 // groups, SIZE, SIZE)
    x = net.reshape(net.add("Transpose", x, perm=[0, 2, 1, 3, 4]), 2, 12, SIZE, SIZE)
    original = net.build(net.conv(x, 12, 4, k=3), (2, 3, SIZE, SIZE))
    changed = rewrite(rules=SHUFFLE)(original)
    assert Counter(n.op_type for n in changed.graph) == {"Conv": 2, "Relu": 2}
    check(runner, original, changed)


def test_a_batch_that_is_not_known_is_no_obstacle(runner: Runner) -> None:
    original = shufflenet("split", batch="n")
    changed = rewrite(rules=SHUFFLE)(original)
    assert not rearranged(changed)
    inputs = {"x": normal(7, 3, 3, SIZE, SIZE)}
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING


def test_what_takes_images_apart_is_no_shuffle_of_channels() -> None:
    """Reshape by way of a batch of one only: with two images other channels would meet."""
    original = shufflenet("in five axes", batch="n")
    assert rewrite(rules=SHUFFLE)(original) is original


def test_a_shuffle_of_an_input_is_left_where_its_readers_cannot_help(runner: Runner) -> None:
    net = Net()
    x = net.reshape(net.add("Transpose", net.reshape("x", 1, 2, 3, SIZE, SIZE),
                            perm=[0, 2, 1, 3, 4]), 1, 6, SIZE, SIZE)  # fmt: skip
    original = net.build(net.conv(x, 6, 4), (1, 6, SIZE, SIZE))
    changed = rewrite(rules=SHUFFLE)(original)  # the reader can: its inputs are in another order
    assert not rearranged(changed)
    check(runner, original, changed)


@pytest.mark.parametrize("engine", ENGINES)
def test_scattered_channels_of_what_cannot_move_are_gathered(runner: Runner, engine: str) -> None:
    net = Net()
    x = net.reshape(net.add("Transpose", net.reshape("x", 1, 6, 2, SIZE, SIZE),
                            perm=[0, 2, 1, 3, 4]), 1, 12, SIZE, SIZE)  # fmt: skip
    original = net.build(net.conv(net.cut(x, 6, 12), 6, 4), (1, 12, SIZE, SIZE))
    changed = rewrite(rules=SHUFFLE)(original)
    assert Counter(n.op_type for n in changed.graph) == {"Gather": 1, "Conv": 1, "Relu": 1}
    check(runner, original, changed)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.opencv(changed, inputs, engine=ENGINES[engine])) < 1e-5
    assert rewrite(rules=SHUFFLE)(changed) is changed


def test_scales_for_channels_and_slopes_follow(runner: Runner) -> None:
    net = Net()
    x = net.add("PRelu", net.conv("x", 3, 8, act=""), net.normal(8, 1, 1))
    even, odd = halves(net, x, 8, "in steps")
    y = net.add("Add", net.add("Mul", odd, net.normal(1, 4, 1, 1)), even)
    parameters = [net.normal(4) for _ in range(3)] + [net.constant(np.ones(4), np.float32)]
    y = net.add("BatchNormalization", y, *parameters)
    original = net.build(net.conv(y, 4, 4), (1, 3, SIZE, SIZE))
    check(runner, original, rewrite(rules=SHUFFLE)(original))


def test_a_gate_and_a_second_reader_follow(runner: Runner) -> None:
    net = Net()
    x = net.conv("x", 3, 8)
    gate = net.conv(net.conv(net.add("GlobalAveragePool", x), 8, 2), 2, 8, act="Sigmoid")
    x = net.add("Mul", x, gate)
    even, odd = halves(net, x, 8, "in five axes")
    whole = net.conv(x, 8, 4, k=3)
    y = net.add("Concat", net.conv(even, 4, 4), whole, net.conv(odd, 4, 4), axis=1)
    original = net.build(net.conv(y, 12, 4), (1, 3, SIZE, SIZE))
    changed = rewrite(rules=SHUFFLE)(original)
    assert not rearranged(changed)
    check(runner, original, changed)


def test_weights_of_two_layers_are_copied_for_the_one_that_changes(runner: Runner) -> None:
    net = Net()
    weight = net.normal(8, 8, 1, 1)
    x = net.add("Conv", net.conv("x", 3, 8), weight)
    twice = net.add("Conv", x, weight)
    even, odd = halves(net, twice, 8, "cut")
    y = net.conv(net.add("Concat", odd, even, axis=1), 8, 3)
    original = net.build(y, (1, 3, SIZE, SIZE))
    changed = rewrite(rules=SHUFFLE)(original)
    assert not rearranged(changed)
    check(runner, original, changed)


def test_half_floats_keep_their_type(runner: Runner) -> None:
    net = Net()
    x = net.conv("x", 3, 8)
    even, odd = halves(net, x, 8, "cut")
    y = net.conv(net.add("Concat", odd, even, axis=1), 8, 3)
    halved = {k: v.astype(np.float16) if v.dtype == np.float32 else v
              for k, v in net.weights.items()}  # fmt: skip
    net.weights = halved
    original = net.build(y, (1, 3, SIZE, SIZE), dtype=TensorProto.FLOAT16)
    changed = rewrite(rules=SHUFFLE)(original)
    assert not rearranged(changed)
    runner.check(changed)
    inputs = inputs_for(original)
    expected, actual = (runner.onnxruntime(m, inputs) for m in (original, changed))
    assert worst_error(expected, actual) < 2e-3


def test_old_opsets_have_slices_of_their_own(runner: Runner) -> None:
    """Before opset 10 a Slice has its bounds as attributes: the one read and the one written."""
    net = Net()
    x = net.conv("x", 3, 8)
    x = net.reshape(x, 1, 2, 4, SIZE, SIZE)
    x = net.reshape(net.add("Transpose", x, perm=[0, 2, 1, 3, 4]), 1, 8, SIZE, SIZE)
    halved = net.add("Slice", x, axes=[1], starts=[2], ends=[6])
    original = net.build(net.conv(halved, 4, 3), (1, 3, SIZE, SIZE), opset=9)
    changed = rewrite(rules=SHUFFLE)(original)
    assert changed.opset == 9
    assert Counter(n.op_type for n in changed.graph) == {"Conv": 2, "Relu": 2, "Slice": 1}
    check(runner, original, changed)


@pytest.mark.parametrize("rule", [SHUFFLE, ["channels-in-eights"]])
def test_before_opset_7_operands_were_aligned_otherwise(rule: list[str]) -> None:
    net = Net()
    x = net.conv("x", 3, 6)
    x = net.reshape(x, 1, 2, 3, SIZE, SIZE)
    x = net.reshape(net.add("Transpose", x, perm=[0, 2, 1, 3, 4]), 1, 6, SIZE, SIZE)
    y = net.add("Add", net.conv(x, 6, 6), net.normal(6), broadcast=1, axis=1)
    original, context = net.build(net.conv(y, 6, 8), (1, 3, SIZE, SIZE), opset=6), Context()
    assert rewrite(rules=rule)(original, context) is original
    assert {"older than 7"} == {left.reason[-12:] for left in context.left_alone}


def reason(original: Model, **options: object) -> str:
    context = Context()
    assert rewrite(rules=SHUFFLE, **options)(original, context) is original  # type: ignore[arg-type]
    assert context.left_alone
    return context.left_alone[0].reason


def reader(op_type: str) -> Model:
    net = Net()
    x = net.conv("x", 3, 8)
    x = net.reshape(x, 1, 2, 4, SIZE, SIZE)
    x = net.reshape(net.add("Transpose", x, perm=[0, 2, 1, 3, 4]), 1, 8, SIZE, SIZE)
    if op_type == "nothing":
        return net.build(x, (1, 3, SIZE, SIZE))
    if op_type == "groups":
        return net.build(net.conv(x, 8, 8, group=2), (1, 3, SIZE, SIZE))
    if op_type == "Softmax":
        return net.build(net.conv(net.add("Softmax", x, axis=1), 8, 8), (1, 3, SIZE, SIZE))
    if op_type == "twice":
        return net.build(net.conv(net.add("Concat", x, x, axis=1), 16, 8), (1, 3, SIZE, SIZE))
    assert op_type == "itself"
    net.nodes.append(node("Add", [x, "relu1"], ["sum"], name="sum"))
    return net.build(net.conv("sum", 8, 8), (1, 3, SIZE, SIZE))


@pytest.mark.parametrize(
    ("op_type", "expected"),
    [
        ("nothing", "is an output"), ("groups", "Conv 'conv"), ("Softmax", "Softmax 'softmax"),
        ("twice", "holds a channel twice"), ("itself", "goes into itself"),
    ],
)  # fmt: skip
def test_shuffles_are_left_for_those_who_need_the_order(op_type: str, expected: str) -> None:
    assert expected in reason(reader(op_type))


def test_excluded_layers_keep_their_shuffle() -> None:
    original = shufflenet("split", blocks=1)
    (name,) = (n.name for n in original.graph if n.op_type == "Transpose")
    assert reason(original, exclude=[name]) == "excluded"


def test_what_a_branch_reads_keeps_its_order() -> None:
    net = Net()
    x = net.conv("x", 3, 8)
    even, odd = halves(net, x, 8, "in five axes")
    y = net.conv(net.add("Concat", odd, even, axis=1), 8, 3)
    outer = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("t", "e")]
    branches = {
        "then_branch": helper.make_graph([node("Relu", [odd], ["t"])], "t", [], outer[:1]),
        "else_branch": helper.make_graph([node("Relu", [even], ["e"])], "e", [], outer[1:]),
    }
    flag = net.constant(True, np.bool_)
    net.nodes.append(node("If", [flag], ["z"], name="if", **branches))
    shapes = {y: ["a", "b", "c", "d"], "z": ["e", "f", "g", "h"]}
    original = model(net.nodes, net.weights, {"x": (1, 3, SIZE, SIZE)}, shapes)  # type: ignore[arg-type]
    assert "a subgraph reads" in reason(original)


EIGHTS = ["channels-in-eights"]
ACTIVATIONS = ("Relu", "Sigmoid", "SiLU", "HardSwish", "LeakyRelu", "Softplus", "")


def widths(changed: Model) -> list[int]:
    """How many outputs each convolution has."""
    shapes = [n.inputs[1].const_value.shape for n in changed.graph if n.op_type == "Conv"]  # type: ignore[union-attr]
    return [int(shape[0]) for shape in shapes]


def unfitting(
    *widths: int, act: str = "Relu", between: str = "depthwise", batch: int | str = 1
) -> Model:
    """Convolutions of so many channels, one after the other, and something between them."""
    net = Net()
    x, c = "x", 3
    for width in widths:
        x, c = net.conv(x, c, width, k=3, act=act), width
        if between == "depthwise":
            x = net.conv(x, c, c, k=3, act=act, group=c)
        elif between == "pool":
            x = net.add("AveragePool", x, kernel_shape=[2, 2])
        elif between == "gate":
            gate = net.conv(net.add("GlobalAveragePool", x), c, 3)
            x = net.add("Mul", x, net.conv(gate, 3, c, act="Sigmoid"))
        elif between == "sum":
            x = net.add("Add", x, net.conv(x, c, c, act=""))
        elif between == "concat":
            x, c = net.add("Concat", x, net.conv(x, c, 5), x, axis=1), 2 * c + 5
        elif between == "norm":
            parameters = [net.normal(c) for _ in range(3)] + [net.constant(np.ones(c), np.float32)]
            x = net.add("BatchNormalization", x, *parameters)
    return net.build(net.conv(x, c, 4, act=""), (batch, 3, SIZE, SIZE))


BETWEEN = ("nothing", "depthwise", "pool", "gate", "sum", "norm")


@pytest.mark.parametrize("between", BETWEEN)
def test_channels_are_filled_up_to_eights(runner: Runner, between: str) -> None:
    original = unfitting(10, 7, between=between)
    changed = rewrite(rules=EIGHTS)(original)
    assert {w % 8 for w in widths(changed)[:-1]} == {0}
    assert widths(changed)[-1] == 4  # an output's channels are the caller's
    check(runner, original, changed)
    assert rewrite(rules=EIGHTS)(changed) is changed


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("between", BETWEEN)
def test_cv2_computes_filled_up_channels_rightly(runner: Runner, between: str, engine: str) -> None:
    # The new engine is wrong for a BatchNormalization behind a SiLU, whatever the rule does.
    original = unfitting(10, 7, between=between, act="Relu" if between == "norm" else "SiLU")
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    changed = rewrite(rules=EIGHTS)(original)
    assert worst_error(expected, runner.opencv(changed, inputs, engine=ENGINES[engine])) < 1e-5


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    act=st.sampled_from(ACTIVATIONS),
    between=st.sampled_from(BETWEEN),
)
def test_any_net_with_more_channels_keeps_its_function(
    runner: Runner, sizes: list[int], act: str, between: str
) -> None:
    original = unfitting(*sizes, act=act, between=between)
    check(runner, original, rewrite(rules=EIGHTS)(original))


def test_zeros_stay_behind_their_part_of_a_concat(runner: Runner) -> None:
    net = Net()
    a, b = net.conv("x", 3, 6), net.conv("x", 3, 11, k=3)
    original = net.build(net.conv(net.add("Concat", a, b, axis=1), 17, 8), (2, 3, SIZE, SIZE))
    changed = rewrite(rules=EIGHTS)(original)
    assert widths(changed) == [8, 16, 8]
    check(runner, original, changed)


def test_a_transposed_convolution_grows_too(runner: Runner) -> None:
    net = Net()
    x = net.conv("x", 3, 6)
    x = net.add("ConvTranspose", x, net.normal(6, 5, 2, 2), net.normal(5), strides=[2, 2])
    original = net.build(net.conv(x, 5, 8), (1, 3, SIZE, SIZE))
    changed = rewrite(rules=EIGHTS)(original)
    shapes = [n.inputs[1].const_value.shape for n in changed.graph if n.op_type == "ConvTranspose"]  # type: ignore[union-attr]
    assert [tuple(shape)[:2] for shape in shapes] == [(8, 8)]
    check(runner, original, changed)


def narrow(reader: str) -> Model:
    net = Net()
    x = net.conv("x", 3, 6)
    if reader == "output":
        return net.build(x, (1, 3, SIZE, SIZE))
    if reader == "Log":
        x = net.add("Log", x)
    elif reader == "Div":
        x = net.add("Div", x, net.conv("x", 3, 6, act="Softplus"))
    elif reader == "Softmax":
        x = net.add("Softmax", x, axis=1)
    elif reader == "ReduceMean":
        x = net.add("Mul", x, net.add("ReduceMean", x, axes=[1], keepdims=1))
    elif reader == "groups":
        return net.build(net.conv(x, 6, 8, group=2), (1, 3, SIZE, SIZE))
    elif reader == "cut":
        x = net.cut(x, 0, 3)
        return net.build(net.conv(x, 3, 8), (1, 3, SIZE, SIZE))
    elif reader == "Resize":
        sizes = net.constant([1, 6, 2 * SIZE, 2 * SIZE])
        x = net.add("Resize", x, "", "", sizes, mode="nearest")
    return net.build(net.conv(x, 6, 8), (1, 3, SIZE, SIZE))


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("output", "is an output"), ("Log", "may not be finite"), ("Div", "may not be finite"),
        ("Softmax", "Softmax 'softmax"), ("ReduceMean", "ReduceMean 'reducemean"),
        ("groups", "Conv 'conv"), ("cut", "takes its channels apart"),
        ("Resize", "names the number of its channels"),
    ],
)  # fmt: skip
def test_channels_stay_as_many_for_those_who_count_them(what: str, expected: str) -> None:
    original, context = narrow(what), Context()
    assert rewrite(rules=EIGHTS)(original, context) is original
    assert {True} == {expected in left.reason for left in context.left_alone}


def test_an_excluded_convolution_keeps_all_that_it_is_summed_with() -> None:
    original = unfitting(10, between="sum", act="")
    convs = [str(n.name) for n in original.graph if n.op_type == "Conv"]
    assert rewrite(rules=EIGHTS, exclude=[convs[1]])(original) is original


@pytest.mark.parametrize("last", ["shuffle-into-weights", "channels-in-eights"])
@pytest.mark.parametrize("first", ["pad-before-pool", "activation-apart", "pixels-in-eights"])
def test_rules_in_one_step_see_what_those_before_them_wrote(
    runner: Runner, first: str, last: str
) -> None:
    net = Net()
    y = net.conv("x", 4, 6, act="Sigmoid")
    y = net.conv(y, 6, 6, k=5, act="", group=6)
    y = net.add("AveragePool", y, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    y = net.conv(net.cut(y, 0, 6, 2), 3, 4, act="")
    original = net.build(y, (1, 4, 7, 7))
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    made = rewrite(rules=[first, last])(original, Context())  # type: ignore[arg-type]
    assert worst_error(expected, runner.onnxruntime(made, inputs)) < ROUNDING
    apart = rewrite(rules=[last])(rewrite(rules=[first])(original))  # type: ignore[arg-type]
    assert Counter(n.op_type for n in made.graph) == Counter(n.op_type for n in apart.graph)


@pytest.mark.parametrize("op_type", ["BatchNormalization", "InstanceNormalization"])
def test_no_channel_of_zeros_is_divided_by_nothing(op_type: str) -> None:
    net = Net()
    parameters = [net.constant(np.ones(5), np.float32) for _ in range(2)]
    if op_type == "BatchNormalization":
        parameters += [net.constant(np.zeros(5), np.float32), net.constant(np.ones(5), np.float32)]
    y = net.add(op_type, net.conv("x", 3, 5), *parameters, epsilon=0.0)
    original = net.build(net.conv(y, 5, 8), (1, 3, SIZE, SIZE))
    assert rewrite(rules=["channels-in-eights"])(original) is original


def test_no_channel_of_zeros_meets_what_is_not_finite() -> None:
    net = Net()
    y = net.add("Mul", net.conv("x", 3, 5), net.constant(np.inf, np.float32))
    original = net.build(net.conv(net.add("Tanh", y), 5, 8), (1, 3, SIZE, SIZE))
    assert rewrite(rules=["channels-in-eights"])(original) is original
    net = Net()
    y = net.add("HardSigmoid", net.conv("x", 3, 5), alpha=float("inf"))
    original = net.build(net.conv(y, 5, 8), (1, 3, SIZE, SIZE))
    assert rewrite(rules=["channels-in-eights"])(original) is original


def test_what_nobody_reads_reads_its_channels_all_the_same(runner: Runner) -> None:
    net = Net()
    y = net.conv("x", 3, 5)
    net.reshape(y, 1, 5, SIZE * SIZE)  # dead
    original = net.build(net.conv(y, 5, 8), (1, 3, SIZE, SIZE))
    made = rewrite(rules=["channels-in-eights"])(original)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(made, inputs)) < ROUNDING
