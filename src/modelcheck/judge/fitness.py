"""Was the machine fit for timing? What it did besides, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from modelcheck import units

SPREAD = 1.3  # the original's p90 over its median
DRIFT = 0.1  # how far the original's median moved from the first half to the second
CPU_WALL = 0.8  # a single thread that computes all the time has 1
_OTHERS = 0.25  # cores that others kept busy
_SLOW_CLOCK = 0.8  # the processor's frequency over its highest
_STEALS = 0.02  # part of the time that a hypervisor or a container's quota took away


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the system told of the time while models were timed; None: it does not tell."""

    others_cores: float | None = None  # cores kept busy by other processes
    busiest: tuple[str, ...] = ()  # the busiest of those: 'ffmpeg (pid 12, 0.9 cores)'
    clock: float | None = None  # frequency over the highest frequency
    throttled: float = 0.0  # part of the time that a container's CPU quota took away
    stolen: float = 0.0  # part of the time that the hypervisor gave to others


@dataclass(frozen=True, slots=True)
class Fitness:
    """The machine's state over the timing of one target."""

    cpu_wall_ratio: float | None
    spread: float  # the original's p90 over its median
    drift: float  # the original's median, second half of the run over the first, minus 1
    surroundings: Surroundings = Surroundings()

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against the times; none on a fit machine."""
        around = self.surroundings
        found = []
        if self.drift > DRIFT or self.drift < -DRIFT:
            way = "slower" if self.drift > 0 else "faster"
            found.append(f"the original became {units.percent(abs(self.drift), 0)} {way}")
        if self.spread > SPREAD:
            found.append(f"the original's p90 is {self.spread:.2f} times its median")
        if self.cpu_wall_ratio is not None and self.cpu_wall_ratio < CPU_WALL:
            found.append(f"CPU over wall time was {self.cpu_wall_ratio:.2f}")
        if around.others_cores is not None and around.others_cores > _OTHERS:
            names = f": {', '.join(around.busiest)}" if around.busiest else ""
            found.append(f"other processes kept {around.others_cores:.1f} cores busy{names}")
        if around.throttled > _STEALS:
            found.append(f"a CPU quota stopped it {units.percent(around.throttled, 0)} of the time")
        if around.stolen > _STEALS:
            found.append(f"the hypervisor took {units.percent(around.stolen, 0)} of the time")
        if around.clock is not None and around.clock < _SLOW_CLOCK:
            found.append(f"the clock ran at {units.percent(around.clock, 0)} of its highest rate")
        return tuple(found)

    @property
    def disturbed(self) -> bool:
        """Whether the original's own times show it; what happens beside them does no harm."""
        slow_cpu = self.cpu_wall_ratio is not None and self.cpu_wall_ratio < CPU_WALL
        return abs(self.drift) > DRIFT or self.spread > SPREAD or slow_cpu

    @property
    def remedy(self) -> str:
        """What to do, in the order of what helps most."""
        around = self.surroundings
        todo = ["close what else runs" if around.busiest else "use a quieter machine"]
        if around.throttled > _STEALS:
            todo.append("lift the container's CPU quota")
        if around.clock is not None and around.clock < _SLOW_CLOCK:
            todo.append("set the governor to 'performance'")
        todo += [
            "pin the run (taskset -c 1, with --target cpu:threads=1)",
            "give it more time (--time-budget)",
        ]
        return _capitalized(", ".join(todo[:-1]) + f", or {todo[-1]}")


def spread_and_drift(times_s: Sequence[float]) -> tuple[float, float]:
    """The p90 over the median, and the second half's median over the first's, minus 1."""
    if len(times_s) < 2:
        return 1.0, 0.0
    half = len(times_s) // 2
    drift = median(times_s[half:]) / median(times_s[:half]) - 1
    return p90(times_s) / median(times_s), drift


def p90(times_s: Sequence[float]) -> float:
    """The smallest time that at least nine in ten do not exceed."""
    return sorted(times_s)[-(-9 * len(times_s) // 10) - 1]


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
