"""What the forms of a net's parts cost within it, learned from races of whole nets.

The time of a net, over that of the net with nothing changed, is taken for a sum:

    T(a) = 1 + Σ over the parts p that a changes of e[p, a(p)]

with effects e that are normal a priori, around what a part was seen to save by itself. A race in
which net r took ρ times as long as net f says T(r) = ρ T(f), which is linear in the effects:

    Σ e[r] - ρ Σ e[f] = ρ - 1,    known to within the standard error of ρ

So every race of any nets says something of every effect in which they differ, and a dozen races of
nets with many changes tell them apart that one race each could not. It is Bayesian linear
regression (Bishop, Pattern Recognition and Machine Learning, 3.3), kept as precision and shift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelcheck.searching.stopwatch import Gain

Assignment = Mapping[str, str]
"""Part of a net -> the form that it has; parts that are not there stay as they are."""
Choice = tuple[str, str]  # a part, and a form of it

# Times are no sums: what a layer costs depends on its neighbours. A race is trusted no further.
_NO_SUM = 0.004
# A net that does not run, as though it were so much slower, known to within as much.
_NOT_RUN, _NOT_RUN_ERROR = 2.0, 0.3


@dataclass(frozen=True, slots=True)
class Prior:
    """What an effect is thought to be before any race, and how far off that may be.

    In units of the time of the net with nothing changed; negative where the form saves time.
    """

    mean: float
    deviation: float


class CostModel:
    """The effects of all choices, as far as they are known."""

    def __init__(self, priors: Mapping[Choice, Prior]) -> None:
        self._place = {choice: i for i, choice in enumerate(priors)}
        means = np.array([prior.mean for prior in priors.values()])
        self._precision = np.diag([prior.deviation**-2 for prior in priors.values()])
        self._shift = self._precision @ means

    def observe(self, first: Assignment, rival: Assignment, gain: Gain | None) -> None:
        """What a race gave for a rival of `first`; None where it did not run.

        Who is to blame for a net that does not run shows as others run that share its choices.
        Times too short for the clock say nothing.
        """
        if gain is not None and not (0 < gain.ratio < math.inf and gain.error < math.inf):
            return
        slower = _NOT_RUN if gain is None else 1 / gain.ratio
        error = _NOT_RUN_ERROR if gain is None else gain.error * slower**2
        row = self._row(rival) - slower * self._row(first)
        weight = 1 / (error**2 + _NO_SUM**2)
        self._precision += weight * np.outer(row, row)
        self._shift += weight * (slower - 1) * row

    def effects(self) -> dict[Choice, float]:
        """What is expected of each."""
        return dict(zip(self._place, self._mean().tolist(), strict=True))

    def best(self) -> Assignment:
        """The fastest net, by what is expected."""
        return self._fastest(self._mean())

    def drawn(self, random: np.random.Generator) -> Assignment:
        """The fastest net if the effects were what they may well be (Thompson sampling).

        What is certain stays, and what is not is tried as often as it may be the best.
        """
        root = np.linalg.cholesky(self._precision)
        noise = np.linalg.solve(root.T, random.standard_normal(len(root)))
        return self._fastest(self._mean() + noise)

    def _mean(self) -> np.ndarray:
        found: np.ndarray = np.linalg.solve(self._precision, self._shift)
        return found

    def _row(self, assignment: Assignment) -> np.ndarray:
        row = np.zeros(len(self._place))
        row[[self._place[choice] for choice in assignment.items()]] = 1.0
        return row

    def _fastest(self, effects: np.ndarray) -> Assignment:
        least: dict[str, float] = {}
        form_of: dict[str, str] = {}
        for (part, form), effect in zip(self._place, effects, strict=True):
            if effect < least.get(part, 0.0):
                least[part], form_of[part] = effect, form
        return form_of
