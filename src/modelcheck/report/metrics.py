"""The metrics of a task on the screen: one row a metric and target."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from modelcheck.errors import printable
from modelcheck.judge import Check
from modelcheck.judge.metrics import MetricEvidence, MetricSpec, check_kind, estimate, interval
from modelcheck.report.styles import STYLES, plain_table
from modelcheck.verification import TargetResult


def metrics(targets: tuple[TargetResult, ...]) -> Table:
    """One row a metric of a target; empty where none is declared."""
    table = plain_table()
    rows = [(target, *row) for target in targets for row in _rows(target)]
    if not rows:
        return table
    for name in ("TARGET", "METRIC", "ASKED"):
        table.add_column(name, overflow="fold")
    for name in ("FOUND", "ORIGINAL THERE", "SAMPLES"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("VERDICT", no_wrap=True)
    for target, spec, check, evidence in rows:
        optional = " (optional)" if check.optional else ""
        table.add_row(
            target.settings.target.name,
            printable(spec.title, limit=24),
            evidence.limit,
            interval(spec, evidence.total),
            "–" if target.candidate is None else estimate(spec, evidence.target_drift),
            str(evidence.total.samples),
            Text(f"{check.outcome}{optional}", style=STYLES[check.outcome]),
        )
    return table


def _rows(target: TargetResult) -> Iterator[tuple[MetricSpec, Check, MetricEvidence]]:
    checks = {check.kind: check for check in target.checks}
    for spec in target.settings.limits.metrics:
        check = checks.get(check_kind(spec))
        if check is not None and isinstance(check.evidence, MetricEvidence):
            yield spec, check, check.evidence
