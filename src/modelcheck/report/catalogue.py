"""The catalogue of transforms, on a screen and as JSON values."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.report.document import plain
from modelcheck.transforms import Description, describe


def described(name: str | None = None) -> tuple[Description, ...]:
    """All transforms, or the one of this name. Raises UsageError for an unknown name."""
    rows = describe()
    if name is None:
        return rows
    known = [row.name for row in rows]
    if name not in known:
        remedy = did_you_mean(name, known) or f"Known: {', '.join(known)}."
        raise UsageError(f"unknown transform '{name}'", remedy=remedy)
    return tuple(row for row in rows if row.name == name)


def catalogue_json(rows: tuple[Description, ...]) -> dict[str, Any]:
    return {"schema": "modelcheck.transforms/1", "transforms": plain(rows)}


def print_catalogue(rows: tuple[Description, ...], console: Console) -> None:
    """Each transform: claim, summary, a line for every option and what `auto` finds, source."""
    for row in rows:
        console.print(Text.assemble((row.name, "bold"), f"   {row.claim}   {row.summary}"))
        table = Table.grid(padding=(0, 3, 0, 0))
        for option in row.options:
            table.add_row(
                Text(f"    {option.name}={_default(option.default)}"),
                Text(" | ".join(option.choices) or option.type, style="dim"),
                Text(option.help),
            )
        for name, meaning in row.automatic.items():
            table.add_row(
                Text(f"    {name}=auto"), Text("by measuring", style="dim"), Text(meaning)
            )
        if row.options:
            console.print(table)
        console.print(Text(f"    source: {row.source}", style="dim"))
        console.print()


def _default(value: object) -> str:
    """As it would be written in TOML, or '–' where the option has no value unless given."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):  # as `-t` takes it: bare words
        return f"[{', '.join(map(_default, value))}]"
    return str(value)
