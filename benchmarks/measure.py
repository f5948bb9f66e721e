"""Run commands one after the other, in turn, and compare their wall time and peak memory."""

from __future__ import annotations

import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from modelcheck import units

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall seconds, and the peak memory of a process with all its children.

    Private pages count whole and shared ones in part (PSS), so children do not count twice.
    """

    seconds: float
    peak_bytes: int


def cost_of(command: Sequence[str], *, cwd: Path | None = None) -> Cost:
    """Run a command to its end; raises CalledProcessError with its output when it fails."""
    start_s = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peak = Peak(process.pid)
    output, _ = process.communicate()
    seconds = time.perf_counter() - start_s
    peak.stop()
    if process.returncode:
        print(output)
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return Cost(seconds, peak.bytes)


def interleaved(runs: Mapping[str, Callable[[], Cost]], *, rounds: int) -> dict[str, list[Cost]]:
    """Each run once a round, in turn, so that a slow spell of the machine hits all alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            costs[name].append(run())
    return costs


def report(title: str, costs: Mapping[str, Sequence[Cost]], *, of: str, to: str) -> None:
    """Print medians, and the ratios of one run to another: the median of the rounds' ratios."""
    print(f"\n{title}")
    for name, found in costs.items():
        seconds = statistics.median(c.seconds for c in found)
        peak = statistics.median(c.peak_bytes for c in found)
        print(f"  {name:28} {units.duration(seconds):>10}   {units.size(peak):>10}")
    pairs = list(zip(costs[of], costs[to], strict=True))
    times = statistics.median(a.seconds / b.seconds for a, b in pairs)
    # A process that is over between two looks has no peak.
    peaks = statistics.median(a.peak_bytes / max(1, b.peak_bytes) for a, b in pairs)
    print(f"  {of} to {to}: time {times:.2f}x, peak memory {peaks:.2f}x")


class Peak:
    """Polls the memory of a process tree until stopped; `bytes` is the most that it has seen."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._done.wait(_POLL_S):
            try:
                root = psutil.Process(self._pid)
                tree = [root, *root.children(recursive=True)]
                self.bytes = max(self.bytes, sum(_pss(p) for p in tree))
            except psutil.Error:
                continue


def _pss(process: psutil.Process) -> int:
    # The roll-up is cheap; walking every mapping would slow down what is measured.
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
