"""The only formatter of times, sizes, ratios and counts, and the reader of those with a unit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

SECONDS = {"µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
BYTES = {
    "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
    "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3,
}  # fmt: skip
PER_SECOND = {"/s": 1.0, "/min": 1 / 60}
_QUANTITY = re.compile(r"\s*([+-]?[0-9.]+(?:e[+-]?[0-9]+)?)\s*(\S*)\s*")


class NoSuchUnit(ValueError):
    """A number with another unit than those asked for; '' where it has none."""

    def __init__(self, unit: str) -> None:
        super().__init__(unit)
        self.unit = unit


def quantity(text: str, known: Mapping[str, float]) -> float:
    """('15 ms', SECONDS) -> 0.015. Raises NoSuchUnit, or ValueError where there is no number."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(text)
    number = float(match[1])
    if match[2] not in known:
        raise NoSuchUnit(match[2])
    return number * known[match[2]]


def duration(seconds: float) -> str:
    """0.0151 -> '15.1 ms'; three significant digits from microseconds to hours."""
    if not math.isfinite(seconds):
        return "–"
    for limit, scale, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s")):
        if _rounded(abs(seconds)) < limit:
            return f"{_three_digits(seconds * scale)} {unit}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def duration_within(seconds: float, low: float, high: float) -> str:
    """(0.0151, 0.0149, inf) -> '15.1 ms [14.9, …]': an estimate and its interval.

    A bound stands in the estimate's unit, unless it is far away from it.
    """
    number, _, unit = duration(seconds).partition(" ")
    bounds = []
    for bound in (low, high):
        text, _, its_unit = duration(bound).partition(" ")
        shown = text if its_unit == unit else f"{text} {its_unit}"
        bounds.append(shown if math.isfinite(bound) else "…")
    return f"{number} {unit} [{', '.join(bounds)}]"


def size(n_bytes: float) -> str:
    """46766489 -> '44.6 MiB'."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if _rounded(n_bytes / 1024**power) >= 1:
            return f"{_three_digits(n_bytes / 1024**power)} {unit}"
    return f"{n_bytes:.0f} B"


def count(n: float) -> str:
    """11689512 -> '11.7 M'."""
    for power, unit in ((9, "G"), (6, "M"), (3, "k")):
        if _rounded(n / 10**power) >= 1:
            return f"{_three_digits(n / 10**power)} {unit}"
    return f"{n:.0f}"


def ratio(x: float) -> str:
    """2.9412 -> '2.94x'."""
    return f"{x:.2f}x" if math.isfinite(x) else "–"


def rate(per_s: float) -> str:
    """123.4 -> '123/s'."""
    return f"{_three_digits(per_s)}/s" if math.isfinite(per_s) else "–"


def percent(fraction: float, digits: int = 1) -> str:
    """0.9941 -> '99.4 %'; never rounds up to 100 % nor down to 0 %."""
    value = fraction * 100
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    step = 10.0**-digits
    if float(text) >= 100 and value < 100:
        text = f"{100 - step:.{digits}f}"
    if float(text) == 0 and value > 0:
        text = f"{step:.{digits}f}"
    return f"{text} %"


def decibels(db: float) -> str:
    """28.06 -> '28.1 dB'; equal signals have an infinite ratio."""
    if db == math.inf:
        return "equal"
    return f"{db:.1f} dB" if math.isfinite(db) else "–"


def scientific(x: float) -> str:
    """Errors and limits: 3.2e-07; zero is '0'."""
    return "0" if x == 0 else f"{x:.1e}"


def plural(n: int, noun: str) -> str:
    """(1, 'node') -> '1 node'; (3, 'node') -> '3 nodes'."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def short_digest(digest: str) -> str:
    """The first eight hexadecimal digits: enough to tell models apart by eye."""
    return digest[:8]


def _rounded(value: float) -> float:
    """To three significant digits, so that 999.9 µs becomes 1.00 ms and not 1000 µs."""
    return float(f"{value:.3g}")


def _three_digits(value: float) -> str:
    magnitude = abs(_rounded(value))
    if magnitude >= 100 or magnitude == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"
