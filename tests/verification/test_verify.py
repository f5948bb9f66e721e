"""A verification from plan to verdict, with real processes: outcomes and blame."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper
from verifying import EQUIVALENCE, average, conv, judged, model

from modelcheck.data import from_arrays, open_samples
from modelcheck.errors import InvalidInput
from modelcheck.judge import Blame, Limits, Outcome, parse_limit
from modelcheck.model import Model, load
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Workspace
from modelcheck.recipe import Baseline, Judging, TargetSettings
from modelcheck.targets import Target, TargetSession
from modelcheck.transforms import Claim, prune_weights
from modelcheck.verification import Plan, Progressed, verify
from modelcheck.verification.lane import Files, Lane

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def test_a_model_equals_itself_on_every_engine() -> None:
    net = load(FIXTURES / "digits_resnet.onnx")
    result = judged(net, net)
    assert result.outcome is Outcome.PASS
    for target in result.targets:
        assert target.original is not None
        assert target.original.proven
        assert target.original.actual == f"cpu {target.settings.target.engine}"
        assert {check.kind for check in target.checks} == {"equivalence", "batch", "concurrent"}


def test_nothing_passes_because_both_are_wrong_alike() -> None:
    """Classic gives a wrong average where padding counts; the identity is blamed on the target."""
    net = conv(average(include_pad=True))
    result = judged(net, net)
    new, classic = (target.checks[0] for target in result.targets)
    assert new.outcome is Outcome.PASS
    assert (classic.outcome, classic.blame) == (Outcome.FAIL, Blame.TARGET)


def test_a_candidate_that_repairs_the_target_passes() -> None:
    net = conv(average(include_pad=True))
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    pad = helper.make_node("Pad", ["c", "pads"], ["p"])
    pool = helper.make_node("AveragePool", ["p"], ["y"], kernel_shape=[3, 3], strides=[1, 1])
    w = net.weights["w"]
    first = helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1])
    repaired = model([first, pad, pool], [1, 3, 8, 8], {"w": w, "pads": pads}, out=[1, 4, 8, 8])
    check = judged(net, repaired, targets=("cpu:classic",)).checks[0]
    assert check.outcome is Outcome.PASS
    assert "repairs" in check.message


def test_a_target_that_cannot_run_the_original_is_unsupported_and_blamed() -> None:
    rank_five = model(
        [helper.make_node("Relu", ["x"], ["y"])], [1, 2, 3, 4, 5], {}, out=[1, 2, 3, 4, 5]
    )
    unknown_to_cv2 = model([helper.make_node("Det", ["x"], ["y"])], [1, 4, 4], {}, out=[1])
    for net in (rank_five, unknown_to_cv2):
        for target in judged(net, net).targets:
            if target.outcome is Outcome.PASS:
                continue  # an engine of this OpenCV may have learnt it
            assert target.outcome is Outcome.UNSUPPORTED, target.checks
            assert target.checks[-1].blame is Blame.TARGET


def test_a_candidate_that_does_not_run_where_the_original_does_fails() -> None:
    net = model([helper.make_node("Relu", ["x"], ["y"])], [1, 4, 4], {}, out=[1, 4, 4])
    bad = model(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Unique", ["r"], ["u"]),
            helper.make_node("ReduceSum", ["u"], ["s"], keepdims=0),
            helper.make_node("Add", ["r", "s"], ["y"]),
        ],
        [1, 4, 4], {}, out=[1, 4, 4],
    )  # fmt: skip
    for target in judged(net, bad).targets:
        failed = [check for check in target.checks if check.outcome is Outcome.FAIL]
        assert [check.blame for check in failed] == [Blame.TRANSFORM]


def test_a_hang_is_an_outcome_of_its_target() -> None:
    """A forward that takes longer than its time is killed, and the target is blamed."""
    names = ["x", *(f"c{i}" for i in range(39)), "y"]
    nodes = [helper.make_node("Conv", [a, "w"], [b], pads=[1] * 4) for a, b in pairwise(names)]
    shape: list[object] = [1, 64, 256, 256]
    weights = {"w": np.full((64, 64, 3, 3), 1e-3, np.float32)}
    slow = model(nodes, shape, weights, out=shape)
    session = TargetSession(
        Target.parse("cpu:new:threads=1"), name="slow", limits=ChildLimits(request_s=0.3)
    )
    with Workspace() as workspace, session:
        write_private(slow, workspace.path / "slow.onnx")
        lane = Lane(
            TargetSettings(session.target),
            Files(workspace.path / "slow.onnx", None, ("y",)),
            ChildLimits(),
        )
        session.load(lane.files.original, ["y"])
        lane.original = session
        assert lane.forward({"x": np.ones(shape, np.float32)}) is None  # type: ignore[call-overload]
    assert lane.failure is not None
    assert lane.failure.outcome is Outcome.UNSUPPORTED
    assert "no answer within" in lane.failure.message


def test_nan_in_the_candidate_fails_it() -> None:
    net = load(FIXTURES / "digits_mlp.onnx")
    proto = net.to_proto()
    tensor = next(t for t in proto.graph.initializer if len(t.dims) == 2)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[3] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    result = judged(net, Model.from_proto(proto))
    for target in result.targets:
        assert target.checks[0].outcome is Outcome.FAIL
        assert target.checks[0].blame is Blame.TRANSFORM


def test_samples_are_streamed_to_every_lane_in_order() -> None:
    net = load(FIXTURES / "digits_mlp.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=30)
    plan = Plan(net, net, samples, (TargetSettings(Target()),), judging=EQUIVALENCE)
    done = [event.done for event in verify(plan) if isinstance(event, Progressed)]
    assert done[:30] == list(range(1, 31))


def test_a_speed_limit_is_judged_only_where_it_is_declared() -> None:
    net = load(FIXTURES / "digits_mlp.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=16)
    targets = (
        TargetSettings(Target.parse("cpu:new"), Limits(min_speedup=100.0)),
        TargetSettings(Target.parse("cpu:classic")),
    )
    result = judged(net, net, samples=samples, targets=targets, judging=Judging(time_budget_s=20))
    kinds = [[check.kind for check in target.checks] for target in result.targets]
    assert "speed" in kinds[0]
    assert "speed" not in kinds[1]
    speed = next(check for check in result.checks if check.kind == "speed")
    assert speed.outcome is Outcome.FAIL
    assert all(target.speed is not None for target in result.targets)


def test_the_best_baseline_is_one_engine_for_all_targets() -> None:
    net = load(FIXTURES / "digits_vit.onnx")
    judging = Judging(baseline=Baseline.BEST)
    result = judged(net, net, judging=judging)
    notes = [target.speed.note for target in result.targets if target.speed is not None]
    assert len(notes) == 2
    assert sum(note is None for note in notes) == 1


def test_limits_of_a_target_hold_there_alone() -> None:
    net = load(FIXTURES / "digits_resnet.onnx")
    pruned = prune_weights(amount=0.3)(net)
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=32)
    targets = (
        TargetSettings(Target.parse("cpu:new"), Limits(parse_limit("min-sqnr=1"))),
        TargetSettings(Target.parse("cpu:classic"), Limits(parse_limit("min-sqnr=60"))),
    )
    result = judged(net, pruned, samples=samples, targets=targets, claim=Claim.LOSSY)
    assert [t.checks[0].outcome for t in result.targets] == [Outcome.PASS, Outcome.FAIL]


@pytest.mark.parametrize("device", ["opencl", "cuda", "cpu-fp16"])
def test_a_device_that_is_not_there_is_unsupported_never_a_pass(device: str) -> None:
    net = load(FIXTURES / "digits_mlp.onnx")
    result = judged(net, net, targets=(device,))
    assert result.outcome is Outcome.UNSUPPORTED


def test_a_fault_behind_a_saturated_softmax_is_found() -> None:
    """Scores of several hundred make Softmax a step: the outputs are equal, the models are not."""

    def net(factor: float) -> Model:
        w = np.random.default_rng(3).standard_normal((4, 3, 3, 3)).astype(np.float32)
        w[2] *= factor
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
            helper.make_node("GlobalAveragePool", ["c"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Add", ["f", "offset"], ["s"]),
            helper.make_node("Softmax", ["s"], ["y"], axis=1),
        ]
        offset = np.array([900, 0, 300, -50], np.float32)
        return model(nodes, [1, 3, 8, 8], {"w": w, "offset": offset}, out=[1, 4])

    result = judged(net(1.0), net(200.0))
    for target in result.targets:
        outcomes = {check.kind: check.outcome for check in target.checks}
        assert outcomes["equivalence"] is Outcome.PASS
        assert outcomes["before saturation"] is Outcome.FAIL
    assert judged(net(1.0), net(1.0)).outcome is Outcome.PASS


def test_a_batch_is_judged_even_with_one_sample() -> None:
    """A candidate that is wrong from the fourth row on is right on every single sample."""
    net = load(FIXTURES / "digits_mlp.onnx")
    proto = net.to_proto()
    proto.graph.node[-1].output[0] = "right"
    weights = {
        "keep": (np.array([0]), np.array([3]), np.array([0])),
        "rest": (np.array([3]), np.array([9999]), np.array([0])),
    }
    for name, values in weights.items():
        for part, value in zip(("from", "to", "axis"), values, strict=True):
            tensor = numpy_helper.from_array(value.astype(np.int64), f"{name}.{part}")
            proto.graph.initializer.append(tensor)
        inputs = ["right", f"{name}.from", f"{name}.to", f"{name}.axis"]
        proto.graph.node.append(helper.make_node("Slice", inputs, [name]))
    proto.graph.node.append(helper.make_node("Neg", ["rest"], ["negated"]))
    proto.graph.node.append(helper.make_node("Concat", ["keep", "negated"], ["logits"], axis=0))
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=1)
    result = judged(net, Model.from_proto(proto), samples=samples)
    assert result.outcome in {Outcome.FAIL, Outcome.UNSUPPORTED}


def test_a_candidate_that_is_wrong_for_a_batch_of_two_only_fails() -> None:
    net = load(FIXTURES / "digits_mlp.onnx")
    proto = net.to_proto()
    proto.graph.node[-1].output[0] = "right"
    for name, value in (("zero", 0), ("two", 2), ("minus", -1.0), ("plus", 1.0)):
        dtype = np.float32 if isinstance(value, float) else np.int64
        proto.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
    for op_type, inputs, output in (
        ("Shape", ["right"], "shape"), ("Gather", ["shape", "zero"], "n"),
        ("Equal", ["n", "two"], "is_two"), ("Where", ["is_two", "minus", "plus"], "sign"),
        ("Mul", ["right", "sign"], "logits"),
    ):  # fmt: skip
        proto.graph.node.append(helper.make_node(op_type, inputs, [output]))
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=16)
    result = judged(net, Model.from_proto(proto), samples=samples, targets=("cpu:new",))
    assert [c.kind for c in result.checks if c.outcome is Outcome.FAIL] == ["batch"]


def test_outputs_that_do_not_depend_on_the_input_prove_nothing() -> None:
    """A ReLU that is dead on all samples would hide any fault before it."""

    def dead(scale: float) -> Model:
        bias = np.full((1, 4, 1, 1), -1e4, np.float32)
        weights = {"w": np.ones((4, 3, 3, 3), np.float32) * np.float32(scale), "b": bias}
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["c", "b"], ["d"]),
            helper.make_node("Relu", ["d"], ["y"]),
        ]
        return model(nodes, [1, 3, 8, 8], weights, out=[1, 4, 8, 8])

    for original, candidate in ((dead(1.0), dead(0.5)), (dead(1.0), dead(1.0))):
        result = judged(original, candidate, targets=("cpu:new",))
        assert result.outcome is Outcome.INCONCLUSIVE
        (doubt,) = [c for c in result.checks if c.outcome is not Outcome.PASS]
        assert doubt.kind == "constant outputs"


def test_a_candidate_without_one_of_the_outputs_fails() -> None:
    net = load(FIXTURES / "digits_twohead.onnx")
    proto = net.to_proto()
    del proto.graph.output[0]
    result = judged(net, Model.from_proto(proto))
    assert result.outcome is Outcome.FAIL
    assert all("has no output 'logits'" in check.message for check in result.checks)


def test_outputs_in_another_order_and_a_fixed_batch_are_warned_of() -> None:
    net = load(FIXTURES / "digits_twohead.onnx")
    proto = net.to_proto()
    outputs = list(proto.graph.output)
    del proto.graph.output[:]
    proto.graph.output.extend(reversed(outputs))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    warnings = " ".join(judged(net, Model.from_proto(proto)).warnings)
    assert "another order" in warnings
    assert "fewer shapes" in warnings


def test_labels_beyond_the_classes_are_refused() -> None:
    net = load(FIXTURES / "digits_mlp.onnx")
    x = np.zeros((4, 1, 8, 8), np.float32) + np.arange(4, dtype=np.float32)[:, None, None, None]
    samples = from_arrays({"image": x}, net.signature, labels=np.array([0, 1, 2, 10]))
    with pytest.raises(InvalidInput, match="10 classes"):
        judged(net, net, samples=samples)
