"""Climbing: change after change of a net, and what makes it provably faster stays.

Changes race side by side with the net as it is. All that pay are taken together if that is faster
still, else the best of them. Until nothing pays any more, or the time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from modelcheck.searching.stopwatch import Gain

State = TypeVar("State")
Change = TypeVar("Change")

AT_A_TIME = 6  # changes that race beside the net as it is
_WORTH_KEEPING = 1.003


def pays(gain: Gain) -> bool:
    """Whether a race says so by two standard errors, and it is worth the change."""
    return gain.surely_above > 1.0 and gain.ratio > _WORTH_KEEPING


@dataclass
class Climb(Generic[State, Change]):
    """A state, what changes make of it, and races of the states that come of them.

    `gains` gives how much faster than the first state the others are, by their place among them;
    those that do not run are left out.
    """

    state: State
    changed: Callable[[State, Sequence[Change]], State]
    gains: Callable[[State, Sequence[State]], Mapping[int, Gain]]
    late: Callable[[], bool]

    def run(self, changes: Callable[[State], Sequence[Change]]) -> Iterator[State]:
        """Go on for as long as any change pays; yields after every race."""
        taken = True
        while taken:
            taken = False
            found = changes(self.state)
            for i in range(0, len(found), AT_A_TIME):
                if self.late():
                    return
                taken = self.take(found[i : i + AT_A_TIME]) or taken
                yield self.state

    def take(self, changes: Sequence[Change]) -> bool:
        """Race changes, each by itself; whether any paid, and is in the state now."""
        rivals = [self.changed(self.state, [change]) for change in changes]
        gains = self.gains(self.state, rivals)
        paying = sorted((i for i, g in gains.items() if pays(g)), key=lambda i: -gains[i].ratio)
        if not paying:
            return False
        best = rivals[paying[0]]
        if len(paying) > 1:
            together = self.changed(self.state, [changes[i] for i in paying])
            again = self.gains(self.state, [best, together])
            paying = [i for i, g in again.items() if pays(g)]
            if not paying:
                return False
            best = [best, together][max(paying, key=lambda i: again[i].ratio)]
        self.state = best
        return True
