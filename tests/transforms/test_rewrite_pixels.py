"""rewrite: pixels in eights, so that OpenCV 5.0's new engine is right in int8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantizing import Net, Quantizer, images, quantizing, worst_sqnr_db
from small_graphs import CLASSIC, NEW, Runner, inputs_for, worst_error

from modelcheck.model import Model
from modelcheck.transforms import Context
from modelcheck.transforms.rewrite import rewrite

RULE = ["pixels-in-eights"]
ENGINES = {"classic": CLASSIC, "new": NEW}
ROUNDING = 2e-6
SAME_DB = 35  # as in test_quantize_opencv.py


@pytest.fixture(scope="module")
def quantizer() -> Iterator[Quantizer]:
    with quantizing() as quantizer:
        yield quantizer


def alone(
    out: int, k: int = 1, size: tuple[int, ...] = (7, 7), channels: int = 8,
    **attributes: object,
) -> Model:  # fmt: skip
    """A convolution whose result is rounded for another one, behind something that is not fused."""
    net = Net(1, channels, *size)
    if len(size) == 1:
        weight = net.weight(out, channels // int(str(attributes.get("group", 1))), k)
        attributes = {"pads": [k // 2] * 2, **attributes}
        y = net.op("Conv", ["x", weight, net.weight(out)], **attributes)
        last = net.op("Conv", [net.op("Tanh", [y]), net.weight(32, out, 3)], pads=[1, 1])
    else:
        y = net.conv("x", channels, out, k, **attributes)
        last = net.conv(net.op("Tanh", [y]), out, 32)
    return net.model(net.op("Tanh", [last]), *(f"d{i}" for i in range(2 + len(size))))


CASES = {
    "1x1": alone(32),
    "1x1 without bias pixels": alone(16, size=(5, 9)),
    "1x1 in groups of eight": alone(16, group=2),
    "1-D": alone(16, 3, (13,)),
    "1-D 1x1": alone(16, 1, (13,)),
    "1-D in steps": alone(16, 3, (13,), strides=[2]),
    "1-D 1x1 in steps": alone(16, 1, (13,), strides=[2]),
    "small map": alone(8, 3),
    "small map of steps": alone(8, 3, (13, 9), strides=[2, 2]),
    "small map, dilated": alone(8, 3, dilations=[2, 2], pads=[2] * 4),
    "small map, padded at one end": alone(8, 2, pads=[0, 0, 1, 1]),
    "depthwise": alone(8, 3, group=8),
    "depthwise with more rows": alone(8, 3, (5, 8 + 2), group=8),
    "few channels": alone(24, 3, (3, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_convolutions_are_computed_on_more_pixels(runner: Runner, case: str) -> None:
    original = CASES[case]
    changed = rewrite(rules=RULE)(original)
    assert changed is not original
    assert "Slice" in {n.op_type for n in changed.graph}
    runner.check(changed)
    assert changed.signature == original.signature
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING
    for engine in ENGINES.values():
        assert worst_error(expected, runner.opencv(changed, inputs, engine=engine)) < 10 * ROUNDING
    assert rewrite(rules=RULE)(changed) is changed


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("case", CASES)
def test_quantize_then_leaves_nothing_out_and_the_new_engine_is_right(
    quantizer: Quantizer, runner: Runner, case: str, form: str
) -> None:
    original = CASES[case]
    shape = original.signature.inputs[0].shape
    assert shape is not None
    dims = [int(d or 0) for d in shape]
    samples, x = images(0, *dims), images(50, *dims)[0]
    assert "conv0" in quantizer(original, samples, form=form).left_alone  # the rule's reason
    quantized = quantizer(rewrite(rules=RULE)(original), samples, form=form)
    assert quantized.left_alone == {}
    expected = runner.onnxruntime(quantized.model, x)
    actual = runner.opencv(quantized.model, x, engine=NEW)
    assert worst_sqnr_db(expected, actual) >= SAME_DB


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_a_chain_is_padded_once_and_cut_once(
    quantizer: Quantizer, runner: Runner, form: str
) -> None:
    net = Net(1, 8, 7, 7)
    x = net.conv("x", 8, 16, 1)
    x = net.conv(net.op("Tanh", [x]), 16, 24, 1)
    y = net.conv(x, 24, 32, 1)
    y = net.op("Mul", [y, net.op("Sigmoid", [y])])
    y = net.conv(y, 32, 8, 3)
    original = net.model(net.op("Tanh", [y]), 1, 8, 7, 7)
    changed = rewrite(rules=RULE)(original)
    counts = Counter(n.op_type for n in changed.graph)
    assert counts["Pad"] == counts["Slice"] == 2  # one for the chain, one for the 3x3 one
    samples, inputs = images(0, 1, 8, 7, 7), images(50, 1, 8, 7, 7)[0]
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING
    quantized = quantizer(changed, samples, form=form)
    assert quantized.left_alone == {}
    actual = runner.opencv(quantized.model, inputs, engine=NEW)
    assert worst_sqnr_db(runner.onnxruntime(quantized.model, inputs), actual) >= SAME_DB


@given(
    out=st.integers(1, 40),
    k=st.sampled_from((1, 2, 3, 5)),
    height=st.integers(5, 15),
    width=st.integers(5, 15),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*(st.integers(0, 2) for _ in range(4))),
    depthwise=st.booleans(),
)
def test_any_convolution_keeps_its_function(
    runner: Runner, out: int, k: int, height: int, width: int, strides: tuple[int, ...],
    pads: tuple[int, ...], depthwise: bool,
) -> None:  # fmt: skip
    more: dict[str, object] = {"strides": strides, "pads": pads if k > 1 else [0] * 4}
    size = (height, width)
    if depthwise:
        original = alone(8, k, size, group=8, **more)
    else:
        original = alone(out, k, size, **more)
    changed = rewrite(rules=RULE)(original)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING


def test_an_output_keeps_its_name_and_its_pixels(runner: Runner) -> None:
    net = Net(1, 8, 7, 7)
    y = net.conv("x", 8, 16, 1)
    z = net.op("Tanh", [y])
    original = net.model(y, 1, 16, 7, 7)
    changed = rewrite(rules=RULE)(original)
    assert changed.signature == original.signature
    runner.check(changed)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING
    assert z in {v.name for n in changed.graph for v in n.outputs}


def test_every_reader_gets_the_pixels_that_it_had(runner: Runner) -> None:
    net = Net(1, 8, 7, 7)
    y = net.conv("x", 8, 16, 1)
    both = net.op("Concat", [net.op("Tanh", [y]), net.conv(y, 16, 16, 1), y], axis=1)
    original = net.model(both, 1, 48, 7, 7)
    changed = rewrite(rules=RULE)(original)
    runner.check(changed)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        (alone(8, 3, auto_pad="SAME_UPPER", pads=[0] * 4), "automatic"),
        (alone(32, size=("h", "w")), "not known"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_others_are_left_alone(original: Model, reason: str) -> None:
    context = Context()
    assert rewrite(rules=RULE)(original, context) is original
    assert reason in context.left_alone[0].reason


@pytest.mark.parametrize(
    "original",
    [
        alone(32, size=(8, 8)),
        alone(32, 3),  # of more channels than one block, on more than 16 pixels
        alone(24, 3, size=(8, 8), group=2),  # wrong for its groups: more pixels are no help
    ],
)  # fmt: skip
def test_what_is_right_in_int8_or_beyond_help_stays(original: Model) -> None:
    assert rewrite(rules=RULE)(original) is original
