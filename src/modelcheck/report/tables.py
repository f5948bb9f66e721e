"""The figures of a report on a screen: equivalence, outputs and speed, a row for each target."""

from __future__ import annotations

import math

from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.judge import (
    AgreementEvidence,
    Check,
    EquivalenceEvidence,
    OutputEvidence,
    SpeedEvidence,
    gravest,
)
from modelcheck.judge.budgets import is_speed
from modelcheck.ledger import SINCE_LAST
from modelcheck.recipe import CheckKind
from modelcheck.report.document import Report
from modelcheck.report.styles import STYLES, plain_table
from modelcheck.verification import TargetResult

# Detection nets have a dozen outputs; the worst tell the story, the saved report has all.
_SHOWN_OUTPUTS = 4


def equivalences(report: Report) -> Table:
    """One row a target: where it ran and how equal the outputs are."""
    targets = report.verification.targets
    agreement = any(agreements(target) for target in targets)
    table = plain_table("TARGET", "RAN ON", *(["AGREEMENT [95 %]"] if agreement else []))
    for name in ("MAX ERROR", "SQNR"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("VERDICT", no_wrap=True)
    for target in targets:
        cells = [target.settings.target.name, _ran_on(target)]
        if agreement:
            cells.append(_agreement(agreements(target)))
        checks = [
            check
            for check in target.checks
            if not is_speed(check.kind) and check.kind != SINCE_LAST
        ]
        verdict = _verdict(target, checks) if checks else Text("not judged", style="dim")
        table.add_row(*cells, *_errors(target.equivalence), verdict)
    return table


def outputs(targets: tuple[TargetResult, ...]) -> Table:
    """Always printed: the figures of each output against the reference."""
    table = plain_table("TARGET", "OUTPUT")
    for name in ("MAX ABS", "OF SCALE", "SQNR", "COSINE", "WORST SAMPLE"):
        table.add_column(name, no_wrap=True, justify="right")
    for target in targets:
        found = () if target.equivalence is None else target.equivalence.total.outputs
        ordered = _worst_first(found)
        for i, output in enumerate(ordered[:_SHOWN_OUTPUTS]):
            table.add_row(
                target.settings.target.name if i == 0 else "",
                printable(output.name, limit=24),
                units.scientific(output.max_abs),
                units.scientific(output.scale_relative_max),
                units.decibels(output.sqnr_db),
                f"{output.cosine:.6f}",
                str(output.worst_sample),
            )
        if len(ordered) > _SHOWN_OUTPUTS:
            table.add_row("", f"and {len(ordered) - _SHOWN_OUTPUTS} better ones")
    return table


def speeds(report: Report) -> Table:
    """One row a target that was timed."""
    alone = report.candidate is None
    table = plain_table("TARGET")
    for name in ["LATENCY"] if alone else ["ORIGINAL", "CANDIDATE"]:
        table.add_column(name, no_wrap=True, justify="right")
    for name in [] if alone else ["SPEEDUP [98 %]", "BUDGET", "VERDICT"]:
        table.add_column(name, no_wrap=True)
    for target in report.verification.targets:
        if target.speed is None:
            continue
        cells = [target.settings.target.name, units.duration(target.speed.original_latency_s)]
        if alone:
            table.add_row(*cells)
            continue
        required = target.settings.limits.speed_ratio_required()
        checks = [check for check in target.checks if check.kind == CheckKind.SPEED]
        table.add_row(
            *cells,
            units.duration(target.speed.candidate_latency_s),
            _interval(target.speed),
            "–" if required is None else units.ratio(required),
            _verdict(target, checks) if checks else Text("not judged", style="dim"),
        )
    return table


def _verdict(target: TargetResult, checks: list[Check]) -> Text:
    """The gravest outcome of some checks of a target."""
    worst = gravest(check.outcome for check in checks)
    optional = " (optional)" if target.settings.target.optional else ""
    return Text(f"{worst}{optional}", style=STYLES[worst])


def _ran_on(target: TargetResult) -> str:
    placement = target.candidate or target.original
    if placement is None or not placement.proven:
        return "–"
    return f"{placement.actual}, PARTIAL" if placement.partial else placement.actual


def agreements(target: TargetResult) -> list[AgreementEvidence]:
    return [] if target.equivalence is None else list(target.equivalence.total_agreement.values())


def _agreement(found: list[AgreementEvidence]) -> str:
    if not found:
        return "–"
    worst = min(found, key=lambda a: a.agreement)
    return f"{units.percent(worst.agreement)} [{100 * worst.lower:.1f}, {100 * worst.upper:.1f}]"


def _errors(evidence: EquivalenceEvidence | None) -> list[str]:
    if evidence is None or not evidence.total.outputs:
        return ["–", "–"]
    worst = _worst_first(evidence.total.outputs)[0]
    return [units.scientific(worst.scale_relative_max), units.decibels(worst.sqnr_db)]


def _interval(speed: SpeedEvidence) -> str:
    high = "…" if math.isinf(speed.high) else f"{speed.high:.2f}"
    return f"{units.ratio(speed.ratio)} [{speed.low:.2f}, {high}]"


def _worst_first(outputs: tuple[OutputEvidence, ...]) -> list[OutputEvidence]:
    return sorted(outputs, key=lambda o: o.sqnr_db if not math.isnan(o.sqnr_db) else -math.inf)
