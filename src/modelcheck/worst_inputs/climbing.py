"""Hill climbing from several samples at once.

A search is a generator: it yields variants and is sent the score of each, the more the worse.
It never ends by itself.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from modelcheck.worst_inputs.edits import Edit
from modelcheck.worst_inputs.neighbourhood import Neighbourhood, Variant
from modelcheck.worst_inputs.proposals import openings, propose

Search = Generator[Variant, float, None]
_LARGER, _SMALLER, _SMALLEST = 1.5, 0.95, 1 / 32


@dataclass
class _Climber:
    """One sample, as far as it was brought."""

    variant: Variant
    score: float
    openings: Iterator[Edit]
    scale: float = 1.0


def climb(near: Neighbourhood, scores: Mapping[int, float], *, seed: int) -> Search:
    """Climb from samples with known scores.

    Each is first made as bright and as dark as allowed, and of more and of less contrast. One step
    in two goes to the climber that is highest, the others take turns. Steps grow after a success
    and shrink after a failure; one in four is as large as allowed, so that none stays on a plain.
    """
    random = np.random.default_rng(seed)
    climbers = [
        _Climber(Variant(sample), score, openings(near.shapes(sample)))
        for sample, score in scores.items()
    ]
    turn = 0
    while climbers:
        if random.integers(2):
            climber = max(climbers, key=lambda c: c.score)
        else:
            climber = climbers[turn % len(climbers)]
            turn += 1
        edit = next(climber.openings, None)
        if edit is None:
            scale = 1.0 if random.integers(4) == 0 else climber.scale
            edit = propose(random, near.shapes(climber.variant.sample), scale)
        variant = climber.variant.then(edit)
        score = yield variant
        if score > climber.score:
            climber.variant, climber.score = variant, score
            climber.scale = min(1.0, climber.scale * _LARGER)
        else:
            climber.scale = max(_SMALLEST, climber.scale * _SMALLER)
