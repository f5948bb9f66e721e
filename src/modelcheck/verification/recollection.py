"""Which runs of a verification are remembered, and by what facts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from modelcheck.reference import Reference
from modelcheck.verification.lane import Lane
from modelcheck.verification.memory import Memory, Recalled, Recording, Runs, key_of
from modelcheck.verification.plan import Plan


class Recollection:
    """The reference's runs and each lane's runs of the original: recalled, or recorded.

    Use as a context manager around the stream; `finish` keeps what was recorded. A model judged
    by itself is run, and only recorded; so is everything on a device other than the CPU, whose
    state no digest describes.
    """

    def __init__(
        self, memory: Memory | None, plan: Plan, reference: Reference, threads: int
    ) -> None:
        self._memory = memory
        self._plan = plan
        self._reference = reference
        self._threads = threads
        self._stack = ExitStack()
        self._recordings: list[tuple[Lane | None, Recording]] = []
        self.recalled: tuple[str, ...] = ()  # the targets whose original was not run again

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def reference(self) -> Runs:
        """The reference, from memory where it is there."""
        return self._runs(None, self._reference, what="reference", threads=self._threads)

    def originals(self, lanes: Sequence[Lane]) -> None:
        """Give each living lane the runs of its original."""
        for lane in lanes:
            target, session = lane.settings.target, lane.original
            if not lane.alive or session is None or not target.device.is_cpu:
                continue
            assert lane.opencv is not None
            where = {"target": [target.device, target.engine, target.threads]}
            runs = self._runs(lane, session, what="original", opencv=asdict(lane.opencv), **where)
            lane.original_runs = runs
            self._stack.callback(lane.run_live)
            if isinstance(runs, Recalled):
                self.recalled += (target.name,)

    def finish(self) -> None:
        """Everything has run: keep what was recorded, save of lanes that failed."""
        for lane, recording in self._recordings:
            if lane is None or lane.alive:
                recording.finish()

    def _runs(self, lane: Lane | None, live: Runs, **facts: Any) -> Runs:
        plan = self._plan
        if self._memory is None:
            return live
        key = key_of(
            model=plan.original.digest, samples=plan.samples.digest,
            outputs=[spec.name for spec in plan.original.signature.outputs], **facts,
        )  # fmt: skip
        if plan.candidate is not None:
            recalled = self._memory.recall(key, plan.samples.count)
            if recalled is not None:
                return self._stack.enter_context(recalled)
        recording = self._memory.record(key, live)
        if recording is None:
            return live
        self._recordings.append((lane, self._stack.enter_context(recording)))
        return recording
