"""What a run of apply or verify leaves on the screen and in report files."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelcheck.cli.options import RunOptions

if TYPE_CHECKING:
    from rich.console import Console

    from modelcheck.recipe import Candidate
    from modelcheck.report import Report

_WIDTH_WITHOUT_TERMINAL = 160


class Screen:
    """Prints as the run options ask: everything, only the verdict, or JSON."""

    def __init__(self, run: RunOptions) -> None:
        from modelcheck.report import check_report_path

        self._run = run
        for path in run.report or ():
            check_report_path(path)

    def command(self, seed: int) -> str:
        """The command that repeats this run, with its seed."""
        words = ["modelcheck", *sys.argv[1:]]
        if self._run.seed is None:
            words += ["--seed", str(seed)]
        return shlex.join(words)

    def report(self, report: Report, fate: str) -> None:
        """Show the report, and save it where asked."""
        from modelcheck.report import save_report, to_text
        from modelcheck.report.terminal import print_report, print_verdict

        for path in self._run.report or ():
            save_report(report, path)
        if self._run.json:
            sys.stdout.write(to_text(report))
            return
        console = _console()
        if not self._run.quiet:
            _print_head(console, report.recipe.seed)
            print_report(report, console)
        print_verdict(report, console, fate)

    def unverified(self, made: Candidate, output: Path) -> None:
        """After apply without --verify."""
        from modelcheck.errors import printable
        from modelcheck.report.terminal import print_steps

        console = _console()
        if not self._run.quiet:
            print_steps(made, console)
        console.print(f"{printable(output.name)} was written. It is NOT VERIFIED.", markup=False)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH_WITHOUT_TERMINAL)
    return console


def _print_head(console: Console, seed: int) -> None:
    from importlib import metadata

    versions = "   ".join(f"{n} {metadata.version(n)}" for n in ("modelcheck", "onnxruntime"))
    console.print(f"{versions}   seed {seed}", markup=False, style="dim")
