"""The measuring: all rows take turns, in several generations of fresh processes.

Whole processes differ by 5-40 % in speed (GATE.md), so a row is measured in at least six, which
bound a ratio, and if the budget lets in eight, one after the other. In a generation each row has
one process; their blocks of runs follow each other in random order, so that a slow spell of the
machine hits all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelcheck.bench.plan import Arrays, BenchPlan, Process, Row, Subject
from modelcheck.errors import ContainedFailure, ModelcheckError, Unsupported
from modelcheck.process import ChildLimits
from modelcheck.targets import MeteredSession, OpenCV, Placement, Runs, Target

GENERATIONS = 8
LEAST_GENERATIONS = 6
_LEAST_BLOCKS, _MOST_BLOCKS = 4, 12  # of a process
_BLOCK_S = 0.15  # short, so that a slow spell of the machine hits the blocks of all rows
_MOST_RUNS = 250  # of a block
_STARTING_SHARE = 0.5  # at most so much of the budget goes into starting processes


@dataclass
class Entry:
    """A row in the making. One that has a `failure` takes no further part."""

    subject: Subject
    target: Target
    file: Path
    limits: ChildLimits
    opencv: OpenCV | None = None
    placement: Placement | None = None
    failure: str | None = None
    cost_s: float = 0.0  # of starting a process, loading and warming up
    processes: list[Process] = field(default_factory=list)

    def admit(self) -> None:
        """Prove, in a process of its own, that the model runs on the target."""
        begin_s = time.monotonic()
        try:
            with self._session() as session:
                self.opencv = session.opencv()
                session.load(self.file, self._outputs)
                # Before any other forward: where it fell back, a proof knows why.
                self.placement = session.prove(self._sample)
                session.first_forward_s(self._sample, timeout_s=self._patience_s)
                session.prepare(self.subject.samples, ["net"])
                self.cost_s = time.monotonic() - begin_s
        except (Unsupported, ContainedFailure) as error:
            self._fail(error)

    def start(self, stack: ExitStack) -> _Measured | None:
        """A fresh process, ready to be measured; None where it fails."""
        try:
            session = stack.enter_context(self._session())
            session.opencv()
            idle = session.memory().resident_bytes
            session.load(self.file, self._outputs)
            first_s = session.first_forward_s(self._sample, timeout_s=self._patience_s)
            session.prepare(self.subject.samples, ["net"])
        except (Unsupported, ContainedFailure) as error:
            self._fail(error)
            return None
        return _Measured(session, idle, session.load_s(), first_s)

    def measure(self, measured: _Measured, seconds: float, sample: int) -> None:
        """One block of runs."""
        try:
            runs = measured.session.measure(seconds, least=1, most=_MOST_RUNS, sample=sample)
        except (Unsupported, ContainedFailure) as error:
            self._fail(error)
            return
        measured.blocks.append(runs)

    def finish(self, measured: _Measured) -> None:
        try:
            peak = measured.session.memory().peak_bytes
        except (Unsupported, ContainedFailure) as error:
            self._fail(error)
            return
        self.processes.append(
            Process(
                load_s=measured.load_s,
                first_s=measured.first_s,
                blocks_s=tuple(block.seconds for block in measured.blocks),
                cpu_s=sum(block.cpu_s for block in measured.blocks),
                wall_s=sum(block.wall_s for block in measured.blocks),
                peak_bytes=peak,
                idle_bytes=measured.idle_bytes,
            )
        )

    def row(self) -> Row:
        processes = () if self.failure else tuple(self.processes)
        return Row(self.subject, self.target, self.opencv, self.placement, processes, self.failure)

    def _session(self) -> MeteredSession:
        return MeteredSession(self.target, name=self.subject.label, limits=self.limits)

    @property
    def _outputs(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.subject.model.signature.outputs)

    @property
    def _sample(self) -> Arrays:
        return self.subject.samples[0]

    @property
    def _patience_s(self) -> float:
        # A device's first forward compiles its kernels.
        return max(self.limits.start_s, self.limits.request_s)

    def _fail(self, error: ModelcheckError) -> None:
        remedy = f" {error.remedy}" if error.remedy else ""
        self.failure = f"{error.what.rstrip('.')}.{remedy}"


@dataclass
class _Measured:
    """A process of one row while it is measured."""

    session: MeteredSession
    idle_bytes: int
    load_s: float
    first_s: float
    blocks: list[Runs] = field(default_factory=list)


def measure_all(
    entries: list[Entry], plan: BenchPlan, on_progress: Callable[[float], None]
) -> None:
    """Measure all entries that were admitted; `on_progress` gets the part that is done."""
    live = [entry for entry in entries if entry.failure is None]
    if not live:
        return
    generations, blocks, block_s = _shares(live, plan.budget_s)
    random = np.random.default_rng(plan.seed)
    for generation in range(generations):
        for done in _one_generation(live, blocks, block_s, random):
            on_progress((generation + done) / generations)


def _shares(entries: list[Entry], budget_s: float) -> tuple[int, int, float]:
    """How many generations the budget lets, the blocks of a process, and the seconds of a block."""
    starting_s = sum(entry.cost_s for entry in entries) / len(entries)
    affordable = int(_STARTING_SHARE * budget_s / max(starting_s, 1e-3))
    generations = max(LEAST_GENERATIONS, min(GENERATIONS, affordable))
    measuring_s = max(0.0, budget_s / generations - starting_s)
    blocks = max(_LEAST_BLOCKS, min(_MOST_BLOCKS, int(measuring_s / _BLOCK_S)))
    return generations, blocks, measuring_s / blocks


def _one_generation(
    entries: list[Entry], blocks: int, block_s: float, random: np.random.Generator
) -> Iterator[float]:
    """One process of each entry; the part that is done, after each block."""
    with ExitStack() as stack:
        processes: dict[int, _Measured] = {}
        for i in random.permutation(len(entries)).tolist():
            if entries[i].failure is None and (started := entries[i].start(stack)) is not None:
                processes[i] = started
        for block in range(blocks):
            for i in random.permutation(len(entries)).tolist():
                entry = entries[i]
                if entry.failure is None:
                    sample = int(random.integers(len(entry.subject.samples)))
                    entry.measure(processes[i], block_s, sample)
            yield (block + 1) / blocks
        for i, measured in processes.items():
            if entries[i].failure is None:
                entries[i].finish(measured)
