"""A stopwatch whose times a test makes up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from modelcheck.model import Model
from modelcheck.searching.stopwatch import NotRun, Runner, Times


class Scripted:
    """A stopwatch whose times are a sum over the nodes; deterministic but for a little noise."""

    def __init__(self, cost: Callable[[Model], float], noise: float = 0.0) -> None:
        self.cost, self.noise, self.races = cost, noise, 0
        self.random = np.random.default_rng(0)

    def race(
        self, runners: Mapping[str, Runner], samples: object, *, rounds: int, seconds: float
    ) -> dict[str, Times | NotRun]:
        self.races += 1
        return {key: self._time(self.cost(r.model), rounds) for key, r in runners.items()}

    def _time(self, cost: float, rounds: int) -> Times | NotRun:
        if cost == float("inf"):
            return NotRun("it cannot")
        return Times(tuple(cost * (1 + self.noise * self.random.standard_normal(rounds))))


def costing(**costs: float) -> Callable[[Model], float]:
    return lambda model: 1.0 + sum(costs.get(node.op_type, 0.0) for node in model.graph)
