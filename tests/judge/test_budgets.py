"""Budgets are read with their units, and those that cannot be meant are refused with a remedy."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck import units
from modelcheck.errors import UsageError
from modelcheck.judge import Limits
from modelcheck.judge.budgets import (
    KINDS,
    Budget,
    declared_budgets,
    is_speed,
    overlaid,
    parse_budget,
)


@pytest.mark.parametrize(
    ("key", "text", "bound", "described"),
    [
        ("max-p50", "15ms", 0.015, "p50 latency <= 15.0 ms"),
        ("max-p99", " 0.2 s ", 0.2, "p99 latency <= 200 ms"),
        ("max-p90", "1.5e3us", 0.0015, "p90 latency <= 1.50 ms"),
        ("min-throughput", "60/s", 60.0, "throughput >= 60.0/s"),
        ("min-throughput", "600/min", 10.0, "throughput >= 10.0/s"),
        ("max-peak-memory", "200MiB", 200 << 20, "peak memory <= 200 MiB"),
        ("max-file-size", "10MB", 1e7, "file size <= 9.54 MiB"),
        ("--max-first-inference", "1min", 60.0, "first inference <= 60.0 s"),
    ],
)
def test_a_budget_is_a_number_with_its_unit(key, text, bound, described):
    budget = parse_budget(key, text)
    assert budget.bound == pytest.approx(bound)
    assert budget.describe() == described


@pytest.mark.parametrize(
    ("key", "text", "what", "remedy"),
    [
        ("max-p99", "15", "no unit", "15ms"),
        ("max-p99", "15 msec", "'msec'", "'ms'"),
        ("max-p99", "15m", "'m'", "ms"),  # minutes elsewhere; here it would let all pass
        ("max-p99", "15 MS", "'MS'", "'ms'"),
        ("max-peak-memory", "10 mib", "'mib'", "'MiB'"),
        ("max-peak-memory", "10 ms", "'ms'", "MiB"),
        ("min-throughput", "60 fps", "'fps'", "60/s"),
        ("max-file-size", "ten MiB", "not a quantity", "10MiB"),
        ("max-p50", "0ms", "not positive", "10ms"),
        ("max-p50", "-3ms", "not positive", "10ms"),
        ("max-p50", "1e999ms", "not positive", "10ms"),
        ("max-p50", "nan", "not a quantity", "10ms"),
        ("max-p50", "1.2.3ms", "not a quantity", "10ms"),
    ],
)
def test_what_is_no_quantity_is_refused_with_the_nearest_one(key, text, what, remedy):
    with pytest.raises(UsageError) as refused:
        parse_budget(key, text)
    assert refused.value.where == key
    assert what in refused.value.what
    assert remedy in refused.value.remedy


@given(st.text(max_size=12), st.sampled_from(list(KINDS)))
def test_any_text_is_a_positive_bound_or_refused(text, key):
    with contextlib.suppress(UsageError):
        assert parse_budget(key, text).bound > 0


def test_a_percentile_below_a_lower_one_is_a_contradiction():
    with pytest.raises(UsageError, match="contradicts p50") as refused:
        Limits(budgets=(Budget("max-p50", 0.02), Budget("max-p99", 0.01)))
    assert "20.0 ms" in refused.value.remedy
    Limits(budgets=(Budget("max-p50", 0.01), Budget("max-p99", 0.01)))


def test_the_same_budget_twice_is_refused():
    with pytest.raises(UsageError, match="twice"):
        declared_budgets({"max_p50": ["5ms", "6ms"]})


def test_own_budgets_are_laid_over_shared_ones_key_by_key():
    shared = declared_budgets({"max_p50": "5ms", "max_file_size": "1MiB"})
    own = declared_budgets({"max_p50": ["3ms"], "max_p99": "9ms", "min_sqnr": 3.0})
    assert [(b.key, b.bound) for b in overlaid(shared, own)] == [
        ("max-p50", pytest.approx(0.003)), ("max-p99", pytest.approx(0.009)),
        ("max-file-size", 1 << 20),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_example_of_every_kind_is_one(kind):
    assert kind.show(units.quantity(kind.example, kind.units))


def test_limits_describe_their_budgets_and_say_that_they_are_about_speed():
    limits = Limits(budgets=(Budget("max-p99", 0.015), Budget("max-file-size", 10 << 20)))
    assert limits.describe() == "p99 latency <= 15.0 ms; file size <= 10.0 MiB"
    assert limits.limits_speed()
    assert not Limits().limits_speed()
    assert all(map(is_speed, ("speed", "max-p50")))
    assert not is_speed("equivalence")
