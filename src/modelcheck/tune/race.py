"""The proof: the chosen settings against the default, in fresh processes, one after the other.

Whole processes differ by 5-40 % in speed (GATE.md), so four sets of them take turns. In a round
every setting works for a stretch, in a random order, and then again in the opposite one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from modelcheck.judge import Check, Outcome
from modelcheck.judge.limits import EquivalenceLimit
from modelcheck.judge.serving import Measure, Round, Stretch, gain, meets
from modelcheck.targets import Placement
from modelcheck.tune.rightness import Expected, judge_outputs
from modelcheck.tune.settings import ServingLimits, Setting
from modelcheck.tune.workbench import Workbench, stretch_seconds

DEFAULT = "default"
WORKERS = 4
ROUNDS_BEFORE_DECISIONS = 16  # four of each set of processes
_ENOUGH_ROUNDS = 24  # for an interval that is worth reading
_MOST_ROUNDS = 120


@dataclass
class Race:
    """Measures settings by key, the default under DEFAULT. Iterate `run()`, then read `rounds`."""

    settings: Mapping[str, Setting]
    wanted: Mapping[str, tuple[Measure, ...]]  # for each rival: where it shall beat the default
    expected: Expected
    limit: EquivalenceLimit | None
    limits: ServingLimits
    make_bench: Callable[[], Workbench]
    seed: int
    request_s: Mapping[str, float]  # about how long a request takes
    rounds: list[Round] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)
    placements: dict[str, Placement] = field(default_factory=dict)

    @property
    def round_s(self) -> float:
        """About how long a round takes."""
        return sum(2 * (self._stretch_s(key) + self.request_s[key]) for key in self.settings)

    def judge(self) -> None:
        """Judge every setting on all samples, before any time is spent on its speed."""
        with self.make_bench() as bench:
            for key, setting in self.settings.items():
                self.placements[key] = bench.load(setting, key)
                run = bench.run(setting, key)
                self.checks[key] = judge_outputs(
                    self.expected, setting, run, self.limit, partial(bench.noise_floors, setting)
                )
                bench.unload(setting, key)

    def run(self, deadline_s: float) -> Iterator[int]:
        """Yields the number of rounds so far; ends when all is decided or the time is over."""
        random = np.random.default_rng(self.seed)
        with ExitStack() as stack:
            benches = [stack.enter_context(self.make_bench()) for _ in range(WORKERS)]
            for bench in benches:
                self._get_ready(bench)
            while len(self.rounds) < _MOST_ROUNDS:
                for number, bench in enumerate(benches):
                    if time.monotonic() > deadline_s:
                        return
                    self.rounds.append(self._round(number, bench, random))
                yield len(self.rounds)
                if len(self.rounds) >= _ENOUGH_ROUNDS and self._decided():
                    return

    def _get_ready(self, bench: Workbench) -> None:
        for key, setting in self.settings.items():
            bench.load(setting, key)
            bench.measure(setting, key, 0.0)

    def _round(self, number: int, bench: Workbench, random: np.random.Generator) -> Round:
        order = [str(key) for key in random.permutation(list(self.settings))]
        found: dict[str, list[Stretch]] = {key: [] for key in order}
        for key in [*order, *reversed(order)]:
            found[key].append(bench.measure(self.settings[key], key, self._stretch_s(key)))
        return Round(number, {key: (first, second) for key, (first, second) in found.items()})

    def _stretch_s(self, key: str) -> float:
        return stretch_seconds([self.request_s[key]])

    def _decided(self) -> bool:
        for key, measures in self.wanted.items():
            for measure in measures:
                found = gain(self.rounds, DEFAULT, key, measure, workers=WORKERS)
                if found.decision is None:
                    return False
        return (
            not self.limits.declared
            or any(self.meets(key) is Outcome.PASS for key in self.settings)
            or all(self.meets(key) is Outcome.FAIL for key in self.settings)
        )

    def meets(self, key: str) -> Outcome:
        """Whether a setting provably meets every limit that is declared."""
        asked: list[tuple[Measure, float]] = []
        if self.limits.max_latency_s is not None:
            asked.append(("latency", self.limits.max_latency_s))
        if self.limits.min_samples_per_s is not None:
            asked.append(("throughput", self.limits.min_samples_per_s))
        checks = max(1, len(asked) * len(self.settings))
        found = [
            meets(self.rounds, key, measure, limit, workers=WORKERS, checks=checks)
            for measure, limit in asked
        ]
        if "fail" in found:
            return Outcome.FAIL
        return Outcome.INCONCLUSIVE if None in found else Outcome.PASS
