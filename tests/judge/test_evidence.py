"""Missing evidence never passes; declared limits and the noise floor decide what they say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_cases import (
    SEEDS,
    flip_channel,
    floor_of,
    judge,
    make_case,
    outputs,
    rounded,
    scale_channel,
)

from modelcheck.judge import (
    CLAIMS,
    Blame,
    Comparison,
    Outcome,
    hopeless_limit,
    judge_equivalence,
    lower_bound,
    needs_noise_floor,
    parse_limit,
    wants_noise_floor,
)

# -- missing evidence ----------------------------------------------------------------------


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_samples_is_inconclusive(claim):
    empty = outputs(shape=(0, 8))
    check = judge(claim, empty, empty, empty)
    assert (check.outcome, check.blame) == (Outcome.INCONCLUSIVE, Blame.DATA)


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_comparison_that_was_not_made_is_inconclusive(claim):
    reference = outputs()
    case = make_case(claim, reference, reference, reference)
    missing = Comparison(["y"]).result()
    for name in ("total", "target_drift", "transform_drift"):
        assert judge_equivalence(replace(case, **{name: missing})).outcome is Outcome.INCONCLUSIVE


def test_outputs_without_elements_are_inconclusive():
    empty = outputs(shape=(20, 0, 4))
    assert judge("exact", empty, empty, empty).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("claim", ["precision", "lossy"])
def test_too_few_samples_for_an_sqnr_are_inconclusive_unless_clearly_below(claim):
    reference = outputs(shape=(15, 8, 4, 4))
    check = judge(claim, reference, reference, reference)
    assert (check.outcome, check.blame) == (Outcome.INCONCLUSIVE, Blame.DATA)
    assert "at least 16 samples" in check.message
    wrong = reference.copy()
    flip_channel(wrong)
    assert judge(claim, reference, reference, wrong).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [
        ("exact", Outcome.PASS),
        ("precision", Outcome.INCONCLUSIVE),
        ("lossy", Outcome.INCONCLUSIVE),
    ],
)
def test_synthetic_inputs_prove_only_the_exact_claim(claim, outcome):
    reference = outputs()
    check = judge(claim, reference, reference, rounded(reference), synthetic=True)
    assert check.outcome is outcome
    assert "synthetic inputs" in check.message
    wrong = reference.copy()
    flip_channel(wrong)
    assert judge(claim, reference, reference, wrong, synthetic=True).outcome is Outcome.FAIL


def test_a_reference_that_is_not_finite_is_inconclusive():
    reference = outputs()
    reference[2, 0, 0, 0] = np.inf
    check = judge("exact", reference, reference, reference)
    assert (check.outcome, check.blame) == (Outcome.INCONCLUSIVE, Blame.DATA)
    assert "reference itself is not finite" in check.message


# -- agreement -----------------------------------------------------------------------------


def classifier(samples, disagreements):
    """Reference and candidate scores with so many flips, and an SQNR far below 25 dB."""
    reference = np.tile(np.array([3, 1, 0], np.float32), (samples, 1))
    candidate = np.tile(np.array([2, 1.5, 1], np.float32), (samples, 1))
    candidate[:disagreements, 0] = 0
    return reference, candidate


@pytest.mark.parametrize(
    ("samples", "disagreements", "outcome"),
    [
        (298, 0, Outcome.INCONCLUSIVE),
        (299, 0, Outcome.PASS),
        (472, 1, Outcome.INCONCLUSIVE),
        (473, 1, Outcome.PASS),
        (100, 50, Outcome.FAIL),
    ],
)
def test_agreement_decides_by_its_bounds(samples, disagreements, outcome):
    reference, candidate = classifier(samples, disagreements)
    check = judge("lossy", reference, reference, candidate)
    assert check.outcome is outcome
    if outcome is Outcome.INCONCLUSIVE:
        assert f"at least {samples + 1} samples" in check.message
        assert "min-agreement=0.98" in check.message


def test_an_output_without_classes_uses_the_other_terms():
    reference = outputs()
    limit = parse_limit("min-agreement=0.99,min-sqnr=25")
    assert judge("lossy", reference, reference, reference, limit=limit).outcome is Outcome.PASS
    alone = parse_limit("min-agreement=0.99")
    check = judge("lossy", reference, reference, reference, limit=alone)
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "Declare min-sqnr" in check.message


def test_a_limit_of_full_agreement_is_never_proven():
    reference, _ = classifier(5000, 0)
    check = judge("lossy", reference, reference, reference, limit=parse_limit("min-agreement=1"))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "No number of samples" in check.message


# -- declared limits -----------------------------------------------------------------------


@given(SEEDS, st.sampled_from(CLAIMS), st.floats(-6, -1), st.floats(-6, -1))
def test_the_tightest_limit_passes_and_a_tighter_one_does_not(seed, claim, drift, step):
    reference = outputs(seed, (20, 6))
    original = rounded(reference, seed + 1, by=10**drift)
    candidate = rounded(original, seed + 2, by=10**step)
    case = make_case(claim, reference, original, candidate)
    tightest = judge_equivalence(case).evidence.tightest
    for kind, value in tightest.items():
        declared = replace(case, limit=parse_limit(f"{kind}={value:g}"))
        assert judge_equivalence(declared).outcome is Outcome.PASS, (kind, value)
        tighter = value * 0.98 if kind == "max-error" else value * 1.02
        if kind != "min-agreement" or tighter < 1:
            declared = replace(case, limit=parse_limit(f"{kind}={tighter}"))
            assert judge_equivalence(declared).outcome is not Outcome.PASS, (kind, value)


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [
        ("min-sqnr=60,max-error=1e-2", Outcome.PASS),
        ("min-sqnr=60,max-error=1e-9", Outcome.FAIL),
        ("min-sqnr=200,max-error=1e-2", Outcome.FAIL),
        ("min-sqnr=200|max-error=1e-2", Outcome.PASS),
        ("min-sqnr=60|max-error=1e-9", Outcome.PASS),
        ("min-sqnr=200|max-error=1e-9", Outcome.FAIL),
        ("min-sqnr=200|min-sqnr=60,max-error=1e-2", Outcome.PASS),
    ],
)
def test_all_of_needs_every_term_and_any_of_one_alternative(limit, outcome):
    reference = outputs()
    candidate = rounded(reference, by=1e-5)
    check = judge("lossy", reference, reference, candidate, limit=parse_limit(limit))
    assert check.outcome is outcome


def test_a_declared_max_error_under_claim_exact_bounds_the_transform_drift_too():
    reference = outputs()
    limit = parse_limit("max-error=1e-3")
    original = rounded(reference, 1, by=9e-4)
    other_side = (2 * reference - original).astype(np.float32)
    assert judge("lossy", reference, original, other_side, limit=limit).outcome is Outcome.PASS
    check = judge("exact", reference, original, other_side, limit=limit)
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)


def test_an_all_zero_reference_is_judged_by_max_abs():
    zeros = np.zeros((20, 8, 4, 4), np.float32)
    assert judge("precision", zeros, zeros, zeros + np.float32(1e-3)).outcome is Outcome.PASS
    check = judge("precision", zeros, zeros, zeros + np.float32(0.1))
    assert check.outcome is Outcome.FAIL
    assert "all zero" in check.message


@given(SEEDS, st.sampled_from(CLAIMS), st.permutations(range(20)))
def test_the_order_of_the_samples_changes_no_verdict(seed, claim, order):
    reference = outputs(seed, (20, 6))
    original, candidate = rounded(reference, 1, by=3e-7), rounded(reference, 2, by=4e-6)
    one = judge(claim, reference, original, candidate)
    other = judge(claim, *(a[list(order)] for a in (reference, original, candidate)))
    assert (one.outcome, one.blame) == (other.outcome, other.blame)


# -- the noise floor -----------------------------------------------------------------------


@given(
    SEEDS,
    st.sampled_from(CLAIMS),
    st.floats(-8, 0),
    st.floats(-8, 0),
    st.sampled_from([None, "max-error=1e-4", "min-sqnr=30"]),
    st.lists(st.floats(0, 2e-3), min_size=1, max_size=5),
)
def test_where_no_floor_is_needed_every_floor_decides_alike(
    seed, claim, drift, step, limit, measured
):
    reference = outputs(seed, (16, 4))
    original = rounded(reference, 1, by=10**drift)
    case = make_case(
        claim,
        reference,
        original,
        rounded(original, 2, by=10**step),
        noise_floor=None,
        reduction_length=64,
        limit=limit and parse_limit(limit),
    )
    unmeasured = judge_equivalence(case)
    floors = [floor_of(x, 64) for x in measured]
    checks = [judge_equivalence(replace(case, noise_floor=floor)) for floor in floors]
    if needs_noise_floor(case):
        assert unmeasured.outcome is Outcome.INCONCLUSIVE
        assert (claim, limit) == ("exact", None)
    else:
        for check in checks:
            assert (check.outcome, check.blame) == (unmeasured.outcome, unmeasured.blame)


def test_the_floor_is_needed_only_between_its_bounds():
    reference = outputs()
    for by, needed in ((0, False), (1e-7, False), (1e-5, True), (1e-3, True), (0.1, False)):
        candidate = rounded(reference, 1, by=by)
        case = make_case("exact", reference, reference, candidate, noise_floor=None)
        assert needs_noise_floor(case) is needed, by
    assert lower_bound(1) > 2e-7
    assert not needs_noise_floor(make_case("exact", reference, reference, candidate))


def test_a_declared_max_error_below_the_floor_is_told_as_hopeless():
    reference = outputs()
    case = make_case(
        "lossy", reference, reference, rounded(reference, by=1e-7),
        noise_floor=None, reduction_length=64, limit=parse_limit("max-error=1e-9"),
    )  # fmt: skip
    assert wants_noise_floor(case)
    assert not needs_noise_floor(case)
    assert hopeless_limit(case) == 1e-9
    check = judge_equivalence(replace(case, noise_floor=floor_of(1e-6, 64)))
    assert check.outcome is Outcome.FAIL
    assert "a limit below the noise floor 8.0e-06" in check.message
    assert "max-error=auto" in check.message
    held = replace(case, limit=parse_limit("max-error=1e-3"))
    assert not wants_noise_floor(held)
    assert hopeless_limit(held) is None


@pytest.mark.parametrize("claim", CLAIMS)
def test_auto_is_judged_by_the_noise_floor_whatever_the_claim(claim):
    reference = outputs()
    wrong = reference.copy()
    wrong[:, 3] *= 1.001
    auto = parse_limit("max-error=auto")
    assert judge(claim, reference, reference, wrong, limit=auto).outcome is Outcome.FAIL
    near = rounded(reference, by=1e-7)
    assert judge(claim, reference, reference, near, limit=auto).outcome is Outcome.PASS
    both = parse_limit("max-error=auto,min-sqnr=200")
    assert judge(claim, reference, reference, near, limit=both).outcome is Outcome.FAIL


def test_a_small_error_everywhere_is_noise_that_the_largest_error_does_not_show():
    """Within eight times the largest error of any rounding, and ten times its mean."""
    reference = outputs()
    floor = floor_of(1e-5, 64, noise=1e-7)
    shifted = (reference * np.float32(1 + 2e-6)).astype(np.float32)
    check = judge("exact", reference, reference, shifted, noise_floor=floor)
    assert check.outcome is Outcome.FAIL
    assert "noise from the original there" in check.message
    check = judge("exact", reference, reference, rounded(reference, by=1e-7), noise_floor=floor)
    assert check.outcome is Outcome.PASS


def test_two_engines_at_one_precision_are_evidence():
    reference = outputs()
    case = make_case("precision", reference, reference, rounded(reference, by=1e-4))
    there = make_case("exact", reference, reference, rounded(reference, by=1e-3)).total
    evidence = judge_equivalence(replace(case, two_engines=there)).evidence
    assert "two engines at this precision lie" in evidence.noise
    assert evidence.two_engines == there


def test_an_absurd_floor_is_no_licence():
    reference = outputs()
    wrong = reference.copy()
    scale_channel(wrong)
    chaotic = floor_of(1.0, 576)
    check = judge("exact", reference, reference, wrong, noise_floor=chaotic)
    assert check.outcome is Outcome.FAIL
