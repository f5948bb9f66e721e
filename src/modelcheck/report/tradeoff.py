"""Latency against throughput as an SVG picture: one dot a setting, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator

from modelcheck import units
from modelcheck.report.log_plot import (
    BOTTOM,
    GREY,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    axis_over,
    dot,
    frame,
    grid,
    label,
)
from modelcheck.tune import Proven, Tuning

_COLOURS = {"default": "#5f6368", "latency": "#1a73e8", "throughput": "#d93025"}


def tradeoff_svg(tuning: Tuning) -> str:
    """Grey: a first look at each setting that was tried. Coloured: what was proven, with 98 %."""
    default = tuning.default
    looks = [
        (default.latency.value / t.latency_gain, default.throughput.value * t.throughput_gain)
        for t in tuning.tried
        if t.eligible
    ]
    x = axis_over([*(a for a, _ in looks), *_range(tuning, "latency")], LEFT, WIDTH - RIGHT)
    y = axis_over([*(b for _, b in looks), *_range(tuning, "throughput")], HEIGHT - BOTTOM, TOP)
    parts = [
        *frame(
            f"{tuning.plan.model.name}: latency against throughput",
            "Grey: a first look. Coloured: measured again in fresh processes, with 98 % intervals. "
            "Up and left is better.",
        ),
        *grid(
            x,
            y,
            ("latency of a request (mean)", "samples a second"),
            (units.duration, units.count),
        ),
    ]
    parts += [dot(x(a), y(b), GREY, radius=4, opacity=0.6) for a, b in looks]
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


def _proven(role: str, proven: Proven, x: Axis, y: Axis, rows: list[float]) -> Iterator[str]:
    """A cross of both intervals, a dot, and the setting in words on a row of its own."""
    colour = _COLOURS[role]
    latency, rate = proven.latency, proven.throughput
    at_x, at_y = x(latency.value), y(rate.value)
    if latency.low > 0 and latency.high < math.inf:
        yield _line(x(latency.low), at_y, x(latency.high), at_y, colour)
    if rate.low > 0 and rate.high < math.inf:
        yield _line(at_x, y(rate.low), at_x, y(rate.high), colour)
    yield dot(at_x, at_y, colour)
    words = "default" if role == "default" else f"best {role}"
    yield label(f"{words}: {proven.setting.name}", at_x, at_y, colour, rows)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' "
        "stroke-width='2'/>"
    )
