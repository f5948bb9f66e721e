"""Limits say what they mean, and refuse what cannot be meant."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_cases import floor_of

from modelcheck.errors import UsageError
from modelcheck.judge import (
    Limits,
    NoiseFloor,
    Variation,
    default_limit,
    limit_of,
    lower_bound,
    parse_fraction,
    parse_limit,
)


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("min-sqnr=25", "SQNR >= 25 dB"),
        ("min-agreement=0.99|min-sqnr=25", "agreement >= 99 % or SQNR >= 25 dB"),
        ("min-agreement=99.9%", "agreement >= 99.9 %"),
        (
            " max-error = 1e-3 , min-sqnr=30 ",
            "max error <= 0.001 of the scale and SQNR >= 30 dB",
        ),
    ],
)
def test_a_limit_is_described_in_the_words_of_the_field(text, described):
    assert parse_limit(text).describe() == described


def test_defaults_are_those_of_the_documentation_and_say_so():
    assert default_limit("precision").describe() == "SQNR >= 40 dB (default)"
    assert default_limit("lossy").describe() == "SQNR >= 25 dB or agreement >= 99 % (default)"
    assert "noise floor" in default_limit("exact").describe()


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("min-agreement=99", "min-agreement", "0.99"),
        ("min-agreement=150%", "min-agreement", "Write"),
        ("min-agreement=0", "min-agreement", "Write"),
        ("min-sqnr=nan", "min-sqnr", "Write"),
        ("min-sqnr=inf", "min-sqnr", "Write"),
        ("max-error=-1e-3", "max-error", "Write"),
        ("max-error=0", "max-error", "Write"),
        ("max-error=small", "small", "Write"),
        ("min-sqrn=25", "min-sqrn", "Did you mean 'min-sqnr'?"),
        ("noise-floor=1", "noise-floor", "limits are"),
        ("min-sqnr=25,min-sqnr=30", "twice", "stricter"),
        ("min-sqnr=25|", "=", "Write"),
        ("", "=", "Write"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_with_a_remedy(text, key, remedy):
    with pytest.raises(UsageError) as refused:
        parse_limit(text)
    assert key in str(refused.value)
    assert remedy in refused.value.remedy


def test_separate_options_must_all_hold():
    assert limit_of(min_sqnr=30, min_agreement=0.99) == parse_limit(
        "min-agreement=0.99,min-sqnr=30"
    )
    assert limit_of() is None
    with pytest.raises(UsageError, match="99 is not a fraction"):
        limit_of(min_agreement=99)


def test_an_unknown_claim_is_refused():
    with pytest.raises(UsageError) as refused:
        default_limit("exakt")
    assert refused.value.remedy == "Did you mean 'exact'?"


def test_fractions_are_typed_with_or_without_percent():
    assert parse_fraction("3%", key="max-slowdown") == 0.03
    assert parse_fraction(" 0.03 ", key="max-slowdown") == 0.03
    with pytest.raises(UsageError) as refused:
        parse_fraction("3", key="max-slowdown")
    assert "0.03" in refused.value.remedy


@pytest.mark.parametrize(
    "declared",
    [
        {"min_speedup": 0.0},
        {"min_speedup": -1.5},
        {"min_speedup": math.nan},
        {"max_slowdown": 0.0},
        {"max_slowdown": 3.0},
        {"max_slowdown": math.nan},
    ],
)
def test_a_speed_budget_that_cannot_be_meant_is_refused(declared):
    with pytest.raises(UsageError) as refused:
        Limits(**declared)
    assert refused.value.remedy


def test_the_stricter_speed_limit_is_required():
    assert Limits().speed_ratio_required() is None
    assert Limits(max_slowdown=0.03).speed_ratio_required() == 0.97
    assert Limits(min_speedup=1.5, max_slowdown=0.03).speed_ratio_required() == 1.5
    assert Limits(min_speedup=0.9, max_slowdown=0.03).speed_ratio_required() == 0.97


def test_a_limit_on_the_worst_error_asks_for_a_search():
    assert Limits().inputs_to_search() == 0
    assert Limits(search_inputs=7).inputs_to_search() == 7
    assert Limits(max_worst_error=0.1).inputs_to_search() == 500
    described = Limits(max_worst_error=0.1, search_inputs=7).describe()
    assert described == "worst error <= 0.1 of the scale in 7 inputs"


@pytest.mark.parametrize(
    "declared",
    [
        {"search_inputs": -1},
        {"max_worst_error": 0.0},
        {"max_worst_error": math.nan},
        {"max_worst_error": 0.1, "search_inputs": 0},
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(declared):
    with pytest.raises(UsageError) as refused:
        Limits(**declared)
    assert refused.value.remedy


def test_limits_describe_all_that_is_declared():
    limits = Limits(parse_limit("min-sqnr=25"), min_speedup=1.5, max_slowdown=0.03)
    assert limits.describe() == "SQNR >= 25 dB; speed-up >= 1.50x; slowdown <= 3 %"
    assert Limits().describe() == "nothing declared"


@given(st.floats(0, 1e6), st.integers(1, 10**12))
def test_a_noise_floor_lies_between_its_lower_bound_and_one_percent(largest, length):
    floor = floor_of(largest, length)
    assert lower_bound(length) <= floor.limit <= 1e-2
    assert floor.limit >= min(8 * largest, 1e-2)


def test_a_noise_floor_says_where_it_comes_from():
    found = Variation("channels permuted", "new", {"y": 1e-5}, {"y": 1e-6})
    assert "8 x 1.0e-05: 2 x channels permuted on new" in NoiseFloor((found, found), 9).describe()
    small = Variation("without Winograd", "classic", {"y": 1e-9}, {"y": 1e-9})
    for floor in (NoiseFloor((small,), 576), NoiseFloor((), 576, "nothing to permute")):
        assert "lower bound for sums of 576" in floor.describe()
    assert "without Winograd on classic" in NoiseFloor((small,), 576).describe()
    assert "nothing to permute" in NoiseFloor((), 576, "nothing to permute").describe()
    with pytest.raises(ValueError, match="finite"):
        Variation("channels permuted", "new", {"y": math.nan}, {})


def test_a_quiet_output_is_not_measured_by_a_noisy_one():
    found = Variation("channels permuted", "new", {"a": 1e-4, "b": 1e-7}, {"a": 1e-5, "b": 1e-8})
    floor = NoiseFloor((found,), 9)
    assert floor.limit_of("a") == 8e-4
    assert floor.limit_of("b") == floor.limit_of("unknown") == lower_bound(9)
    assert floor.noise_limit_of("b") < floor.noise_limit_of("a") == pytest.approx(8e-5)
    assert floor.noise_limit_of("unknown") == math.inf


def test_auto_is_the_noise_floor_alone_and_beside_others():
    assert parse_limit("max-error=auto").any_of == default_limit("exact").any_of
    assert limit_of(max_error="auto") == parse_limit(" max-error = auto ")
    assert limit_of(max_error="0.01") == limit_of(max_error=0.01)
    both = parse_limit("max-error=auto,min-sqnr=60")
    assert both.exact
    assert "noise floor" in both.describe()
    assert "SQNR >= 60 dB" in both.describe()
    assert not parse_limit("max-error=auto|min-sqnr=60").exact


@pytest.mark.parametrize("typed", ["automatic", "", "1.5", "-1", "nan"])
def test_a_max_error_that_cannot_be_meant_is_refused(typed):
    with pytest.raises(UsageError) as refused:
        limit_of(max_error=typed)
    assert refused.value.remedy or "positive" in str(refused.value)
