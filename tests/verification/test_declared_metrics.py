"""Declared metrics on the real engines: what passes, what fails, and what is nobody's verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelcheck.data import Samples, from_arrays, open_samples
from modelcheck.errors import UsageError
from modelcheck.judge import Blame, Check, Limits, Outcome
from modelcheck.judge.metrics import MetricEvidence, of_function
from modelcheck.model import Model, load
from modelcheck.recipe import CheckKind, Judging, TargetSettings, parse_metric
from modelcheck.targets import Target
from modelcheck.transforms import Claim, prune_weights
from modelcheck.verification import Plan, Verified, verify

pytestmark = pytest.mark.long

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
EQUIVALENCE = Judging(checks=frozenset({CheckKind.EQUIVALENCE}))
DIGITS = ("top1:min=0.9", "kl:max=0.05", "drop:max=10%", "flips:max=50%")


@pytest.fixture(scope="module")
def resnet() -> Model:
    return load(FIXTURES / "digits_resnet.onnx")


@pytest.fixture(scope="module")
def samples(resnet: Model) -> Samples:
    return open_samples(FIXTURES / "digits_test.npz", resnet.signature, count=160)


def checks(
    original: Model, candidate: Model | None, samples: Samples, *metrics: object
) -> dict[str, Check]:
    specs = tuple(parse_metric(m) if isinstance(m, str) else of_function(m, 0.9) for m in metrics)
    targets = (TargetSettings(Target.parse("cpu:new:threads=1"), Limits(metrics=specs)),)
    plan = Plan(original, candidate, samples, targets, Claim.LOSSY, EQUIVALENCE)
    *_, last = verify(plan)
    assert isinstance(last, Verified)
    return {check.kind: check for check in last.result.checks}


def test_a_model_passes_every_metric_beside_itself(resnet: Model, samples: Samples) -> None:
    found = checks(resnet, resnet, samples, *DIGITS)
    for text in DIGITS:
        check = found[f"metric {text.partition(':')[0]}"]
        assert check.outcome is Outcome.PASS, check.message
        assert isinstance(check.evidence, MetricEvidence)
        assert check.evidence.outputs == ("logits",)
    assert found["equivalence"].outcome is Outcome.PASS


def test_a_ruined_model_fails_them_and_is_blamed(resnet: Model, samples: Samples) -> None:
    found = checks(resnet, prune_weights(amount=0.97)(resnet), samples, *DIGITS)
    failed = {kind: c for kind, c in found.items() if kind.startswith("metric")}
    for check in failed.values():
        assert check.outcome is Outcome.FAIL, check.message
        assert check.blame is Blame.TRANSFORM
    # The metrics stand in for the default limit, which would fail it once more.
    assert found["equivalence"].outcome is Outcome.PASS


def test_an_original_alone_is_judged_too(resnet: Model, samples: Samples) -> None:
    found = checks(resnet, None, samples, "top1:min=0.9", "drop:max=10%")
    assert {found[f"metric {k}"].outcome for k in ("top1", "drop")} == {Outcome.PASS}


def test_an_output_that_no_metric_looks_at_is_held_to_the_default(samples: Samples) -> None:
    net = load(FIXTURES / "digits_twohead.onnx")
    names = [spec.name for spec in net.signature.outputs]
    ruined = prune_weights(amount=0.97)(net)
    found = checks(net, ruined, samples, f"top1:output={names[0]},min=0.05")
    assert found["equivalence"].outcome is Outcome.FAIL
    assert f"output '{names[1]}'" in found["equivalence"].message


def test_synthetic_inputs_prove_no_metric(resnet: Model) -> None:
    synthetic = open_samples(None, resnet.signature, count=160)
    check = checks(resnet, resnet, synthetic, "kl:max=0.05")["metric kl"]
    assert (check.outcome, check.blame) == (Outcome.INCONCLUSIVE, Blame.DATA)
    assert "ynthetic inputs cannot prove a metric" in check.message


def test_samples_that_are_all_alike_prove_nothing(resnet: Model) -> None:
    one = np.random.default_rng(0).random((1, 1, 8, 8))
    alike = np.concatenate([one + 1e-4 * i for i in range(80)]).astype(np.float32)
    name = resnet.signature.inputs[0].name
    found = checks(resnet, resnet, from_arrays({name: alike}, resnet.signature), "top1:min=0.9")
    assert found["metric top1"].outcome is Outcome.INCONCLUSIVE
    assert "one answer for every input" in found["metric top1"].message


@pytest.mark.parametrize(
    ("metric", "what"),
    [
        ("top1:output=logit,min=0.9", "there is no output 'logit'\n  Did you mean 'logits'?"),
        ("boxes:boxes=b,scores=logits,min=0.9", "there is no output 'b'"),
        ("segmentation:min=0.9", "does not fit"),
        ("ctc:max=0.1", "does not fit"),
        ("ssim:min=0.9", "does not fit"),
        ("boxes:output=logits,min=0.9", "does not fit"),
    ],
)
def test_a_metric_that_does_not_fit_the_model_is_a_usage_error(
    resnet: Model, samples: Samples, metric: str, what: str
) -> None:
    with pytest.raises(UsageError) as caught:
        checks(resnet, resnet, samples, metric)
    assert str(caught.value).startswith(f"metric {metric.partition(':')[0]}")
    assert what in str(caught.value)


def test_a_drop_needs_labels(resnet: Model, samples: Samples) -> None:
    name = resnet.signature.inputs[0].name
    unlabelled = from_arrays({name: np.zeros((3, 1, 8, 8), np.float32)}, resnet.signature)
    with pytest.raises(UsageError, match="wants labels"):
        checks(resnet, resnet, unlabelled, "drop:max=10%")


def test_one_of_several_outputs_has_to_be_named(samples: Samples) -> None:
    net = load(FIXTURES / "digits_twohead.onnx")
    with pytest.raises(UsageError, match="the model has several"):
        checks(net, net, samples, "top1:min=0.9")


def test_a_callable_judges_what_it_reads(resnet: Model, samples: Samples) -> None:
    def same_top(expected, actual):
        return float(expected["logits"].argmax() == actual["logits"].argmax())

    assert checks(resnet, resnet, samples, same_top)["metric same_top"].outcome is Outcome.PASS
    ruined = prune_weights(amount=0.97)(resnet)
    assert checks(resnet, ruined, samples, same_top)["metric same_top"].outcome is Outcome.FAIL
