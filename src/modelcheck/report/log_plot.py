"""What the plots of two logarithmic axes share: the frame, the grid, labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from modelcheck.errors import printable

WIDTH, HEIGHT = 860, 560
LEFT, RIGHT, TOP, BOTTOM = 80, 30, 64, 60
GREY, BLACK = "#9aa0a6", "#202124"
_FONT = "font-family='system-ui, sans-serif'"
_LONGEST_LABEL = 100


@dataclass(frozen=True, slots=True)
class Axis:
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


def axis_over(values: Iterable[float], start: float, end: float) -> Axis:
    """With some room on both ends."""
    known = [v for v in values if 0 < v < math.inf] or [1.0]
    return Axis(min(known) / 1.25, max(known) * 1.25, start, end)


def frame(title: str, subtitle: str) -> Iterator[str]:
    """The beginning of the picture; `</svg>` ends it."""
    yield (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' "
        f"width='{WIDTH}' height='{HEIGHT}' {_FONT} font-size='13' fill='{BLACK}'>"
    )
    yield f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>"
    yield f"<text x='{LEFT}' y='26' font-size='16' font-weight='600'>{text_of(title)}</text>"
    yield f"<text x='{LEFT}' y='46' fill='{BLACK}'>{text_of(subtitle, limit=200)}</text>"


def grid(
    x: Axis,
    y: Axis,
    titles: tuple[str, str],
    texts: tuple[Callable[[float], str], Callable[[float], str]],
) -> Iterator[str]:
    """Lines and numbers of both axes, and what they are."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in x.ticks():
        at = f"{x(value):.1f}"
        yield f"<line x1='{at}' y1='{TOP}' x2='{at}' y2='{bottom}' stroke='#e8eaed'/>"
        yield f"<text x='{at}' y='{bottom + 20}' text-anchor='middle'>{texts[0](value)}</text>"
    for value in y.ticks():
        at = f"{y(value):.1f}"
        yield f"<line x1='{LEFT}' y1='{at}' x2='{right}' y2='{at}' stroke='#e8eaed'/>"
        yield (
            f"<text x='{LEFT - 8}' y='{at}' text-anchor='end' dominant-baseline='middle'>"
            f"{texts[1](value)}</text>"
        )
    yield (
        f"<text x='{(LEFT + right) / 2}' y='{HEIGHT - 16}' text-anchor='middle'>{titles[0]}</text>"
    )
    middle = (TOP + bottom) / 2
    yield (
        f"<text x='12' y='{middle}' text-anchor='middle' transform='rotate(-90 12 {middle})'>"
        f"{titles[1]}</text>"
    )


def dot(x: float, y: float, colour: str, *, radius: float = 6, opacity: float = 1.0) -> str:
    seen_through = "" if opacity == 1.0 else f" fill-opacity='{opacity:g}'"
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius:g}' fill='{colour}'{seen_through}/>"


def label(text: str, x: float, y: float, colour: str, rows: list[float]) -> str:
    """A text beside a dot, on the side that has room, at a height where none stands yet."""
    row = min(max(y - 14, TOP + 14), HEIGHT - BOTTOM - 8)
    while any(abs(row - other) < 16 for other in rows):
        row += 16
    rows.append(row)
    anchor, shift = ("end", -12) if x > WIDTH / 2 else ("start", 12)
    return (
        f"<text x='{x + shift:.1f}' y='{row:.1f}' text-anchor='{anchor}' fill='{colour}' "
        f"font-weight='600' stroke='white' stroke-width='3' paint-order='stroke'>"
        f"{text_of(text)}</text>"
    )


def text_of(name: str, *, limit: int = _LONGEST_LABEL) -> str:
    return escape(printable(name, limit=limit))
