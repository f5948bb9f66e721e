"""The ledger on a screen: the latest runs, how their figures went, what changed since a pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.ledger import Change, Moved, Run, SincePass, Verdict
from modelcheck.report.document import plain
from modelcheck.report.styles import STYLES, plain_table

SCHEMA = "modelcheck.history/1"

_BARS = "▁▂▃▄▅▆▇█"
_POINTS = 16  # the latest; more do not fit beside each other
_LEVEL = 0.002  # what varies by less than this part of itself is drawn as a level line
_FORMATS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "speedup": ("speed-up", units.ratio),
    "latency_s": ("latency", units.duration),
    "sqnr_db": ("SQNR", units.decibels),
    "max_error": ("max error", units.scientific),
    "agreement": ("agreement", units.percent),
    "model_bytes": ("size", units.size),
}


def print_history(runs: Sequence[Run], most: int, console: Console) -> None:
    """The latest runs, newest first; they come newest first."""
    table = _table("WHEN", "MODEL", "TARGET", "OPENCV", "SPEEDUP", "SQNR", "TOP-1", "VERDICT")
    for run in runs[:most]:
        for i, verdict in enumerate(run.verdicts):
            head = (_when(run), _name(run.model)) if i == 0 else ("", "")
            _add(table, *head, *_verdict_cells(verdict))
    console.print(table)
    if len(runs) > most:
        console.print(Text(f"and {units.plural(len(runs) - most, 'earlier run')}", style="dim"))


def print_trends(runs: Sequence[Run], most: int, console: Console) -> None:
    """How the figures of each model of the latest runs went, oldest first."""
    recent = {run.model for run in runs[:most]}
    table = _table("TREND", "TARGET", "FIGURE", "", "FIRST", "LATEST")
    for model, target, figures in trends([run for run in runs if run.model in recent]):
        head = (_name(model), _name(target))
        for figure, values in figures.items():
            name, show = _FORMATS[figure]
            row = (name, sparkline(values), show(values[0]), show(values[-1]))
            _add(table, *head, *row)
            head = ("", "")
    if table.row_count:
        console.print()
        console.print(table)


def print_since_pass(found: Iterable[SincePass], console: Console) -> None:
    """What changed since the last pass of what does not pass now."""
    for since in found:
        console.print()
        for line in _since_pass(since):
            console.print(line, soft_wrap=True)


def to_document(runs: Sequence[Run], found: Iterable[SincePass]) -> dict[str, Any]:
    """Plain values for json.dumps(..., allow_nan=False); infinities are texts."""
    return {
        "schema": SCHEMA,
        "runs": [
            plain(run) | {"released": run.released, "machine_class": run.machine_class}
            for run in runs
        ],
        "since_last_pass": [
            {
                "model": since.failing.model,
                "target": since.target,
                "outcome": since.verdict.outcome.value,
                "created": since.failing.created,
                "passed": None if since.passing is None else since.passing.created,
                "changes": plain(since.changes),
                "figures": plain(since.moved),
            }
            for since in found
        ],
    }


def trends(runs: Sequence[Run]) -> Iterator[tuple[str, str, dict[str, list[float]]]]:
    """(model, target, the values of each figure, oldest first); figures with two values or more."""
    series: dict[tuple[str, str], dict[str, list[float]]] = {}
    for run in reversed(runs):
        for verdict in run.verdicts:
            figures = series.setdefault((run.model, verdict.target), {})
            for figure in _FORMATS:
                value = run.model_bytes if figure == "model_bytes" else getattr(verdict, figure)
                if value is not None:
                    figures.setdefault(figure, []).append(value)
    for (model, target), figures in series.items():
        several = {figure: values for figure, values in figures.items() if len(values) > 1}
        if several:
            yield model, target, several


def sparkline(values: Sequence[float]) -> str:
    """The latest values as bars from the least to the greatest; equal ones are a level line.

    An infinite value, 'equal' as an SQNR, stands as the nearest end.
    """
    shown = values[-_POINTS:]
    finite = [value for value in shown if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    if high - low < _LEVEL * max(abs(low), abs(high)):
        low = high
    return "".join(_bar(value, low, high) for value in shown)


def _bar(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return _BARS[-1] if value > 0 else _BARS[0]
    if high == low:
        return _BARS[len(_BARS) // 2 - 1]
    return _BARS[round((value - low) / (high - low) * (len(_BARS) - 1))]


def _since_pass(since: SincePass) -> Iterator[Text]:
    verdict, failing, passing = since.verdict, since.failing, since.passing
    yield Text.assemble(
        (verdict.outcome.value, STYLES[verdict.outcome]),
        f" {_name(failing.model)} on {_name(since.target)}, {_when(failing)}",
    )
    for line in verdict.findings.splitlines()[:3]:
        yield Text(f"  {printable(line, limit=400)}")
    if passing is None:
        yield Text("  It has not passed there before.")
        return
    yield Text(f"  since the last pass, {_when(passing)}:")
    for change in since.changes:
        yield Text(f"    {_change(change)}")
    if not since.changes:
        yield Text("    nothing that is recorded has changed")
    for moved in since.moved:
        before, after = _shown(moved)
        if before != after:
            yield Text(f"    {_FORMATS[moved.figure][0]}: {before} → {after}")


def _change(change: Change) -> str:
    before, after = (printable(text, limit=200) or "none" for text in (change.before, change.after))
    return f"{printable(change.what)}: {before} → {after}"


def _shown(moved: Moved) -> tuple[str, str]:
    show = _FORMATS[moved.figure][1]
    before, after = ("–" if v is None else show(v) for v in (moved.before, moved.after))
    return before, after


def _verdict_cells(verdict: Verdict) -> tuple[str | Text, ...]:
    return (
        _name(verdict.target),
        printable(verdict.opencv, limit=16) or "–",
        _speedup(verdict),
        "–" if verdict.sqnr_db is None else units.decibels(verdict.sqnr_db),
        "–" if verdict.agreement is None else units.percent(verdict.agreement),
        Text(verdict.outcome.value, style=STYLES[verdict.outcome]),
    )


def _speedup(verdict: Verdict) -> str:
    if verdict.speedup is None or verdict.speedup_low is None or verdict.speedup_high is None:
        return "–"
    high = f"{verdict.speedup_high:.2f}" if math.isfinite(verdict.speedup_high) else "…"
    return f"{units.ratio(verdict.speedup)} [{verdict.speedup_low:.2f}, {high}]"


def _when(run: Run) -> str:
    return printable(run.created[:16].replace("T", " "))


def _name(name: str) -> str:
    return printable(name, limit=40)


def _add(table: Table, *cells: str | Text) -> None:
    """A row in which a name of others is no markup."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def _table(*columns: str) -> Table:
    table = plain_table()
    for name in columns:  # on a narrow screen the names fold, the figures never
        folds = name in ("MODEL", "TREND", "TARGET")
        table.add_column(name, no_wrap=not folds, overflow="fold")
    return table
