"""The error along the layers as an SVG picture: SQNR in dB against the layer's place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from modelcheck import units
from modelcheck.diagnose import Diagnosis, LayerEvidence
from modelcheck.errors import printable

_WIDTH, _HEIGHT = 960, 490
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 30, 116, 56
_FONT = "font-family='system-ui, sans-serif'"
_GREY, _BLACK, _OWN, _REACHED, _NAMED = "#9aa0a6", "#202124", "#1a73e8", "#f29900", "#d93025"
_HIGHEST_DB, _LOWEST_DB = 150.0, -20.0
_LONGEST_LABEL = 60


def layers_svg(found: Diagnosis) -> str:
    """Dots: each layer by itself. Line: with everything before it. Red: what is named."""
    lowest = _lowest(found)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' "
        f"width='{_WIDTH}' height='{_HEIGHT}' {_FONT} font-size='13' fill='{_BLACK}'>",
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='white'/>",
        f"<text x='{_LEFT}' y='26' font-size='16' font-weight='600'>{_title(found)}</text>",
        *_legend(),
        *_grid(found, lowest),
        *_reached(found, lowest),
    ]
    named = {y.part.index for y in (found.first, found.worst) if y is not None}
    for layer in found.layers:
        if layer.own is not None and layer.part.index not in named:
            colour = _GREY if layer.origin is None else _OWN
            parts.append(_dot(found, layer, lowest, colour, 3))
    parts += _marks(found, lowest)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _title(found: Diagnosis) -> str:
    names = found.original if found.candidate is None else f"{found.original} → {found.candidate}"
    return _text(f"{names} on {found.target.name}")


def _legend() -> Iterator[str]:
    entries = (
        (_GREY, "a layer by itself: rounding"),
        (_OWN, "a layer by itself: beyond rounding"),
        (_REACHED, "with everything before it"),
        (_NAMED, "named"),
    )
    x = float(_LEFT)
    for colour, words in entries:
        yield f"<circle cx='{x + 5}' cy='48' r='5' fill='{colour}'/>"
        yield f"<text x='{x + 16}' y='52'>{words}</text>"
        x += 34 + 6.6 * len(words)


def _grid(found: Diagnosis, lowest: float) -> Iterator[str]:
    right = _WIDTH - _RIGHT
    for db in range(int(lowest), int(_HIGHEST_DB) + 1, 20 if lowest < 60 else 10):
        at = f"{_y(db, lowest):.1f}"
        yield f"<line x1='{_LEFT}' y1='{at}' x2='{right}' y2='{at}' stroke='#e8eaed'/>"
        yield (
            f"<text x='{_LEFT - 8}' y='{at}' text-anchor='end' dominant-baseline='middle'>"
            f"{db}</text>"
        )
    at = f"{_y(found.rounding_db, lowest):.1f}"
    yield (
        f"<line x1='{_LEFT}' y1='{at}' x2='{right}' y2='{at}' stroke='{_GREY}' "
        "stroke-dasharray='4 4'/>"
    )
    count = len(found.layers)
    step = max(1, 10 ** math.floor(math.log10(max(count, 1))) // 2)
    for index in range(0, count, step):
        yield (
            f"<text x='{_x(found, index):.1f}' y='{_HEIGHT - _BOTTOM + 20}' "
            f"text-anchor='middle'>{index}</text>"
        )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f"<text x='{(_LEFT + right) / 2}' y='{_HEIGHT - 14}' text-anchor='middle'>"
        "layer, in topological order</text>"
    )
    yield (
        f"<text x='20' y='{middle}' text-anchor='middle' transform='rotate(-90 20 {middle})'>"
        f"SQNR in dB, from {_HIGHEST_DB:.0f} on equal</text>"
    )


def _reached(found: Diagnosis, lowest: float) -> Iterator[str]:
    points = [
        f"{_x(found, y.part.index):.1f},{_y(y.reached_db, lowest):.1f}"
        for y in found.layers
        if y.reached_db is not None
    ]
    if points:
        yield (
            f"<polyline points='{' '.join(points)}' fill='none' stroke='{_REACHED}' "
            "stroke-width='1.5'/>"
        )


def _marks(found: Diagnosis, lowest: float) -> Iterator[str]:
    """The named layers, each with its name on a row of its own."""
    first, worst = found.first, found.worst
    if first is None or worst is None:
        return
    same = first.part.index == worst.part.index
    marks = [("first and worst", first)] if same else [("first", first), ("worst", worst)]
    for row, (words, layer) in enumerate(marks):
        x = _x(found, layer.part.index)
        yield _dot(found, layer, lowest, _NAMED, 6)
        yield (
            f"<line x1='{x:.1f}' y1='{_TOP - 34 + 16 * row}' x2='{x:.1f}' "
            f"y2='{_y(layer.own_db, lowest):.1f}' stroke='{_NAMED}' stroke-dasharray='2 3'/>"
        )
        anchor, shift = ("end", -6) if x > _WIDTH / 2 else ("start", 6)
        label = f"{words}: {layer.part.name}, {units.decibels(layer.own_db)}"
        yield (
            f"<text x='{x + shift:.1f}' y='{_TOP - 30 + 16 * row}' text-anchor='{anchor}' "
            f"fill='{_NAMED}' font-weight='600'>{_text(label)}</text>"
        )


def _dot(found: Diagnosis, layer: LayerEvidence, lowest: float, colour: str, radius: int) -> str:
    x, y = _x(found, layer.part.index), _y(layer.own_db, lowest)
    return (
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius}' fill='{colour}'>"
        f"<title>{_text(layer.part.name)}: {units.decibels(layer.own_db)}</title></circle>"
    )


def _lowest(found: Diagnosis) -> float:
    """The lower end of the axis: a multiple of 20 dB."""
    known = [y.own_db for y in found.layers if y.own is not None]
    known += [y.reached_db for y in found.layers if y.reached_db is not None]
    finite = [db for db in known if math.isfinite(db)]
    return max(_LOWEST_DB, 20.0 * math.floor(min([*finite, 100.0]) / 20))


def _x(found: Diagnosis, index: int) -> float:
    span = max(1, len(found.layers) - 1)
    return _LEFT + 10 + index / span * (_WIDTH - _LEFT - _RIGHT - 20)


def _y(db: float, lowest: float) -> float:
    part = (min(max(db, lowest), _HIGHEST_DB) - lowest) / (_HIGHEST_DB - lowest)
    return _HEIGHT - _BOTTOM - part * (_HEIGHT - _BOTTOM - _TOP)


def _text(name: str) -> str:
    return escape(printable(name, limit=_LONGEST_LABEL + 40))
