"""Latency against size as an SVG picture: one dot a candidate, both axes logarithmic."""

from __future__ import annotations

from modelcheck import units
from modelcheck.report.log_plot import (
    BOTTOM,
    GREY,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    axis_over,
    dot,
    frame,
    grid,
    label,
)
from modelcheck.searching import Contender, Searched

_KIB = 1024  # so that the axis has round numbers
_AS_GOOD_AS_EXACT_DB = 60.0
_ORIGINAL, _HOLDS, _BEST = "#5f6368", "#1a73e8", "#188038"


def pareto_svg(result: Searched) -> str:
    """Every candidate that ran in the race, by a first look; the best one as the gate took it."""
    raced = [c for c in result.contenders if c.gain.ratio > 0]
    original_s = result.original[result.baseline.engine]
    size = result.plan.model.nbytes / _KIB
    points = [*((c.latency_s, c.model_bytes / _KIB) for c in raced), (original_s, size)]
    x = axis_over((a for a, _ in points), LEFT, WIDTH - RIGHT)
    y = axis_over((b for _, b in points), HEIGHT - BOTTOM, TOP)
    parts = [
        *frame(
            f"{result.plan.model.name}: latency against size",
            "First looks, in one race. Blue: nothing is faster, smaller and nearer to the original "
            "at once. Down and left is better.",
        ),
        *grid(x, y, ("latency of a forward (median)", "size"), (units.duration, _size)),
    ]
    rows: list[float] = []
    best = None if result.best is None else result.best.contender
    for one in raced:
        at = x(one.latency_s), y(one.model_bytes / _KIB)
        colour = _BEST if one is best else _HOLDS if _on_front(one, raced) else GREY
        parts.append(dot(*at, colour))
        if colour != GREY:
            near = units.decibels(one.db) if one.agreement is None else units.percent(one.agreement)
            words = f"{one.name}, {one.target.engine}, {near}{' (best)' if one is best else ''}"
            parts.append(label(words, *at, colour, rows))
    at = x(original_s), y(size)
    parts += [
        dot(*at, _ORIGINAL),
        label(f"original, {result.baseline.engine}", *at, _ORIGINAL, rows),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _on_front(one: Contender, others: list[Contender]) -> bool:
    costs = _costs(one)
    return not any(
        _costs(o) != costs and all(a <= b for a, b in zip(_costs(o), costs, strict=True))
        for o in others
    )


def _costs(one: Contender) -> tuple[float, ...]:
    """Latency, size and distance from the original, which float rounding adds nothing to."""
    return one.latency_s, one.model_bytes, -min(one.db, _AS_GOOD_AS_EXACT_DB)


def _size(kib: float) -> str:
    return units.size(round(kib * _KIB))
