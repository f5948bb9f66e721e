"""The tensors before the last operators, with the real engines: no fault hides behind them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from verifying import judged, model

from modelcheck.data import from_arrays
from modelcheck.judge import Limits, Outcome, parse_limit
from modelcheck.model import Model
from modelcheck.recipe import TargetSettings
from modelcheck.targets import Target
from modelcheck.transforms import Claim, fp16
from modelcheck.verification import Verification

pytestmark = pytest.mark.long

KIND = "before saturation"
CLASSES = 4


def node(op: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], **attributes)


def net(*end: onnx.NodeProto, bias: bool = True, factor: float = 1.0, scores: str = "s") -> Model:
    """Traffic signs: scores of thousands 's' with a bias, then the nodes of the end, to 'y'."""
    random = np.random.default_rng(3)
    w = 300 * random.standard_normal((CLASSES, 3, 3, 3)).astype(np.float32)
    w[2] *= np.float32(factor)
    b = np.array([9000, 0, 300, -500], np.float32)
    nodes = [
        node("Conv", ["x", "w", "b"], "c", name="conv"),
        node("GlobalAveragePool", ["c"], "p"),
        node("Flatten", ["p"], scores),
        *end,
    ]
    if not bias:
        b = np.array([9000, 0, 0, -500], np.float32)
    indices = end[-1].op_type == "ArgMax"
    dtype = TensorProto.INT64 if indices else TensorProto.FLOAT
    out = [1, 1] if indices else [1, CLASSES]
    return model(nodes, [1, 3, 8, 8], {"w": w, "b": b}, out=out, dtype=dtype)


def softmax(**kw: object) -> Model:
    return net(node("Softmax", ["s"], "y", axis=1), **kw)  # type: ignore[arg-type]


def verdict(original: Model, candidate: Model, **changes: object) -> Verification:
    x = np.random.default_rng(0).uniform(0, 1, (24, 3, 8, 8)).astype(np.float32)
    samples = from_arrays({"x": x}, original.signature)
    return judged(original, candidate, samples=samples, **changes)


def outcomes(result: Verification) -> list[dict[str, Outcome]]:
    return [{check.kind: check.outcome for check in target.checks} for target in result.targets]


def limited(text: str) -> tuple[TargetSettings, ...]:
    return tuple(
        TargetSettings(Target.parse(f"cpu:{engine}"), Limits(parse_limit(text)))
        for engine in ("new", "classic")
    )


@pytest.mark.parametrize(
    "ends",
    [
        [node("Softmax", ["s"], "y", axis=1)],
        [node("Sigmoid", ["s"], "y")],
        [node("Softmax", ["s"], "z", axis=1), node("Transpose", ["z"], "y", perm=[0, 1])],
        [node("Softmax", ["s"], "z", axis=1), node("ArgMax", ["z"], "y", axis=1)],
        [node("ArgMax", ["s"], "y", axis=1)],
    ],
    ids=lambda ends: "+".join(n.op_type for n in ends),
)
def test_a_missing_bias_behind_a_saturated_end_fails_the_exact_claim(
    ends: list[onnx.NodeProto],
) -> None:
    whole = net(*ends)
    for found in outcomes(verdict(whole, net(*ends, bias=False))):
        assert found["equivalence"] is Outcome.PASS
        assert found[KIND] is Outcome.FAIL
    assert verdict(whole, whole).outcome is Outcome.PASS


def test_a_channel_scaled_by_a_thousandth_is_seen_before_saturation() -> None:
    for found in outcomes(verdict(softmax(), softmax(factor=1.001))):
        assert (found["equivalence"], found[KIND]) == (Outcome.PASS, Outcome.FAIL)


def test_under_the_other_claims_no_pass_rests_on_saturated_outputs_alone() -> None:
    """Softmax is a step here: without its bias a class has other scores, and the same outputs."""
    for claim, outcome in (
        (Claim.PRECISION, Outcome.FAIL),
        (Claim.LOSSY, Outcome.INCONCLUSIVE),
    ):
        broken = softmax(factor=-1.0)
        for found in outcomes(verdict(softmax(), broken, claim=claim)):
            assert found["equivalence"] is Outcome.PASS
            assert found[KIND] is outcome
        assert verdict(softmax(), softmax(), claim=claim).outcome is Outcome.PASS


def test_classes_that_agree_are_what_was_asked_for() -> None:
    targets = limited("min-agreement=0.85")
    result = verdict(softmax(), softmax(factor=-1.0), claim=Claim.LOSSY, targets=targets)
    assert result.outcome is Outcome.PASS
    assert all(KIND not in found for found in outcomes(result))


def test_a_rewrite_that_drops_the_softmax_before_an_argmax_is_accepted() -> None:
    whole = net(node("Softmax", ["s"], "z", axis=1), node("ArgMax", ["z"], "y", axis=1))
    short = net(node("ArgMax", ["s"], "y", axis=1))
    assert verdict(whole, short).outcome is Outcome.PASS
    wrong = net(node("ArgMax", ["s"], "y", axis=1), bias=False)
    assert all(found[KIND] is Outcome.FAIL for found in outcomes(verdict(whole, wrong)))


def test_an_end_that_cannot_be_compared_is_told_and_is_no_evidence() -> None:
    """The candidate computes its steps without any such operator: nobody can look before them."""
    whole = net(node("Sigmoid", ["s"], "y"))
    end = [
        node("Neg", ["s"], "n"),
        node("Exp", ["n"], "e"),
        node("Add", ["e", "e"], "ee"),
        node("Sub", ["ee", "e"], "e1"),
        node("Sum", ["e1"], "e2"),
        node("Softplus", ["s"], "sp"),
        node("Sub", ["s", "sp"], "log"),
        node("Exp", ["log"], "y"),
    ]
    for target in verdict(whole, net(*end)).targets:
        found = {check.kind: check for check in target.checks}
        if found["equivalence"].outcome is Outcome.PASS:
            assert found[KIND].outcome is Outcome.INCONCLUSIVE
            assert "the original ends in Sigmoid" in found[KIND].message


def test_heads_of_several_sigmoids_are_paired_whatever_their_order() -> None:
    """box * class is class * box; the tensors are renamed, so only their values tell them apart."""

    def heads(first: str, second: str, *, factor: float = 1.0) -> Model:
        random = np.random.default_rng(3)
        weights = {
            "a": 200 * random.standard_normal((4, 3, 1, 1)).astype(np.float32),
            "b": 200 * random.standard_normal((4, 3, 1, 1)).astype(np.float32),
        }
        weights["b"][1] *= np.float32(factor)
        nodes = [
            node("Conv", ["x", first], "first"),
            node("Conv", ["x", second], "second"),
            node("Sigmoid", ["first"], "sf"),
            node("Sigmoid", ["second"], "ss"),
            node("Mul", ["sf", "ss"], "y"),
        ]
        return model(nodes, [1, 3, 8, 8], weights, out=[1, 4, 8, 8])

    renamed = heads("b", "a").to_proto()
    for n in renamed.graph.node:
        n.input[:] = [f"r/{i}" if i in {"first", "second", "sf", "ss"} else i for i in n.input]
        n.output[:] = [o if o == "y" else f"r/{o}" for o in n.output]
    assert verdict(heads("a", "b"), Model.from_proto(renamed)).outcome is Outcome.PASS
    assert verdict(heads("a", "b"), heads("a", "b", factor=1.01)).outcome is Outcome.FAIL


def test_half_floats_are_looked_behind_too() -> None:
    whole = softmax()
    for found in outcomes(verdict(whole, fp16()(whole), claim=Claim.PRECISION)):
        assert (found["equivalence"], found[KIND]) == (Outcome.PASS, Outcome.PASS)


def test_tensors_of_one_name_and_other_shapes_are_no_fault() -> None:
    """The candidate has its scores as (2, 2), under the name that the original's (1, 4) have."""
    shapes = {"square": [2, 2], "row": [1, 4]}
    constants = [
        node("Constant", [], name, value=numpy_helper.from_array(np.array(shape, np.int64)))
        for name, shape in shapes.items()
    ]
    turned = net(
        *constants,
        node("Reshape", ["s0", "square"], "s"),
        node("Sigmoid", ["s"], "z"),
        node("Reshape", ["z", "row"], "y"),
        scores="s0",
    )
    for found in outcomes(verdict(net(node("Sigmoid", ["s"], "y")), turned)):
        assert found["equivalence"] is Outcome.PASS
        assert found[KIND] is Outcome.INCONCLUSIVE
