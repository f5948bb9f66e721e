"""The part of the screen about absolute budgets, and about the machine that they were timed on."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from modelcheck.errors import printable
from modelcheck.judge.absolute import BudgetEvidence, interval_text
from modelcheck.judge.budgets import KINDS, Budget, Of
from modelcheck.report.document import Report
from modelcheck.report.styles import STYLES, plain_table


def budgets(report: Report) -> Table:
    """One row a budget of a target."""
    table = plain_table()
    for name in ("TARGET", "LIMIT"):
        table.add_column(name, overflow="fold")
    for name in ["MEASURED [90 %]"] + ([] if report.candidate is None else ["ORIGINAL"]):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("VERDICT", no_wrap=True)
    for target in report.verification.targets:
        for check in target.checks:
            found = check.evidence
            if not isinstance(found, BudgetEvidence):
                continue
            kind = KINDS[found.key]
            measured = kind.show(found.value)
            if kind.of is not Of.FILE:
                measured += f" {interval_text(found, kind.show)}"
            cells = [check.target, Budget(found.key, found.bound).describe(), measured]
            if report.candidate is not None:
                cells.append(kind.show(found.original))
            optional = " (optional)" if check.optional else ""
            verdict = Text(f"{check.outcome}{optional}", style=STYLES[check.outcome])
            table.add_row(*cells, verdict)
    return table


def machine(report: Report) -> Iterator[Text]:
    """What spoke against the times of a target, decided or not, with the remedy."""
    for target in report.verification.targets:
        if target.speed is None or not target.settings.limits.limits_speed():
            continue
        fitness = target.speed.fitness
        if fitness.reasons:
            yield Text(
                f"{target.settings.target.name}: the machine was not quiet: "
                f"{printable('; '.join(fitness.reasons), limit=600)}. {fitness.remedy}.",
                style="dim",
            )
