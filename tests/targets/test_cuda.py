"""CUDA for real: `MODELCHECK_CUDA_PYTHON=/path/to/python pytest -m cuda`.

The interpreter has an OpenCV built with CUDA (docs/cuda.md). Where there is no GPU the tests that
need one skip, and it is shown that such a build is refused in words.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from modelcheck import calibrated
from modelcheck.data import open_samples
from modelcheck.errors import Unsupported
from modelcheck.judge import Limits, Outcome
from modelcheck.model import load
from modelcheck.process import Workspace
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.searching.stopwatch import NotRun, Runner, Stopwatch, Times
from modelcheck.targets import Placement, Target, TargetSession, nvidia
from modelcheck.transforms import quantize
from modelcheck.verification import Plan, Verification, Verified, verify

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
PYTHON = os.environ.get("MODELCHECK_CUDA_PYTHON")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not PYTHON, reason="MODELCHECK_CUDA_PYTHON names no OpenCV with CUDA"),
]
needs_gpu = pytest.mark.skipif(not nvidia.devices(), reason="there is no NVIDIA GPU")
DEVICES = ("cuda", "cuda-fp16")


def target(device: str) -> Target:
    # 4.x has one engine; in 5.0 only the classic one has CUDA code.
    found = Target.parse(f"{device}:python={PYTHON}")
    with TargetSession(found, name="the test") as session:
        classic = "classic" in session.opencv().engines
    return Target.parse(f"{device}:classic:python={PYTHON}") if classic else found


def placement(device: str, model: str) -> Placement:
    net = load(FIXTURES / f"{model}.onnx")
    with TargetSession(target(device), name="the model") as session:
        session.load(FIXTURES / f"{model}.onnx", [o.name for o in net.signature.outputs])
        return session.prove({"image": np.zeros((2, 1, 8, 8), np.float32)})


def judged(device: str, limits: Limits = Limits(), **checks: bool) -> Verification:  # noqa: B008
    net = load(FIXTURES / "digits_resnet.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=64)
    kinds = frozenset({CheckKind.EQUIVALENCE, *([CheckKind.SPEED] if checks.get("speed") else [])})
    settings = (TargetSettings(target(device), limits),)
    *_, last = verify(Plan(net, net, samples, settings, judging=Judging(checks=kinds)))
    assert isinstance(last, Verified)
    return last.result


@pytest.mark.skipif(bool(nvidia.devices()), reason="there is an NVIDIA GPU")
@pytest.mark.parametrize("device", DEVICES)
class TestWithoutAGPU:
    def test_a_build_with_cuda_is_refused_in_words(self, device: str) -> None:
        with pytest.raises(Unsupported, match="no usable device") as caught:
            placement(device, "digits_resnet")
        assert caught.value.exit_code == 4
        assert "driver" in str(caught.value.remedy)

    def test_a_verification_is_unsupported(self, device: str) -> None:
        result = judged(device)
        assert result.outcome is Outcome.UNSUPPORTED
        assert "no usable device" in result.checks[0].message


@needs_gpu
@pytest.mark.parametrize("device", DEVICES)
class TestOnAGPU:
    def test_a_convolutional_net_is_proven_to_run_there(self, device: str) -> None:
        found = placement(device, "digits_resnet")
        assert found.proven
        assert any("layers on CUDA/" in proof for proof in found.proof)
        assert not found.simulated

    def test_a_model_equals_itself_there(self, device: str) -> None:
        result = judged(device)
        assert result.outcome is Outcome.PASS, [c.message for c in result.checks]

    def test_speed_is_judged_there(self, device: str) -> None:
        result = judged(device, Limits(min_speedup=0.5), speed=True)
        assert [c.kind for c in result.checks if c.kind == "speed"] == ["speed"]

    def test_a_quantized_net_does_not_pass_unseen(self, device: str) -> None:
        """OpenCV takes quantized nets off CUDA; the gate must say so, or prove the contrary."""
        net = load(FIXTURES / "digits_resnet.onnx")
        samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=64)
        from modelcheck.process import Workspace
        from modelcheck.reference import open_reference
        from modelcheck.reference.activations import ReferenceActivations
        from modelcheck.transforms import Context

        with Workspace() as workspace, open_reference(net, workspace) as reference:
            context = Context(activations=ReferenceActivations(reference, samples, workspace))
            small = quantize(form="qoperator")(net, context)
        *_, last = verify(Plan(net, small, samples, (TargetSettings(target(device)),)))
        assert isinstance(last, Verified)
        assert last.result.outcome is not Outcome.PASS


@needs_gpu
def test_a_race_goes_on_after_an_int8_net_that_leaves_cuda() -> None:
    """OpenCV's log says so for the whole process, and whatever is loaded next would be blamed."""
    net = load(FIXTURES / "digits_resnet.onnx")
    samples = open_samples(FIXTURES / "digits_calibration.npz", net.signature, count=16)
    with calibrated(samples) as context:
        int8 = quantize(form="qoperator")(net, context)
    image = {"image": np.zeros((2, 1, 8, 8), np.float32)}
    with Workspace() as workspace, Stopwatch(target("cuda"), workspace, None) as watch:
        runners = {"before": Runner(net), "int8": Runner(int8), "after": Runner(net)}
        found = watch.race(runners, [image], rounds=5, seconds=60)
        assert found["int8"] == NotRun(
            "fell back to the CPU: OpenCV runs quantized nets on the CPU only"
        )
        assert isinstance(found["before"], Times)
        assert isinstance(found["after"], Times)
        assert isinstance(watch.outputs(Runner(int8), [image]), NotRun)
        assert not isinstance(watch.outputs(Runner(net), [image]), NotRun)
