"""Units: what is printed is what was measured, to the digits that are printed."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck import units

_SECONDS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_COUNTS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
_HALF_DIGIT = 0.005  # three significant digits

everything = st.floats() | st.integers(-(10**15), 10**15)


def seconds_of(text: str) -> float:
    minutes = re.fullmatch(r"(\d+) min (\d\d) s", text)
    if minutes:
        assert int(minutes[2]) < 60
        return 60 * int(minutes[1]) + int(minutes[2])
    number, unit = text.split(" ")
    return float(number) * _SECONDS[unit]


def amount_of(text: str, scale: dict[str, float]) -> float:
    number, _, unit = text.partition(" ")
    return float(number) * scale[unit]


@given(st.floats(1e-6, 1e6))
def test_a_duration_is_the_time_to_three_digits(seconds: float) -> None:
    tolerance = 0.5 if seconds >= 119 else _HALF_DIGIT * seconds
    assert abs(seconds_of(units.duration(seconds)) - seconds) <= tolerance * 1.001


@given(st.floats(1e-7, 119.0))
def test_a_duration_never_shows_four_digits_before_the_unit(seconds: float) -> None:
    number, _ = units.duration(seconds).split(" ", 1)
    assert len(number.replace(".", "").lstrip("0")) <= 3


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_longer_never_reads_shorter(one: float, other: float) -> None:
    short, long = sorted([one, other])
    shown = seconds_of(units.duration(short)), seconds_of(units.duration(long))
    assert shown[0] <= shown[1] * 1.0000001  # µs to s is a product of two floats


@given(st.integers(0, 1 << 45))
def test_a_size_is_the_number_of_bytes_to_three_digits(n_bytes: int) -> None:
    assert abs(amount_of(units.size(n_bytes), _BYTES) - n_bytes) <= _HALF_DIGIT * n_bytes


@given(st.integers(0, 10**13))
def test_a_count_is_the_number_to_three_digits(n: int) -> None:
    assert abs(amount_of(units.count(n), _COUNTS) - n) <= _HALF_DIGIT * n


@given(st.floats(0, 1))
def test_a_percentage_is_100_only_when_all_and_0_only_when_none(fraction: float) -> None:
    text = units.percent(fraction)
    assert (text == "100.0 %") == (fraction == 1)
    assert (text == "0.0 %") == (fraction == 0)
    assert abs(float(text[:-2]) / 100 - fraction) <= 0.001


@given(everything)
def test_every_number_has_a_text_of_one_short_line_without_nan(x: float) -> None:
    for unit in (units.duration, units.ratio, units.percent, units.decibels):
        text = unit(x)
        assert text.isprintable()
        assert "nan" not in text
        assert "inf" not in text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.duration(0.0151), "15.1 ms"),
        (units.duration_within(0.0151, 0.0149, 0.016), "15.1 ms [14.9, 16.0]"),
        (units.duration_within(0.0151, 0.0149, math.inf), "15.1 ms [14.9, …]"),
        (units.duration_within(0.000112, 0.0000718, 0.034), "112 µs [71.8, 34.0 ms]"),
        (units.duration_within(0.0151, -math.inf, math.inf), "15.1 ms […, …]"),
        (units.duration(0), "0 µs"),
        (units.duration(9.999e-4), "1.00 ms"),
        (units.duration(0.9999), "1.00 s"),
        (units.duration(9.996), "10.0 s"),
        (units.duration(119.6), "2 min 00 s"),
        (units.duration(3599.7), "60 min 00 s"),
        (units.duration(math.nan), "–"),
        (units.duration(math.inf), "–"),
        (units.size(46766489), "44.6 MiB"),
        (units.size(0), "0 B"),
        (units.size(1023), "1023 B"),
        (units.size(1024), "1.00 KiB"),
        (units.size((1 << 20) - 1), "1.00 MiB"),
        (units.count(11689512), "11.7 M"),
        (units.count(999), "999"),
        (units.count(999_999), "1.00 M"),
        (units.ratio(2.9412), "2.94x"),
        (units.ratio(math.nan), "–"),
        (units.percent(0.9941), "99.4 %"),
        (units.percent(0.99999), "99.9 %"),
        (units.percent(1e-9), "0.1 %"),
        (units.percent(0.99999, digits=3), "99.999 %"),
        (units.percent(math.nan), "–"),
        (units.decibels(28.06), "28.1 dB"),
        (units.decibels(math.inf), "equal"),
        (units.decibels(-math.inf), "–"),
        (units.scientific(3.21e-7), "3.2e-07"),
        (units.scientific(0), "0"),
        (units.plural(1, "node"), "1 node"),
        (units.plural(0, "node"), "0 nodes"),
        (units.plural(12345, "node"), "12,345 nodes"),
        (units.short_digest("0123456789abcdef"), "01234567"),
    ],
)
def test_examples(shown: str, expected: str) -> None:
    assert shown == expected
