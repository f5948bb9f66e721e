"""What the screens of all reports share: how an outcome looks, and a table without lines."""

from __future__ import annotations

from rich.table import Table

from modelcheck.judge import Outcome

VERDICTS = {
    Outcome.PASS: "PASSED",
    Outcome.FAIL: "FAILED",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.UNSUPPORTED: "UNSUPPORTED",
}
STYLES = {
    Outcome.PASS: "bold green",
    Outcome.FAIL: "bold red",
    Outcome.INCONCLUSIVE: "bold yellow",
    Outcome.UNSUPPORTED: "bold magenta",
}


def plain_table(*columns: str) -> Table:
    """Columns without lines between them."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in columns:  # on a narrow screen the names fold, the figures never
        table.add_column(name, no_wrap=name.startswith("AGREEMENT"), overflow="fold")
    return table
