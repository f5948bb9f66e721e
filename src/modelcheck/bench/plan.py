"""What is measured, and what was found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np

from modelcheck.judge.quantiles import Bounded, median_of, quantile, speedup
from modelcheck.model import Model
from modelcheck.process import ChildLimits
from modelcheck.targets import OpenCV, Placement, Target

DEFAULT_BUDGET_S = 20.0
LEVELS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# Signs of a machine that does other work: they change no figure, and explain wide intervals.
_NOISY_SPREAD = 1.2  # the slowest process's median over the fastest's
_NOISY_CPU_WALL = 0.8  # a single thread that computes all the time has 1

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """A model, by the label that tells it from others on the screen, and what it is fed."""

    label: str
    model: Model
    samples: Sequence[Arrays]  # all of one shape
    origin: str
    synthetic: bool = False

    @property
    def batch(self) -> int:
        """How many samples one forward takes."""
        shapes = {array.shape[0] for array in self.samples[0].values() if array.ndim}
        return shapes.pop() if len(shapes) == 1 else 1


@dataclass(frozen=True)
class BenchPlan:
    """Every subject is measured on every target. `budget_s` is for one of them on one target."""

    subjects: tuple[Subject, ...]
    targets: tuple[Target, ...]
    budget_s: float = DEFAULT_BUDGET_S
    seed: int = 0
    child_limits: ChildLimits = ChildLimits()


@dataclass(frozen=True)
class Process:
    """What one fresh worker process measured."""

    load_s: float
    first_s: float
    blocks_s: tuple[tuple[float, ...], ...]  # the latencies, block by block
    cpu_s: float
    wall_s: float
    peak_bytes: int
    idle_bytes: int  # before the model was loaded: Python, numpy and cv2

    @cached_property
    def latencies_s(self) -> tuple[float, ...]:
        return tuple(seconds for block in self.blocks_s for seconds in block)

    @cached_property
    def p50_s(self) -> float:
        return median(self.latencies_s)

    def times_as_fast_as(self, other: Process) -> float:
        """By their medians block by block, which followed each other within a moment."""
        pairs = zip(other.blocks_s, self.blocks_s, strict=True)
        return math.exp(median(math.log(median(theirs) / median(ours)) for theirs, ours in pairs))


@dataclass(frozen=True)
class Row:
    """One model on one target. Where it could not be measured `failure` says why.

    The processes of all rows ran in turn: the i-th of one beside the i-th of another.
    """

    subject: Subject
    target: Target
    opencv: OpenCV | None = None
    placement: Placement | None = None
    processes: tuple[Process, ...] = ()
    failure: str | None = None

    @property
    def measured(self) -> bool:
        return self.failure is None

    @property
    def runs(self) -> int:
        return sum(len(process.latencies_s) for process in self.processes)

    @cached_property
    def latency_s(self) -> Mapping[str, Bounded]:
        """p50, p90 and p99 of a forward in a fresh process."""
        times = [process.latencies_s for process in self.processes]
        return {name: quantile(times, level) for name, level in LEVELS.items()}

    @property
    def samples_per_s(self) -> float:
        """One forward after the other."""
        return self.subject.batch * self.runs / sum(sum(p.latencies_s) for p in self.processes)

    @property
    def cpu_wall(self) -> float:
        return sum(p.cpu_s for p in self.processes) / sum(p.wall_s for p in self.processes)

    @property
    def load_s(self) -> Bounded:
        return median_of([process.load_s for process in self.processes])

    @property
    def first_s(self) -> Bounded:
        return median_of([process.first_s for process in self.processes])

    @property
    def peak_bytes(self) -> float:
        return median(process.peak_bytes for process in self.processes)

    @property
    def added_bytes(self) -> float:
        """What the model adds to a process that has imported cv2."""
        return median(process.peak_bytes - process.idle_bytes for process in self.processes)

    @property
    def spread(self) -> float:
        """The slowest process's median over the fastest's."""
        medians = [process.p50_s for process in self.processes]
        return max(medians) / min(medians)

    @property
    def noisy(self) -> bool:
        busy = self.placement is not None and self.target.device.is_cpu
        return self.spread > _NOISY_SPREAD or (busy and self.cpu_wall < _NOISY_CPU_WALL)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many times as fast as another one (or as a saved one) a row is."""

    row: int
    other: int | None  # a row of this run; None: the baseline's
    speedup: Bounded

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.speedup.low <= 1 <= self.speedup.high


@dataclass(frozen=True)
class Bench:
    """The result: a row for each model on each target, models first."""

    plan: BenchPlan
    rows: tuple[Row, ...]
    seconds: float = 0.0

    def between_models(self) -> tuple[Comparison, ...]:
        """Each other model with the first one, on the same target."""
        per_model = len(self.plan.targets)
        return self._compared((i, i % per_model) for i in range(per_model, len(self.rows)))

    def between_targets(self) -> tuple[Comparison, ...]:
        """Each model on each other target with the same model on the first one."""
        n = len(self.plan.targets)
        return self._compared((i, i - i % n) for i in range(len(self.rows)) if i % n)

    def _compared(self, pairs: Iterable[tuple[int, int]]) -> tuple[Comparison, ...]:
        found = []
        for i, j in pairs:
            row, other = self.rows[i], self.rows[j]
            if row.measured and other.measured:
                turns = zip(row.processes, other.processes, strict=True)
                found.append(Comparison(i, j, speedup([a.times_as_fast_as(b) for a, b in turns])))
        return tuple(found)
