"""The timing stage: original and candidate interleaved, in several fresh processes.

Whole processes differ by 5-40 % in speed (GATE.md), so at least four take turns, each with both
models. A block runs ABBA or BAAB, chosen at random; the judge's sequential test stops the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import Block, SpeedCase, ready, speed_decided
from modelcheck.process import ChildLimits
from modelcheck.recipe import TargetSettings
from modelcheck.targets import Engine, TargetSession
from modelcheck.verification.lane import Arrays, Files

WORKERS = 4
MAX_BLOCKS = 400
# Without a limit nothing is decided: enough blocks for an interval, and no more time than that.
_UNJUDGED_BLOCKS = 24
_UNJUDGED_S = 4.0
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
    baseline: Engine | None = None
    note: str | None = None


@dataclass
class Timer:
    """Times one target. Iterate `run()` for progress in blocks; `case()` is the result."""

    request: TimingRequest
    blocks: list[Block] = field(default_factory=list)
    stopped: str = "decided"
    _cpu_wall: list[float] = field(default_factory=list)

    def run(self) -> Iterator[int]:
        """Raises Unsupported or ContainedFailure when a worker fails."""
        request = self.request
        deadline_s = request.budget_s if request.required else min(_UNJUDGED_S, request.budget_s)
        random = np.random.default_rng(request.seed)
        with ExitStack() as stack:
            workers = [self._start(stack) for _ in range(WORKERS)]
            start_s = time.monotonic()
            while True:
                for number, (session, repeats) in enumerate(workers):
                    self._time_block(session, repeats, number, random)
                yield len(self.blocks)
                if (reason := self._why_stop(time.monotonic() - start_s, deadline_s)) is not None:
                    self.stopped = reason
                    return

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
            cpu_wall_ratio=float(np.median(self._cpu_wall)) if self._cpu_wall else None,
            note=request.note,
            optional=request.settings.target.optional,
        )

    def _start(self, stack: ExitStack) -> tuple[TargetSession, dict[str, int]]:
        request = self.request
        session = stack.enter_context(
            TargetSession(request.settings.target, name="a timing worker", limits=request.limits)
        )
        candidate = request.files.candidate or request.files.original
        session.load(
            request.files.original, request.files.outputs, key=_ORIGINAL, engine=request.baseline
        )
        session.load(candidate, request.files.outputs, key=_CANDIDATE)
        return session, session.prepare(request.samples, [_ORIGINAL, _CANDIDATE])

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

    def _why_stop(self, elapsed_s: float, deadline_s: float) -> str | None:
        request = self.request
        if request.required is not None and ready(self.blocks, WORKERS):
            decision = speed_decided(
                self.blocks, workers=WORKERS, required=request.required, checks=request.checks
            )
            if decision is not None:
                return "decided"
        if elapsed_s > deadline_s:
            return "time"
        most = MAX_BLOCKS if request.required is not None else _UNJUDGED_BLOCKS
        return "blocks" if len(self.blocks) >= most else None


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
