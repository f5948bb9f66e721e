"""Latency against throughput as an SVG picture: one dot a setting, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.tune import Proven, Tuning

_WIDTH, _HEIGHT = 860, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 30, 64, 60
_FONT = "font-family='system-ui, sans-serif'"
_GREY, _BLACK = "#9aa0a6", "#202124"
_COLOURS = {"default": "#5f6368", "latency": "#1a73e8", "throughput": "#d93025"}
_LONGEST_LABEL = 60


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic scale from [low, high] to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> Iterator[float]:
        """1, 2 and 5 times the powers of ten inside; over less than a decade, more of them."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        digits = (1, 2, 5) if self.high > 10 * self.low else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
        for power in powers:
            for digit in digits:
                if self.low <= digit * 10.0**power <= self.high:
                    yield digit * 10.0**power


def tradeoff_svg(tuning: Tuning) -> str:
    """Grey: a first look at each setting that was tried. Coloured: what was proven, with 98 %."""
    default = tuning.default
    looks = [
        (default.latency.value / t.latency_gain, default.throughput.value * t.throughput_gain)
        for t in tuning.tried
        if t.eligible
    ]
    x = _axis([*(a for a, _ in looks), *_range(tuning, "latency")], _LEFT, _WIDTH - _RIGHT)
    y = _axis([*(b for _, b in looks), *_range(tuning, "throughput")], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' "
        f"width='{_WIDTH}' height='{_HEIGHT}' {_FONT} font-size='13' fill='{_BLACK}'>",
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='white'/>",
        f"<text x='{_LEFT}' y='26' font-size='16' font-weight='600'>"
        f"{_text(tuning.plan.model.name)}: latency against throughput</text>",
        f"<text x='{_LEFT}' y='46' fill='{_BLACK}'>Grey: a first look. Coloured: measured again "
        "in fresh processes, with 98 % intervals. Up and left is better.</text>",
        *_grid(x, y),
    ]
    parts += [
        f"<circle cx='{x(a):.1f}' cy='{y(b):.1f}' r='4' fill='{_GREY}' fill-opacity='0.6'/>"
        for a, b in looks
    ]
    rows: list[float] = []
    for role, proven in _roles(tuning):
        parts += _proven(role, proven, x, y, rows)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _roles(tuning: Tuning) -> Iterator[tuple[str, Proven]]:
    """What stands out, each setting once."""
    yield "default", tuning.default
    seen = [tuning.default.setting]
    for measure, proven in tuning.best.items():
        if proven.setting not in seen:
            seen.append(proven.setting)
            yield measure, proven


def _range(tuning: Tuning, measure: str) -> Iterator[float]:
    for _, proven in _roles(tuning):
        figure = proven.latency if measure == "latency" else proven.throughput
        yield from (v for v in (figure.value, figure.low, figure.high) if 0 < v < math.inf)


def _axis(values: Iterable[float], start: float, end: float) -> _Axis:
    known = [v for v in values if 0 < v < math.inf] or [1.0]
    return _Axis(min(known) / 1.25, max(known) * 1.25, start, end)


def _grid(x: _Axis, y: _Axis) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in x.ticks():
        at = f"{x(value):.1f}"
        yield f"<line x1='{at}' y1='{_TOP}' x2='{at}' y2='{bottom}' stroke='#e8eaed'/>"
        yield (
            f"<text x='{at}' y='{bottom + 20}' text-anchor='middle'>{units.duration(value)}</text>"
        )
    for value in y.ticks():
        at = f"{y(value):.1f}"
        yield f"<line x1='{_LEFT}' y1='{at}' x2='{right}' y2='{at}' stroke='#e8eaed'/>"
        yield (
            f"<text x='{_LEFT - 8}' y='{at}' text-anchor='end' dominant-baseline='middle'>"
            f"{units.count(value)}</text>"
        )
    yield (
        f"<text x='{(_LEFT + right) / 2}' y='{_HEIGHT - 16}' text-anchor='middle'>"
        "latency of a request (mean)</text>"
    )
    middle = (_TOP + bottom) / 2
    yield (
        f"<text x='20' y='{middle}' text-anchor='middle' transform='rotate(-90 20 {middle})'>"
        "samples a second</text>"
    )


def _proven(role: str, proven: Proven, x: _Axis, y: _Axis, rows: list[float]) -> Iterator[str]:
    """A cross of both intervals, a dot, and the setting in words on a row of its own."""
    colour = _COLOURS[role]
    latency, rate = proven.latency, proven.throughput
    at_x, at_y = x(latency.value), y(rate.value)
    if latency.low > 0 and latency.high < math.inf:
        yield _line(x(latency.low), at_y, x(latency.high), at_y, colour)
    if rate.low > 0 and rate.high < math.inf:
        yield _line(at_x, y(rate.low), at_x, y(rate.high), colour)
    yield f"<circle cx='{at_x:.1f}' cy='{at_y:.1f}' r='6' fill='{colour}'/>"
    words = "default" if role == "default" else f"best {role}"
    label = f"{words}: {proven.setting.name}"
    row = _free_row(at_y - 14, rows)
    left = at_x > _WIDTH / 2
    anchor, shift = ("end", -12) if left else ("start", 12)
    yield (
        f"<text x='{at_x + shift:.1f}' y='{row:.1f}' text-anchor='{anchor}' fill='{colour}' "
        f"font-weight='600' stroke='white' stroke-width='3' paint-order='stroke'>"
        f"{_text(label)}</text>"
    )


def _free_row(wanted: float, rows: list[float]) -> float:
    """The nearest height at which no label stands yet."""
    row = min(max(wanted, _TOP + 14), _HEIGHT - _BOTTOM - 8)
    while any(abs(row - other) < 16 for other in rows):
        row += 16
    rows.append(row)
    return row


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' "
        "stroke-width='2'/>"
    )


def _text(name: str) -> str:
    return escape(printable(name, limit=_LONGEST_LABEL + 40))
