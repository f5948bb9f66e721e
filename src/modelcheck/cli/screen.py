"""What a run of apply or verify leaves on the screen and in report files."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcheck.cli.options import RunOptions

if TYPE_CHECKING:
    from rich.console import Console

    from modelcheck.data import SplitSamples
    from modelcheck.recipe import Candidate, Recipe
    from modelcheck.report import Report
    from modelcheck.verification import Verification

_WIDTH_WITHOUT_TERMINAL = 160
# Without these of OpenCV's own variables a run on OpenCL may be another one.
_WISHES = ("OPENCV_OPENCL_DEVICE", "OPENCV_DNN_OPENCL_ALLOW_ALL_DEVICES")


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
        wishes = (
            f"{name}={shlex.quote(os.environ[name])}" for name in _WISHES if name in os.environ
        )
        return " ".join([*wishes, shlex.join(words)])

    def make_report(
        self,
        result: Verification,
        data: SplitSamples,
        recipe: Recipe,
        start_s: float,
        steps: Candidate | None = None,
    ) -> Report:
        """The report of a run that began at `start_s`."""
        from modelcheck.report import make_report

        return make_report(
            result,
            steps=steps,
            data=data,
            recipe=recipe,
            command=self.command(recipe.seed),
            seconds=time.monotonic() - start_s,
        )

    def report(self, report: Report, fate: str) -> None:
        """Show the report, and save it where asked."""
        from modelcheck.report import save_report, to_text
        from modelcheck.report.terminal import print_findings, print_report, print_verdict

        for path in self._run.report or ():
            save_report(report, path)
        if self._run.json:
            sys.stdout.write(to_text(report))
            return
        screen = console()
        if not self._run.quiet:
            print_report(report, screen)
        print_findings(report, screen)
        print_verdict(report, screen, fate)

    def unverified(self, made: Candidate, output: Path) -> None:
        """After apply without --verify."""
        from modelcheck.errors import printable
        from modelcheck.report.terminal import print_steps

        screen = console()
        if not self._run.quiet:
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
