"""The timing stage: original and candidate interleaved, in several fresh processes.

Whole processes differ by 5-40 % in speed (GATE.md), so at least four take turns, each with both
models. A block runs ABBA or BAAB, chosen at random; the judge's sequential tests stop the run
when each of them is decided.

Nothing but the model may tell the two apart: half of the workers load and warm up the candidate
first, so that neither has the better place in memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import Block, SpeedCase, ready, speed_decided
from modelcheck.judge.absolute import BudgetCase, budget_decided
from modelcheck.judge.budgets import Budget, Of
from modelcheck.judge.fitness import Fitness, Surroundings, spread_and_drift
from modelcheck.judge.sequential import first_ready
from modelcheck.process import ChildLimits
from modelcheck.recipe import TargetSettings
from modelcheck.targets import Engine, TargetSession
from modelcheck.verification.lane import Arrays, Files
from modelcheck.verification.surroundings import Watch

WORKERS = 4
MAX_BLOCKS = 400
_MAX_BUDGET_BLOCKS = 2000  # of two calls each: p99 wants hundreds of calls without a single miss
# Without a limit nothing is decided: enough blocks for an interval, and no more time than that.
_UNJUDGED_BLOCKS = 24
_UNJUDGED_S = 4.0
# A sure decision may come with a wide interval, which tells another run nothing.
_COMPARABLE_BLOCKS = 96
_ORIGINAL, _CANDIDATE = "original", "candidate"


@dataclass(frozen=True, slots=True)
class TimingRequest:
    """What to time on one target. `baseline` is the engine of the original, if another."""

    settings: TargetSettings
    files: Files
    samples: Sequence[Arrays]
    required: float | None
    checks: int
    budget_s: float
    seed: int
    limits: ChildLimits
    budgets: tuple[Budget, ...] = ()  # of calls or rounds of calls
    samples_per_call: int = 1
    baseline: Engine | None = None
    note: str | None = None
    comparable: bool = False  # run on after a decision, until other runs can compare with it

    @property
    def judged(self) -> bool:
        return self.required is not None or bool(self.budgets)


@dataclass
class Timer:
    """Times one target. Iterate `run()` for progress in blocks; `case()` is the result."""

    request: TimingRequest
    blocks: list[Block] = field(default_factory=list)
    stopped: str = "decided"
    _cpu_wall: list[float] = field(default_factory=list)
    _surroundings: Surroundings = Surroundings()

    def run(self) -> Iterator[int]:
        """Raises Unsupported or ContainedFailure when a worker fails."""
        request = self.request
        random = np.random.default_rng(request.seed)
        begin_s, watch = time.monotonic(), Watch()
        with ExitStack() as stack:
            workers = self._start_all(stack)
            if not request.judged:  # the figures want their seconds, however long a start takes
                begin_s = time.monotonic()
            while True:
                for number, (session, repeats) in enumerate(workers):
                    self._time_block(session, repeats, number, random)
                yield len(self.blocks)
                if (reason := self._why_stop(time.monotonic() - begin_s)) is not None:
                    self.stopped = reason
                    self._surroundings = watch.surroundings()
                    return

    def fitness(self) -> Fitness:
        """What the machine was like, by the original's times and by what the system tells."""
        times = [t for block in self.blocks for t in block.original_s]
        spread, drift = spread_and_drift(times)
        return Fitness(self._cpu_wall_ratio(), spread, drift, self._surroundings)

    def case(self) -> SpeedCase:
        """What the judge wants."""
        request = self.request
        return SpeedCase(
            target=request.settings.target.name,
            blocks=tuple(self.blocks),
            workers=WORKERS,
            required=request.required,
            checks=max(1, request.checks),
            stopped=self.stopped,  # type: ignore[arg-type]
            cpu_wall_ratio=self._cpu_wall_ratio(),
            surroundings=self._surroundings,
            note=request.note,
            optional=request.settings.target.optional,
        )

    def budget_case(self, budget: Budget) -> BudgetCase:
        """What the judge wants for one budget of calls or rounds."""
        request = self.request
        of_round = budget.kind.of is Of.ROUND
        candidate, original = self._rates() if of_round else self._calls()
        blocks = first_ready(self.blocks, WORKERS)
        values_of_a_block = len(candidate) / max(1, len(self.blocks))
        return BudgetCase(
            target=request.settings.target.name,
            budget=budget,
            values=candidate,
            original=original,
            alone=request.files.candidate is None,
            first=len(candidate) + 1 if blocks is None else round(blocks * values_of_a_block),
            checks=max(1, request.checks),
            fitness=self.fitness(),
            optional=request.settings.target.optional,
        )

    def _cpu_wall_ratio(self) -> float | None:
        """None on another device: the CPU waits for it."""
        if not self._cpu_wall or not self.request.settings.target.device.is_cpu:
            return None
        return float(np.median(self._cpu_wall))

    def _calls(self) -> tuple[list[float], list[float]]:
        """Seconds of each call: of the candidate, and of the original. A lone model is both."""
        original = [t for block in self.blocks for t in block.original_s]
        if self.request.files.candidate is not None:
            return [t for block in self.blocks for t in block.candidate_s], original
        calls = [t for block in self.blocks for t in (*block.original_s, *block.candidate_s)]
        return calls, calls

    def _rates(self) -> tuple[list[float], list[float]]:
        """Samples a second over each round of blocks, one of each worker."""
        rates = []
        for calls in self._calls():
            size = len(calls) * WORKERS // len(self.blocks)
            rounds = [calls[i : i + size] for i in range(0, len(calls), size)]
            rates.append([self.request.samples_per_call * len(r) / sum(r) for r in rounds])
        return rates[0], rates[1]

    def _start_all(self, stack: ExitStack) -> list[tuple[TargetSession, dict[str, int]]]:
        """All workers start, import and load side by side; they warm up one after the other."""
        request = self.request
        sessions = [
            stack.enter_context(
                TargetSession(
                    request.settings.target, name="a timing worker", limits=request.limits
                )
            )
            for _ in range(WORKERS)
        ]
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            loads = [pool.submit(self._load, s, _order(i)) for i, s in enumerate(sessions)]
        for load in loads:
            load.result()
        workers = []
        for number, session in enumerate(sessions):
            repeats = session.prepare(request.samples, _order(number))
            # A percentile is one of single calls, however short they are.
            workers.append((session, dict.fromkeys(repeats, 1) if request.budgets else repeats))
        return workers

    def _load(self, session: TargetSession, keys: Sequence[str]) -> None:
        files = self.request.files
        for key in keys:
            original = key == _ORIGINAL
            path = files.original if original else files.candidate or files.original
            engine = self.request.baseline if original else None
            session.load(path, files.outputs, key=key, engine=engine)

    def _time_block(
        self,
        session: TargetSession,
        repeats: dict[str, int],
        worker: int,
        random: np.random.Generator,
    ) -> None:
        a, b = _ORIGINAL, _CANDIDATE
        order = [a, b, b, a] if random.integers(2) else [b, a, a, b]
        sample = int(random.integers(len(self.request.samples)))
        timing = session.block(order, sample=sample, repeats=repeats)
        seconds = {
            key: tuple(s for k, s in zip(order, timing.seconds, strict=True) if k == key)
            for key in (a, b)
        }
        self.blocks.append(Block(worker, seconds[a], seconds[b]))  # type: ignore[arg-type]
        self._cpu_wall.append(timing.cpu_wall)

    def _why_stop(self, elapsed_s: float) -> str | None:
        request = self.request
        if not request.judged and not request.comparable:
            if elapsed_s > min(_UNJUDGED_S, request.budget_s):
                return "time"
            return "blocks" if len(self.blocks) >= _UNJUDGED_BLOCKS else None
        enough = not request.comparable or len(self.blocks) >= _COMPARABLE_BLOCKS
        if enough and ready(self.blocks, WORKERS) and self._all_decided():
            return "decided"
        if elapsed_s > request.budget_s:
            return "time"
        most = _MAX_BUDGET_BLOCKS if request.budgets else MAX_BLOCKS
        return "blocks" if len(self.blocks) >= most else None

    def _all_decided(self) -> bool:
        required, checks = self.request.required, self.request.checks
        if required is not None and not speed_decided(
            self.blocks, workers=WORKERS, required=required, checks=checks
        ):
            return False
        return all(budget_decided(self.budget_case(b)) for b in self.request.budgets)


def _order(worker: int) -> list[str]:
    """Which model a worker loads and warms up first."""
    return [_ORIGINAL, _CANDIDATE] if worker % 2 else [_CANDIDATE, _ORIGINAL]


def original_latency_s(
    settings: TargetSettings, files: Files, sample: Arrays, limits: ChildLimits
) -> float:
    """The original's best latency of a few runs on a target; infinite where it does not run."""
    try:
        with TargetSession(settings.target, name="the original", limits=limits) as session:
            session.load(files.original, files.outputs, key=_ORIGINAL)
            repeats = session.prepare([sample], [_ORIGINAL])
            return min(session.block([_ORIGINAL] * 5, sample=0, repeats=repeats).seconds)
    except (Unsupported, ContainedFailure):
        return float("inf")
