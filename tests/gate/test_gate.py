"""The gate under the exact claim, with the real engines: planted faults out, rewrites in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from modelcheck.data import open_samples
from modelcheck.judge import Blame, Outcome
from modelcheck.model import Model, load
from modelcheck.process import Workspace
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.reference import ReferenceActivations, open_reference
from modelcheck.targets import Target
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.testing.faults import FAULTS
from modelcheck.testing.planting import Rewriting
from modelcheck.transforms import Context, quantize
from modelcheck.verification import Plan, Verification, Verified, verify
from modelcheck.verification.variations import channels_permuted, sums_split

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODELS = ("digits_resnet", "digits_depthwise", "digits_twohead")
# AUTO takes one of the two, and is judged in tests/verification.
TARGETS = tuple(TargetSettings(Target.parse(f"cpu:{e}:threads=1")) for e in ("new", "classic"))


@cache
def original(name: str) -> Model:
    return load(FIXTURES / f"{name}.onnx")


@cache
def quantized() -> Model:
    net = original("digits_resnet")
    samples = open_samples(FIXTURES / "digits_calibration.npz", net.signature, count=16)
    with Workspace() as workspace, open_reference(net, workspace) as reference:
        activations = ReferenceActivations(reference, samples, workspace)
        return quantize(form="qdq").apply(net, Context(activations=activations))


def judged(net: Model, candidate: Model) -> Verification:
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=32)
    judging = Judging(checks=frozenset({CheckKind.EQUIVALENCE}))
    *_, last = verify(Plan(net, candidate, samples, TARGETS, judging=judging))
    assert isinstance(last, Verified)
    return last.result


def made(number: int, rewriting: Rewriting) -> tuple[Model, Model]:
    """A model that has what the rewriting needs, and what became of it; the models take turns."""
    for turn in range(len(MODELS)):
        net = original(MODELS[(number + turn) % len(MODELS)])
        candidate = rewriting(net, np.random.default_rng(5))
        if candidate is not None:
            return net, candidate
    pytest.skip("no fixture has what it needs; benchmarks/trust_equivalence.py has real models")


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda n: FAULTS[n].name)
def test_a_planted_fault_is_rejected_and_blamed_on_the_candidate(number: int) -> None:
    for target in judged(*made(number, FAULTS[number].plant)).targets:
        assert target.outcome is Outcome.FAIL, target.checks
        assert {c.blame for c in target.checks if c.outcome is Outcome.FAIL} == {Blame.TRANSFORM}


@pytest.mark.parametrize("number", range(len(EQUIVALENTS)), ids=lambda n: EQUIVALENTS[n].name)
def test_an_equivalent_rewrite_is_accepted(number: int) -> None:
    result = judged(*made(number, EQUIVALENTS[number].rewrite))
    assert result.outcome is Outcome.PASS, [check.message for check in result.checks]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_a_thousandth_in_one_channel_of_a_quantized_net_is_rejected(seed: int) -> None:
    """Its layers are int8: the scale of one channel grows, and roundings go the other way."""
    net = quantized()
    proto = net.to_proto()
    scales = [t for t in proto.graph.initializer if t.name.endswith("weight.scale")]
    tensor = scales[seed % len(scales)]
    values = numpy_helper.to_array(tensor).copy()
    values[int(np.argmax(values))] *= np.float32(1.001)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for target in judged(net, Model.from_proto(proto)).targets:
        assert target.outcome is Outcome.FAIL


@pytest.mark.parametrize("form", [channels_permuted, sums_split])
def test_another_form_of_a_quantized_net_is_accepted(
    form: Callable[[Model, int], Model | None],
) -> None:
    net = quantized()
    other = form(net, 11)
    assert other is not None
    result = judged(net, other)
    assert result.outcome is Outcome.PASS, [check.message for check in result.checks]
