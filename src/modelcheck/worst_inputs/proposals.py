"""Random edits that suit images, sequences and feature rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from modelcheck.worst_inputs.edits import (
    Contrast,
    Edit,
    Noise,
    Shift,
    channel_axis,
    inner_sizes,
)

_CELLS = (1, 2, 4, 8, 16, 32)
_SEEDS = 1 << 16


def propose(
    random: np.random.Generator, shapes: Mapping[str, tuple[int, ...]], scale: float
) -> Edit:
    """One random edit of at most `scale` of what is allowed: half noise, half shifts."""
    name = str(random.choice(list(shapes)))
    shape = shapes[name]
    sizes = inner_sizes(shape)
    amount = scale * float(random.uniform(0.25, 1.0)) * (1 if random.integers(2) else -1)
    kind = random.integers(8)
    if kind < 4:
        cells = [cell for cell in _CELLS if cell == 1 or cell < max(sizes, default=1)]
        return Noise(name, amount, int(random.choice(cells)), int(random.integers(_SEEDS)))
    if kind == 4 and sizes:
        return Contrast(name, amount)
    region = () if kind == 5 else tuple(_stretch(random, n) for n in sizes)
    return Shift(name, amount, _channel(random, shape), region)


def openings(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Edit]:
    """What changes a photograph most, and is said in two words: light and contrast."""
    for name, shape in shapes.items():
        for amount in (1.0, -1.0):
            yield Shift(name, amount)
            if inner_sizes(shape):
                yield Contrast(name, amount)


def _channel(random: np.random.Generator, shape: tuple[int, ...]) -> int | None:
    axis = channel_axis(shape)
    if axis is None or shape[axis] == 1 or random.integers(3) == 0:
        return None
    return int(random.integers(shape[axis]))


def _stretch(random: np.random.Generator, length: int) -> tuple[int, int]:
    """A part of an axis; all sizes from one element to half of it are as likely."""
    size = max(1, int(2 ** random.uniform(0, np.log2(max(2, length / 2)))))
    start = int(random.integers(max(1, length - size + 1)))
    return start, min(length, start + size)
