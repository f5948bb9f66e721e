"""The models of a report on a screen: what they are, and what each step changed."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.recipe import Candidate, Step
from modelcheck.report.document import ModelFacts, Report


def print_models(report: Report, console: Console) -> None:
    """Original, steps, candidate and data."""
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(*_model_row(report.original, report.original.name))
    if report.steps is not None:
        _add_steps(table, report.steps)
    if report.candidate is not None:
        named = report.candidate.name if report.steps is None else "candidate"
        table.add_row(*_model_row(report.candidate, named))
    data = report.data
    table.add_row("data", Text(printable(data.judged.origin)))
    if data.text:
        table.add_row("", Text(data.text))
    for note in data.judged.notes:
        table.add_row("", Text(printable(note, limit=400)))
    console.print(table)
    if data.judged.synthetic:
        console.print(
            Text(
                "SYNTHETIC INPUTS: no --data was given. Only an exact claim can pass on them.",
                style="yellow",
            )
        )


def print_steps(made: Candidate, console: Console) -> None:
    """What each step of a candidate changed."""
    table = Table.grid(padding=(0, 3))
    _add_steps(table, made)
    console.print(table)


def _add_steps(table: Table, made: Candidate) -> None:
    for number, step in enumerate(made.steps, start=1):
        table.add_row(*_step_row(number, step))
        for reason in _left_alone(step):
            table.add_row("", Text(reason, style="dim"))


def _model_row(facts: ModelFacts, name: str) -> tuple[RenderableType, ...]:
    return (
        Text(printable(name), style="bold"),
        Text(
            f"{units.short_digest(facts.digest)}   {units.count(facts.parameters)} parameters   "
            f"{units.size(facts.file_bytes)}   {units.size(facts.gzip_bytes)} compressed"
        ),
    )


def _step_row(number: int, step: Step) -> tuple[RenderableType, ...]:
    return (
        Text(f"  {number} {step.name}"),
        Text(f"{step.change.summary()}   {units.size(step.model_bytes)}   {step.transform.claim}"),
    )


def _left_alone(step: Step) -> list[str]:
    """The reasons for which layers were left alone, each with its count and first names."""
    by_reason: dict[str, list[str]] = {}
    for left in step.left_alone:
        by_reason.setdefault(left.reason, []).append(printable(left.layer, limit=40))
    return [
        f"{units.plural(len(layers), 'layer')} left alone, {reason}: {', '.join(layers[:3])}"
        + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")
        for reason, layers in by_reason.items()
    ]
