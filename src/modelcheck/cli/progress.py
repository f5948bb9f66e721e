"""Progress: a bar on a terminal, plain lines elsewhere, nothing with --quiet. On stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from modelcheck.process import Closing

if TYPE_CHECKING:
    from modelcheck.verification import Event, Foreseen

_LINE_EVERY_S = 10.0


class ProgressDisplay(Closing):
    """Shows the stages of a run. Use as a context manager, and call `show` with each event."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._quiet = quiet
        self._bar = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console

            self._bar = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
                MofNCompleteColumn(), TimeElapsedColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
        self._stage = ""
        self._total: int | None = None
        self._said_s = 0.0

    def show(self, event: Event) -> None:
        """Consume one event."""
        from modelcheck.verification import Foreseen, Progressed, StageStarted

        if self._quiet:
            return
        if isinstance(event, StageStarted):
            self._stage, self._total = event.name, event.total
            self._begin()
        elif isinstance(event, Progressed):
            self._advance(event.done)
        elif isinstance(event, Foreseen):
            self._foretell(event)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()

    def _begin(self) -> None:
        self._said_s = time.monotonic()
        if self._bar is None:
            total = "" if self._total in (None, 100) else f" ({self._total})"
            print(f"{self._stage}{total} …", file=sys.stderr, flush=True)
            return
        for task in list(self._bar.task_ids):
            self._bar.remove_task(task)
        self._task = self._bar.add_task(self._stage, total=self._total)

    def _advance(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif time.monotonic() - self._said_s > _LINE_EVERY_S:
            self._said_s = time.monotonic()
            of = "" if self._total is None else f" of {self._total}"
            print(f"{self._stage}: {done}{of}", file=sys.stderr, flush=True)

    def _foretell(self, event: Foreseen) -> None:
        fault = event.fault
        text = f"KNOWN {fault.finding.pattern.severity} on {event.target}: {fault.describe()}"
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self
