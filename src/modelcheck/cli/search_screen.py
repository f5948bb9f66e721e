"""What one or several searches leave on the screen, and as which exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelcheck.cli.screen import console, print_json
from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import Outcome, exit_code
from modelcheck.judge.outcome import gravest
from modelcheck.report.search import (
    print_best_of_each,
    print_search,
    print_search_verdict,
    search_json,
    searches_json,
)
from modelcheck.searching import Searched, SearchPlan, search_events

if TYPE_CHECKING:
    from modelcheck.cli.options import RunOptions
    from modelcheck.cli.progress import ProgressDisplay


class SearchScreen:
    """Runs searches, one a target, and shows what each of them found.

    A target that is not there, or fails, ends the run where it is the only one; among several it
    is told, and counts as UNSUPPORTED unless it is optional.
    """

    def __init__(self, plans: Sequence[SearchPlan], command: str, run: RunOptions) -> None:
        self._alone = len(plans) == 1
        self._command, self._run = command, run
        self._found: list[tuple[Searched, str]] = []
        self._failed: list[tuple[SearchPlan, str]] = []

    def run(self, plan: SearchPlan, progress: ProgressDisplay) -> Searched | None:
        """One search; None where its target failed."""
        try:
            for event in search_events(plan):
                if isinstance(event, Searched):
                    return event
                progress.show(event)
        except (Unsupported, ContainedFailure) as error:
            if self._alone:
                raise
            self._failed.append((plan, str(error)))
        return None

    def keep(self, result: Searched, fate: str) -> None:
        """What was found, and what became of the files."""
        self._found.append((result, fate))

    def show(self) -> int:
        """Print everything, and return the exit code."""
        outcome = gravest(
            [result.outcome for result, _ in self._found]
            + [Outcome.UNSUPPORTED for plan, _ in self._failed if not plan.settings.target.optional]
            or [Outcome.UNSUPPORTED]
        )
        failed = {plan.settings.target.name: text for plan, text in self._failed}
        if self._run.json:
            found = [result for result, _ in self._found]
            alone = self._alone
            print_json(search_json(found[0]) if alone else searches_json(found, failed, outcome))
            return exit_code(outcome)
        for result, fate in self._found:
            if not self._run.quiet:
                print_search(result, console())
            print_search_verdict(result, console(), self._command, fate)
        if not self._alone:
            print_best_of_each([result for result, _ in self._found], failed, outcome, console())
        return exit_code(outcome)
