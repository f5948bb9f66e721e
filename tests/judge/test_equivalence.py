"""Planted faults fail, equivalent candidates pass, missing evidence never does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge import (
    CLAIMS,
    Agreement,
    Blame,
    Comparison,
    EquivalenceCase,
    NoiseFloor,
    Outcome,
    is_class_scores,
    judge_equivalence,
    lower_bound,
    needs_noise_floor,
    parse_limit,
)

SEEDS = st.integers(0, 2**32 - 1)
FLOOR = NoiseFloor(permutations=4, largest=5e-7, reduction_length=576, permutable=True)


def compare(expected, actual):
    comparison = Comparison(["y"])
    for sample, (x, y) in enumerate(zip(expected, actual, strict=True)):
        comparison.update({"y": x[None]}, {"y": y[None]}, sample)
    return comparison.result()


def agree(expected, actual):
    if not is_class_scores(expected.shape):
        return {}
    agreement = Agreement()
    agreement.update(expected, actual)
    return {"y": agreement.result()}


def make_case(claim, reference, original, candidate, **options):
    """Arrays of (samples, channels, ...); `candidate` None verifies the original alone."""
    last = original if candidate is None else candidate
    return EquivalenceCase(
        target="cpu new",
        claim=claim,
        target_drift=compare(reference, original),
        transform_drift=None if candidate is None else compare(original, candidate),
        total=compare(reference, last),
        target_agreement=agree(reference, original),
        total_agreement=agree(reference, last),
        **{"judged_samples": len(reference), "noise_floor": FLOOR, **options},
    )


def judge(claim, reference, original, candidate, **options):
    return judge_equivalence(make_case(claim, reference, original, candidate, **options))


def outputs(seed=0, shape=(20, 8, 4, 4)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rounded(x, seed=1, by=1e-7):
    """The same mathematics in another order of summation."""
    noise = np.random.default_rng(seed).uniform(-by, by, size=x.shape)
    return (x + noise * np.abs(x).max()).astype(x.dtype)


def flip_channel(y):
    y[:, 3] *= -1


def scale_channel(y):
    y[:, 3] *= 1.05


def scale_channel_slightly(y):
    y[:, 3] *= 1.001


def shift_bias(y):
    y[:, 3] += 0.05 * y.std()


def swap_channels(y):
    y[:, [2, 3]] = y[:, [3, 2]]


def put_nan(y):
    y[7, 3, 1, 1] = np.nan


def put_opencv_nan(y):
    y[7, 3, 1, 1] = 3.4e38


def move_padding(y):
    y[:] = np.roll(y, 1, axis=-1)


FAULTS = [
    flip_channel,
    scale_channel,
    scale_channel_slightly,
    shift_bias,
    swap_channels,
    put_nan,
    put_opencv_nan,
    move_padding,
]


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
    floors = [NoiseFloor(4, x, 64, permutable=True) for x in measured]
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


def test_an_absurd_floor_is_no_licence():
    reference = outputs()
    wrong = reference.copy()
    scale_channel(wrong)
    chaotic = NoiseFloor(4, 1.0, 576, permutable=True)
    check = judge("exact", reference, reference, wrong, noise_floor=chaotic)
    assert check.outcome is Outcome.FAIL


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
