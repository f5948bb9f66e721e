"""Models on an OpenCL device: what fell back is told as a share of the work, and judged so."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcheck.data import Samples, open_samples
from modelcheck.judge import Blame, Limits, Outcome
from modelcheck.model import load
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.reference import Reference
from modelcheck.targets import FallbackLayer, Placement, Target
from modelcheck.verification import Plan, Verification, Verified, verify
from modelcheck.verification.placing import macs_by_layer, with_share

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
RESNET = FIXTURES / "digits_resnet.onnx"
MACS = {"conv": 900, "fc": 100}


def placed(*layers: tuple[str, str]) -> Placement:
    return Placement("t", "t", ("p",), tuple(FallbackLayer(*y) for y in layers), None)


def share(*layers: tuple[str, str]) -> float | None:
    return with_share(placed(*layers), MACS).fallback_share


def test_the_share_is_that_of_the_macs_by_the_names_cv2_gives() -> None:
    assert share(("onnx_node!fc", "Gemm")) == 0.1
    assert share(("onnx_node_output_0!conv", "Convolution"), ("onnx_node!fc", "Gemm")) == 1
    assert share(("onnx_node!add", "NaryEltwise")) == 0


def test_a_layer_that_multiplies_under_an_unknown_name_leaves_the_share_unknown() -> None:
    assert share(("onnx_node!other", "Gemm"), ("onnx_node!fc", "Gemm")) is None
    assert with_share(placed(("onnx_node!fc", "Gemm")), None).fallback_share is None


def test_macs_go_by_the_names_of_nodes() -> None:
    with Reference() as reference:
        macs = macs_by_layer(load(RESNET), reference, {"image": (1, 1, 8, 8)})
    assert macs is not None
    assert macs["head"] < sum(macs.values()) / 100


def judged(*targets: TargetSettings, speed: bool = False) -> Verification:
    net = load(RESNET)
    samples: Samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=8)
    checks = {CheckKind.EQUIVALENCE, *([CheckKind.SPEED] if speed else [])}
    plan = Plan(net, net, samples, targets, judging=Judging(checks=frozenset(checks)))
    *_, last = verify(plan)
    assert isinstance(last, Verified)
    return last.result


@pytest.mark.usefixtures("pocl")
class TestOpenCL:
    target = Target.parse("opencl:classic")

    def test_a_net_of_which_little_falls_back_is_judged_and_marked_partial(self) -> None:
        (found,) = judged(TargetSettings(self.target)).targets
        assert found.outcome is Outcome.PASS, found.checks
        for placement in (found.original, found.candidate):
            assert placement is not None
            assert placement.proven
            assert placement.partial
            assert placement.fallback_share is not None
            assert 0 < placement.fallback_share < 0.2

    def test_more_than_the_limit_is_unsupported_and_the_target_is_blamed(self) -> None:
        strict = TargetSettings(self.target, Limits(max_fallback=0.0))
        (found,) = judged(strict).targets
        assert found.outcome is Outcome.UNSUPPORTED
        (check,) = found.checks
        assert check.blame is Blame.TARGET
        assert "fell back in part" in check.message
        assert "head" in check.message

    def test_speed_is_not_judged_on_a_cpu_and_the_report_says_so(self) -> None:
        slow = Limits(min_speedup=0.01)
        result = judged(
            TargetSettings(self.target, slow), TargetSettings(Target(), slow), speed=True
        )
        assert [c.target for c in result.checks if c.kind == "speed"] == [Target().name]
        assert any("speed was not judged" in warning for warning in result.warnings)
        assert result.outcome is Outcome.PASS

    def test_a_limit_that_no_target_can_be_judged_by_is_no_pass(self) -> None:
        fast = TargetSettings(self.target, Limits(min_speedup=50))
        result = judged(fast, speed=True)
        (check,) = (c for c in result.checks if c.kind == "speed")
        assert check.outcome is result.outcome is Outcome.INCONCLUSIVE


def test_a_target_that_fell_back_does_not_stop_the_others() -> None:
    there, gone = judged(TargetSettings(Target()), TargetSettings(Target.parse("opencl"))).targets
    assert there.outcome is Outcome.PASS
    assert gone.outcome is Outcome.UNSUPPORTED
    assert "fell back" in gone.checks[0].message
