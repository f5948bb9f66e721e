"""Climbing: nets with many changes race beside the best so far, and what is provably faster stays.

Which nets race is for the cost model to say, which learns from every race: the one that it expects
to be the fastest, and others that may well be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from modelcheck.searching.cost_model import Assignment, CostModel
from modelcheck.searching.stopwatch import Gain

AT_A_TIME = 6  # nets that race beside the best so far
_DRAWS = 30  # to find as many that differ
_PATIENCE = 8  # races in a row in which nothing pays
_WORTH_KEEPING = 1.003


def pays(gain: Gain, *, errors: float = 2.0) -> bool:
    """Whether a race says so by so many standard errors, and it is worth the change."""
    return gain.above(errors=errors) > 1.0 and gain.ratio > _WORTH_KEEPING


@dataclass
class Climb:
    """From the net as it is `chosen` on, to what no race finds a faster one for.

    `gains` races rivals with a net, and gives how much faster they are, by their place; None where
    one does not run, and nothing at all where the net itself does not.
    """

    chosen: Assignment
    costs: CostModel
    gains: Callable[[Assignment, Sequence[Assignment]], Mapping[int, Gain | None]]
    late: Callable[[], bool]
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def run(self) -> Iterator[Assignment]:
        """Yields what is chosen after every race; ends where nothing pays, or the time is over."""
        in_vain = 0
        while in_vain < _PATIENCE and not self.late() and (rivals := self._rivals()):
            in_vain = 0 if self.race(rivals) else in_vain + 1
            yield self.chosen

    def race(self, rivals: Sequence[Assignment]) -> bool:
        """Race nets with the chosen one; whether one paid and, alone, was faster again.

        Of six nets that are no faster one pays in every seventh race; of those, one in six again.
        """
        paying = {i: gain for i, gain in self._learn(rivals).items() if pays(gain)}
        if not paying:
            return False
        best = rivals[max(paying, key=lambda i: paying[i].ratio)]
        again = self._learn([best]).get(0)
        if again is None or again.above(errors=1.0) < 1.0:
            return False
        self.chosen = best
        return True

    def _learn(self, rivals: Sequence[Assignment]) -> dict[int, Gain]:
        """Race rivals with the chosen net; the gains of those that run."""
        gains = self.gains(self.chosen, rivals)
        for i, gain in gains.items():
            self.costs.observe(self.chosen, rivals[i], gain)
        return {i: gain for i, gain in gains.items() if gain is not None}

    def _rivals(self) -> list[Assignment]:
        """The net that should be the fastest, and others; none where all is certain."""
        found: list[Assignment] = []
        for number in range(_DRAWS):
            rival = self.costs.drawn(self._random) if number else self.costs.best()
            if rival != self.chosen and rival not in found:
                found.append(rival)
            if len(found) == AT_A_TIME:
                break
        return found
