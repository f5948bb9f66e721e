"""What else the machine did while models were timed, as far as the system tells."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from modelcheck.errors import printable
from modelcheck.judge.fitness import Surroundings

_QUOTA = Path("/sys/fs/cgroup/cpu.stat")
_SHOWN, _BUSY_CORES = 2, 0.1
_SHORTEST_S = 0.2  # the system counts in hundredths of a second


@dataclass(frozen=True, slots=True)
class _Reading:
    wall_s: float
    busy_s: float  # of all cores, with what the hypervisor took
    stolen_s: float
    throttled_s: float
    by_process: dict[tuple[int, float], tuple[str, float]]  # (pid, start) -> name, CPU seconds


class Watch:
    """Look when made, look again at `surroundings`; the difference is what happened between."""

    def __init__(self) -> None:
        self._before = _read()

    def surroundings(self) -> Surroundings:
        """Call it while the own workers still live: what they did is not by others."""
        before, now = self._before, _read()
        wall_s = now.wall_s - before.wall_s
        if wall_s < _SHORTEST_S:
            return Surroundings(clock=_clock())
        used = {
            key: (name, seconds - before.by_process.get(key, (name, 0.0))[1])
            for key, (name, seconds) in now.by_process.items()
        }
        own = _own_tree()
        own_s = sum(seconds for (pid, _), (_, seconds) in used.items() if pid in own)
        others = {key: value for key, value in used.items() if key[0] not in own}
        busiest = sorted(others.items(), key=lambda item: -item[1][1])[:_SHOWN]
        return Surroundings(
            others_cores=max(0.0, (now.busy_s - before.busy_s - own_s) / wall_s),
            busiest=tuple(
                f"{printable(name, 40)} (pid {pid}, {seconds / wall_s:.1f} cores)"
                for (pid, _), (name, seconds) in busiest
                if seconds / wall_s >= _BUSY_CORES
            ),
            clock=_clock(),
            throttled=(now.throttled_s - before.throttled_s) / wall_s,
            stolen=(now.stolen_s - before.stolen_s) / wall_s / (os.cpu_count() or 1),
        )


def _read() -> _Reading:
    times = psutil.cpu_times()
    stolen = getattr(times, "steal", 0.0)
    return _Reading(
        time.monotonic(),
        times.user + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
        + getattr(times, "nice", 0.0) + stolen,
        stolen,
        _throttled_s(),
        {
            (p.pid, p.info["create_time"]): (p.info["name"] or "?", sum(p.info["cpu_times"][:2]))
            for p in psutil.process_iter(["name", "cpu_times", "create_time"])
            if p.info["cpu_times"] is not None
        },
    )  # fmt: skip


def _own_tree() -> set[int]:
    own = psutil.Process()
    return {own.pid, *(child.pid for child in own.children(recursive=True))}


def _clock() -> float | None:
    """The fastest core's frequency over its highest; None where the system does not tell both.

    The fastest, because idle cores slow down, and the one that has just worked has not yet.
    """
    try:
        cores = [core for core in psutil.cpu_freq(percpu=True) or () if core.max]
    except (OSError, RuntimeError, NotImplementedError):
        return None
    return max((min(1.0, core.current / core.max) for core in cores), default=None)


def _throttled_s() -> float:
    """How long a container's CPU quota has stopped this group of processes so far."""
    try:
        facts = dict(line.split() for line in _QUOTA.read_text().splitlines())
        return int(facts.get("throttled_usec", 0)) / 1e6
    except (OSError, ValueError):
        return 0.0
