"""rewrite: transposed convolutions, plainly or as convolutions; the same function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def transposed(
    weight: tuple[int, ...], x: tuple[int | str, ...], *, then: str = "Relu", **attributes: object
) -> Model:
    """x -> ConvTranspose 'deconv' -> an activation -> y."""
    groups = int(str(attributes.get("group", 1)))
    weights = {"w": normal(1, *weight), "b": normal(2, weight[1] * groups)}
    layer = node("ConvTranspose", ["x", "w", "b"], ["c"], name="deconv", **attributes)
    return model(
        [layer, node(then, ["c"], ["y"], name="act")], weights, {"x": x}, {"y": "abcde"[: len(x)]}
    )


TRANSPOSED = {
    "as many taps as steps": transposed((4, 3, 2, 2), (1, 4, 5, 7), strides=[2, 2]),
    "padded at the end": transposed((4, 3, 3, 3), (1, 4, 5, 7), strides=[2, 2], pads=[0, 0, 1, 1]),
    "padded on all sides": transposed((4, 3, 4, 4), (1, 4, 5, 7), strides=[2, 2], pads=[1] * 4),
    "output padding": transposed(
        (4, 3, 3, 3), (2, 4, 5, 7), strides=[2, 2], pads=[1] * 4, output_padding=[1, 1]
    ),
    "unlike steps": transposed((4, 3, 5, 3), (1, 4, 5, 7), strides=[3, 1], pads=[2, 0, 1, 1]),
    "fewer taps than steps": transposed((4, 3, 2, 1), (1, 4, 5, 7), strides=[3, 2]),
    "one tap and padding": transposed(
        (4, 3, 2, 2), (1, 4, 8, 8), strides=[2, 2], output_padding=[1, 1]
    ),
    "one tap and padding at one end": transposed(
        (4, 3, 3, 3), (1, 4, 8, 8), strides=[3, 3], pads=[1, 1, 1, 3], output_padding=[2, 2]
    ),
    "no steps": transposed((4, 3, 3, 3), (2, 4, 5, 7), pads=[1, 0, 1, 2]),
    "dilated": transposed((4, 3, 3, 3), (2, 4, 5, 7), dilations=[2, 1], pads=[2, 1, 2, 1]),
    "groups": transposed((4, 3, 4, 4), (2, 4, 5, 7), strides=[2, 2], pads=[1] * 4, group=2),
    "depthwise": transposed((4, 1, 4, 4), (1, 4, 5, 7), strides=[2, 2], pads=[1] * 4, group=4),
    "depthwise, two rows below": transposed((4, 1, 3, 3), (1, 4, 8, 8), pads=[1, 1, 0, 1], group=4),
    "free batch": transposed((4, 3, 4, 4), ("n", 4, 5, 7), strides=[2, 2], pads=[1] * 4),
    "free sizes": transposed((4, 3, 4, 4), (1, 4, "h", "w"), strides=[2, 2], pads=[1] * 4),
    "1-D": transposed((4, 3, 4), (2, 4, 5), strides=[2], pads=[1, 1]),
    "1-D, padded at one end": transposed((4, 3, 3), (2, 4, 5), strides=[2], pads=[1, 1]),
    "a gate behind it": transposed((4, 3, 2, 2), (1, 4, 5, 7), strides=[2, 2], then="HardSwish"),
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_a_transposed_convolution_becomes_a_convolution(runner: Runner, case: str) -> None:
    original = TRANSPOSED[case]
    changed = rewrite(rules=["convtranspose-as-conv"])(original)
    assert "ConvTranspose" not in [n.op_type for n in changed.graph]
    assert_alike(runner, original, changed)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", TRANSPOSED)
def test_cv2_runs_that_convolution_rightly(runner: Runner, case: str, engine: str) -> None:
    original = TRANSPOSED[case]
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    changed = rewrite(rules=["convtranspose-as-conv"])(original)
    actual = runner.opencv(changed, inputs, engine=ENGINES[engine])
    assert worst_error(expected, actual) < 10 * ROUNDING


def test_the_activation_goes_before_the_phases_are_put_together() -> None:
    changed = rewrite(rules=["convtranspose-as-conv"])(TRANSPOSED["as many taps as steps"])
    (activation,) = (n for n in changed.graph if n.op_type == "Relu")
    assert activation.inputs[0] is not None
    maker = activation.inputs[0].producer()
    assert maker is not None
    assert maker.op_type == "Conv"


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        (transposed((4, 3, 3, 3), (1, 4, 5, 7), auto_pad="SAME_UPPER"), "automatic"),
        (transposed((4, 3, 3, 3), (1, 4, 5, 7), output_shape=[8, 9]), "output_shape"),
        (transposed((4, 3, 2, 2, 2), (1, 4, 5, 5, 5)), "more than two"),
        (transposed((4, 3, 3, 3), (1, 4, 5, 7), strides=[2, 2], dilations=[2, 2]), "dilations"),
        (transposed((4, 3, 2, 2), ("n", 4, "h", "w"), strides=[2, 2]), "not known"),
        (transposed((4, 3, 2, 2), (1, 4, 5, 7), pads=[2, 2, 2, 2]), "wider than its kernel"),
    ],
)  # fmt: skip
def test_other_transposed_convolutions_are_left_alone(original: Model, reason: str) -> None:
    context = Context()
    assert rewrite(rules=["convtranspose-as-conv"])(original, context) is original
    assert [left.layer for left in context.left_alone] == ["deconv"]
    assert reason in context.left_alone[0].reason


SIZED: dict[str, Model] = {
    "uneven": transposed((4, 3, 3, 3), (1, 4, 5, 7), strides=[2, 2], pads=[0, 1, 1, 0]),
    "uneven, free sizes": transposed((4, 3, 3, 3), (1, 4, "h", "w"), pads=[0, 1, 1, 0]),
    "upper": transposed((4, 3, 3, 3), (1, 4, 5, 7), strides=[2, 2], auto_pad="SAME_UPPER"),
    "lower": transposed((4, 3, 3, 3), (1, 4, 5, 7), strides=[2, 2], auto_pad="SAME_LOWER"),
    "of a size": transposed((4, 3, 3, 3), (1, 4, 5, 7), strides=[2, 2], output_shape=[10, 14]),
    "dilated": transposed((4, 2, 3, 3), (1, 4, 5, 7), dilations=[2, 3], group=2),
    "dilated, automatic": transposed(
        (4, 3, 3, 3), (1, 4, 5, 7), dilations=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "1-D": transposed((4, 3, 3), (2, 4, 5), strides=[2], pads=[1, 0], output_padding=[1]),
    "1-D, dilated": transposed((4, 3, 3), (2, 4, 5), dilations=[2], auto_pad="SAME_LOWER"),
}


@pytest.mark.parametrize("case", SIZED)
def test_a_plain_transposed_convolution_is_right_on_every_engine(runner: Runner, case: str) -> None:
    assert_plain(runner, SIZED[case])


@st.composite
def any_transposed(draw: st.DrawFn) -> Model:
    n, groups = draw(st.integers(1, 2)), draw(st.integers(1, 2))

    def each(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=n, max_size=n))

    kernel, size, strides, dilations = each(1, 4), each(2, 5), each(1, 3), each(1, 2)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    extra = [draw(st.integers(0, s - 1)) for s in strides]
    padding = draw(st.sampled_from(("pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID")))
    attributes: dict[str, object] = {}
    if padding == "pads":
        most = [(r - 1) // 2 for r in reach]
        attributes["pads"] = [draw(st.integers(0, m)) for m in (*most, *most)]
    elif padding == "output_shape":
        whole = [
            s * (d - 1) + r + o for s, d, r, o in zip(strides, size, reach, extra, strict=True)
        ]
        attributes["output_shape"] = [
            w - draw(st.integers(0, r - 1)) for w, r in zip(whole, reach, strict=True)
        ]
    else:
        attributes["auto_pad"] = padding
    return transposed(
        (2 * groups, 3, *kernel), (draw(st.integers(1, 2)), 2 * groups, *size), strides=strides,
        dilations=dilations, group=groups, output_padding=extra, **attributes,
    )  # fmt: skip


@given(any_transposed())
def test_any_transposed_convolution_is_right_on_every_engine_if_plain(
    runner: Runner, original: Model
) -> None:
    assert_plain(runner, original)


def assert_plain(runner: Runner, original: Model) -> None:
    context = Context()
    changed = rewrite(rules=["convtranspose-plain"])(original, context)
    assert_alike(runner, original, changed, () if context.left_alone else ENGINES.values())
    if context.left_alone:
        assert "larger than what it computes" in context.left_alone[0].reason
        return
    assert rewrite(rules=["convtranspose-plain"])(changed) is changed
