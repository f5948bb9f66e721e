"""Planted faults fail and are blamed rightly, equivalent candidates pass, and messages help."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_cases import (
    FAULTS,
    FLOOR,
    SEEDS,
    compare,
    flip_channel,
    judge,
    make_case,
    move_padding,
    outputs,
    put_nan,
    rounded,
    swap_channels,
)

from modelcheck.judge import CLAIMS, Blame, Comparison, EquivalenceCase, Outcome, judge_equivalence


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_fail_under_claim_exact_and_the_transform_is_blamed(fault):
    reference = outputs()
    original = rounded(reference)
    candidate = original.copy()
    fault(candidate)
    check = judge("exact", reference, original, candidate)
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)
    assert "channel 3" in check.message or fault in (move_padding, swap_channels)


@pytest.mark.parametrize("fault", [flip_channel, swap_channels, put_nan, move_padding])
@pytest.mark.parametrize("claim", ["precision", "lossy"])
def test_gross_faults_fail_under_every_claim(fault, claim):
    reference = outputs()
    candidate = reference.copy()
    fault(candidate)
    check = judge(claim, reference, rounded(reference), candidate)
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)


@given(SEEDS, st.sampled_from(CLAIMS), st.floats(-10, 10))
def test_rounding_passes_under_every_claim(seed, claim, log_scale):
    reference = outputs(seed, (16, 5)) * np.float32(10**log_scale)
    check = judge(claim, reference, rounded(reference, 1), rounded(reference, 2))
    assert (check.outcome, check.blame) == (Outcome.PASS, Blame.NONE)


@pytest.mark.parametrize("fault", [flip_channel, swap_channels, move_padding, put_nan])
@pytest.mark.parametrize("claim", CLAIMS)
def test_nothing_passes_because_both_are_wrong_alike(fault, claim):
    reference = outputs()
    wrong = reference.copy()
    fault(wrong)
    check = judge(claim, reference, wrong, wrong.copy())
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TARGET)
    assert "original itself" in check.message


@pytest.mark.parametrize("fault", [flip_channel, put_nan])
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_right_candidate_of_a_wrong_original_repairs_the_target(fault, claim):
    reference = outputs()
    wrong = reference.copy()
    fault(wrong)
    check = judge(claim, reference, wrong, rounded(reference))
    assert check.outcome is Outcome.PASS
    assert check.evidence.repairs_target
    assert "repairs the target" in check.message


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_model_alone_is_judged_against_the_reference_and_blames_the_target(claim):
    reference = outputs()
    assert judge(claim, reference, rounded(reference), None).outcome is Outcome.PASS
    wrong = reference.copy()
    flip_channel(wrong)
    check = judge(claim, reference, wrong, None)
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TARGET)


def test_exact_allows_the_target_its_own_error_but_the_transform_only_noise():
    reference = outputs()
    original = rounded(reference, 1, by=5e-5)  # such as Winograd: below 1e-4
    assert judge("exact", reference, original, rounded(original, 2)).outcome is Outcome.PASS
    check = judge("exact", reference, original, rounded(reference, 3, by=1e-5))
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)
    assert "from the original there" in check.message


# -- structure -----------------------------------------------------------------------------


def test_a_missing_output_or_another_shape_or_dtype_fails():
    x = outputs()[:, :, 0, 0]
    as_int = (10 * x).astype(np.int64)
    case = make_case("exact", as_int, as_int, as_int)
    floats = compare(as_int, as_int.astype(np.float32))
    other_shape = compare(as_int, as_int[:, :, None])
    missing = Comparison(["y"])
    missing.update({"y": x}, {}, 0)
    for total in (floats, other_shape, missing.result()):
        check = judge_equivalence(replace(case, total=total))
        assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)
        both = judge_equivalence(replace(case, total=total, target_drift=total))
        if total is floats:  # OpenCV 4.x returns float32 for every output
            assert both.outcome is Outcome.PASS
            assert "another dtype" in both.message
        else:
            assert (both.outcome, both.blame) == (Outcome.FAIL, Blame.TARGET)


def test_every_output_must_hold_and_the_faulty_one_is_named():
    good, bad = outputs(0), outputs(1)
    flipped = bad.copy()
    flip_channel(flipped)
    total, drift = Comparison(["boxes", "scores"]), Comparison(["boxes", "scores"])
    for sample in range(20):
        expected = {"boxes": good[sample][None], "scores": bad[sample][None]}
        drift.update(expected, expected, sample)
        total.update(expected, {**expected, "scores": flipped[sample][None]}, sample)
    for claim in CLAIMS:
        case = EquivalenceCase(
            "cpu new", claim, drift.result(), total.result(), total.result(), 20, noise_floor=FLOOR
        )
        check = judge_equivalence(case)
        assert check.outcome is Outcome.FAIL
        assert "output 'scores'" in check.message
        assert "boxes" not in check.message


# -- the message ---------------------------------------------------------------------------


@given(SEEDS, st.sampled_from(CLAIMS), st.floats(-8, 0), st.integers(0, 20), st.booleans())
def test_every_message_says_where_what_and_what_to_do(seed, claim, step, samples, synthetic):
    reference = outputs(seed, (samples, 6))
    candidate = rounded(reference, 1, by=10**step) if samples else reference
    check = judge(claim, reference, reference, candidate, synthetic=synthetic)
    finding, *advice = check.message.removesuffix(".").split(". ")
    where, _, what = finding.partition(": ")
    assert where.startswith("cpu new")
    assert what
    assert advice
    assert check.message.endswith(".")
    assert "\n" not in check.message


def test_a_name_of_a_megabyte_does_not_fill_the_message():
    name = "x" * 1_000_000
    comparison = Comparison([name])
    comparison.update({name: np.ones((1, 2))}, {name: np.zeros((1, 2))}, 0)
    seen = comparison.result()
    check = judge_equivalence(EquivalenceCase("cpu", "exact", seen, None, seen, 1))
    assert check.outcome is Outcome.FAIL
    assert len(check.message) < 500


def test_the_check_of_an_optional_target_is_optional():
    reference = outputs()
    assert judge("exact", reference, reference, reference, optional=True).optional
