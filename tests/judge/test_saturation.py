"""What stands before a saturated output: when it counts, and what it means under each claim."""

from dataclasses import replace

import numpy as np
import pytest
from judge_cases import agree, judge, make_case, outputs, rounded

from modelcheck.judge import Outcome, judge_equivalence, parse_limit
from modelcheck.judge.saturation import is_blind, judge_before_saturation, rests_on_agreement

BEHIND = {"y": "y"}


def looked(claim, before, *, out_noise=0.0, limit=None, samples=20, **options):
    """The check on scores `before` = (original, candidate), the outputs differing by a little."""
    original, candidate = before
    reference = outputs(5, (samples, 6))
    declared = {} if limit is None else {"limit": parse_limit(limit)}
    evidence = judge_equivalence(
        make_case(claim, reference, reference, rounded(reference, by=out_noise), **declared)
    ).evidence
    case = make_case(claim, original, original, candidate, **declared)
    case = replace(case, **options)
    return judge_before_saturation(case, evidence, BEHIND)


def scores(*, missing_bias=0.0, seed=1, samples=20):
    original = 10 * outputs(seed, (samples, 6))
    candidate = original.copy()
    candidate[:, 2] += np.float32(missing_bias)
    return original, candidate


@pytest.mark.parametrize("claim", ["exact", "precision", "lossy"])
def test_what_is_equal_before_saturation_passes(claim):
    assert looked(claim, scores()).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [
        ("exact", Outcome.FAIL),
        ("precision", Outcome.FAIL),
        ("lossy", Outcome.INCONCLUSIVE),
    ],
)
def test_a_missing_bias_behind_equal_outputs_never_passes(claim, outcome):
    check = looked(claim, scores(missing_bias=20.0), total_agreement={})
    assert check.outcome is outcome
    assert "saturate" in check.message
    assert "'y'" in check.message


def test_what_is_only_squeezed_is_left_to_the_outputs():
    """Scores at 18 dB behind outputs at 30: a sigmoid does that, and its user sees the outputs."""
    check = looked("lossy", scores(missing_bias=3.0), out_noise=0.02, total_agreement={})
    assert check.outcome is Outcome.PASS


def test_scores_a_little_below_the_limit_behind_equal_outputs_are_no_alarm():
    """At 20 dB, where 25 are asked for: what int8 leaves of large scores."""
    original = 10 * outputs(1, (20, 6))
    candidate = rounded(original, by=0.1 / np.abs(original).max() * original.std() * np.sqrt(3))
    assert looked("lossy", (original, candidate), total_agreement={}).outcome is Outcome.PASS
    assert looked("precision", (original, candidate)).outcome is Outcome.FAIL


def test_proven_agreement_counts_before_saturation_too():
    original, candidate = scores(samples=320)
    candidate = candidate - np.float32(80)
    agreement = agree(original, candidate)
    assert looked("lossy", (original, candidate), samples=320).outcome is Outcome.PASS
    case = make_case("lossy", original, original, candidate)
    assert case.total_agreement == agreement
    assert rests_on_agreement(case)
    assert not rests_on_agreement(make_case("lossy", *3 * [original[:20]]))
    assert not rests_on_agreement(make_case("exact", *3 * [original]))


def test_the_exact_claim_sees_one_channel_scaled_by_a_thousandth():
    original, candidate = scores()
    candidate[:, 2] *= np.float32(1.001)
    assert looked("exact", (original, candidate)).outcome is Outcome.FAIL
    assert looked("lossy", (original, candidate), limit="max-error=auto").outcome is Outcome.FAIL


def test_a_target_that_strays_from_the_reference_there_fails_no_candidate_that_does_not():
    original, candidate = scores()
    reference = rounded(original, by=1e-3)
    evidence = judge("exact", original, original, original).evidence
    same = make_case("exact", reference, original, original)
    assert judge_before_saturation(same, evidence, BEHIND).outcome is Outcome.PASS
    candidate[:, 2] += 1
    other = make_case("exact", reference, original, candidate)
    assert judge_before_saturation(other, evidence, BEHIND).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("operator", "flat", "steep"),
    [
        ("Softmax", [1.0, 1e-15], [0.7, 0.3]),
        ("Sigmoid", [1e-9, 1.0], [1e-9, 0.01]),
        ("LogSoftmax", [0.0, -40.0], [-0.3, -1.4]),
        ("Tanh", [1.0, -1.0], [1.0, 0.5]),
        ("Clip", [0.0, 6.0, 6.0], [0.0, 3.0, 6.0]),
    ],
)
def test_an_output_is_blind_where_its_operator_was_flat_all_over(operator, flat, steep):
    assert is_blind(operator, np.array(flat, np.float32))
    assert not is_blind(operator, np.array(steep, np.float32))


def test_the_place_of_a_maximum_tells_nothing_of_its_size():
    assert is_blind("ArgMax", np.array([3, 1]))
