"""What a run of apply or verify leaves on the screen and in report files."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcheck.cli.options import RunOptions

if TYPE_CHECKING:
    from rich.console import Console

    from modelcheck.data import SplitSamples
    from modelcheck.judge.absolute import Band
    from modelcheck.ledger.book import Book, Earlier
    from modelcheck.ledger.recording import Occasion
    from modelcheck.model import Model
    from modelcheck.recipe import Candidate, Recipe
    from modelcheck.report import Report
    from modelcheck.verification import Verification

_WIDTH_WITHOUT_TERMINAL = 160
# Without these of OpenCV's own variables a run on OpenCL may be another one.
_WISHES = ("OPENCV_OPENCL_DEVICE", "OPENCV_DNN_OPENCL_ALLOW_ALL_DEVICES")


class Screen:
    """Prints as the run options ask: everything, only the verdict, or JSON."""

    def __init__(self, run: RunOptions, others: Sequence[Path | None] = ()) -> None:
        """`others` are the files that the run reads and writes: a report is none of them.

        Raises UsageError.
        """
        from modelcheck.errors import UsageError
        from modelcheck.report import check_report_path

        self._run = run
        self._notes: Sequence[str] = ()
        self._recorded: tuple[Book, Occasion] | None = None
        taken = {path.resolve() for path in others if path is not None}
        for path in (*(run.report or ()), *([run.ledger] if run.ledger else [])):
            if path.resolve() in taken:
                raise UsageError(
                    "this file is a model, a recipe or data of the same run",
                    where=str(path),
                    remedy="Name another file for the report or the ledger.",
                )
        for path in run.report or ():
            check_report_path(path)

    def command(self, seed: int) -> str:
        """The command that repeats this run, with its seed."""
        words = ["modelcheck", *sys.argv[1:]]
        if self._run.seed is None:
            words += ["--seed", str(seed)]
        wishes = (
            f"{name}={shlex.quote(os.environ[name])}" for name in _WISHES if name in os.environ
        )
        return " ".join([*wishes, shlex.join(words)])

    def open_ledger(self, kind: str, model: str, recipe: Recipe) -> None:
        """Have this run recorded, as one that shall release `model`; before the work begins."""
        from modelcheck.errors import UsageError
        from modelcheck.ledger import ledger_path
        from modelcheck.ledger.book import Book
        from modelcheck.ledger.recording import Occasion

        if self._run.no_ledger and self._run.ledger is not None:
            raise UsageError(
                "--ledger and --no-ledger exclude each other", remedy="Leave one of them out."
            )
        path = None if self._run.no_ledger else ledger_path(self._run.ledger)
        book = Book.open(path, since_last=recipe.judging.since_last)
        self._recorded = book, Occasion(kind, model, self.command(recipe.seed), recipe.steps)

    def planned(self, recipe: Recipe, notes: Sequence[str]) -> None:
        """The steps as they are applied, and what was found to make them so."""
        self._notes = notes
        if self._recorded is not None:
            book, occasion = self._recorded
            self._recorded = book, replace(occasion, steps=recipe.steps)

    def bands(self, original: Model) -> Mapping[str, Band]:
        """What the ledger knows of the original's latencies here, by target."""
        return {} if self._recorded is None else self._recorded[0].bands(original)

    def make_report(
        self,
        result: Verification,
        data: SplitSamples,
        recipe: Recipe,
        start_s: float,
        steps: Candidate | None = None,
    ) -> Report:
        """The report of a run that began at `start_s`, with what the ledger says."""
        from modelcheck.report import make_report

        earlier: Earlier = {}
        if self._recorded is not None:
            book, occasion = self._recorded
            result, earlier = book.review(result, occasion)
        return make_report(
            result,
            steps=steps,
            data=data,
            recipe=recipe,
            command=self.command(recipe.seed),
            seconds=time.monotonic() - start_s,
            earlier=earlier,
        )

    def report(self, report: Report, fate: str) -> None:
        """Record the run, show the report, and save it where asked."""
        from modelcheck.report import save_report, to_text
        from modelcheck.report.terminal import print_findings, print_report, print_verdict

        self._record(report)
        for path in self._run.report or ():
            save_report(report, path)
        if self._run.json:
            sys.stdout.write(to_text(report))
            return
        screen = console()
        if not self._run.quiet:
            self._print_notes(screen)
            print_report(report, screen)
        print_findings(report, screen)
        print_verdict(report, screen, fate)

    def _print_notes(self, screen: Console) -> None:
        from modelcheck.errors import printable

        for note in self._notes:
            screen.print(printable(note, limit=2000), style="dim", markup=False, soft_wrap=True)

    def _record(self, report: Report) -> None:
        from modelcheck.errors import printable

        if self._recorded is None:
            return
        book, occasion = self._recorded
        book.keep(report.verification, occasion)
        for warning in book.warnings:
            for line in warning.split("\n"):
                print(f"modelcheck: {printable(line, limit=2000)}", file=sys.stderr)

    def unverified(self, made: Candidate, output: Path) -> None:
        """After apply without --verify."""
        from modelcheck.errors import printable
        from modelcheck.report.models import print_steps

        screen = console()
        if not self._run.quiet:
            self._print_notes(screen)
            print_steps(made, screen)
        screen.print(f"{printable(output.name)} was written. It is NOT VERIFIED.", markup=False)


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def console() -> Console:
    """Standard output; wide where it is no terminal, so that logs do not wrap tables."""
    from rich.console import Console

    screen = Console(highlight=False, emoji=False)
    if not screen.is_terminal and "COLUMNS" not in os.environ:
        screen.width = _WIDTH_WITHOUT_TERMINAL
    return screen
