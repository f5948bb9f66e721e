"""The report on a screen: what was done, what was found on each target, the verdict."""

from __future__ import annotations

import math

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.judge import (
    AgreementEvidence,
    Check,
    EquivalenceEvidence,
    Outcome,
    OutputEvidence,
    SpeedEvidence,
)
from modelcheck.recipe import Candidate, Step
from modelcheck.report.document import ModelFacts, Report
from modelcheck.verification import TargetResult

VERDICTS = {
    Outcome.PASS: "PASSED",
    Outcome.FAIL: "FAILED",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.UNSUPPORTED: "UNSUPPORTED",
}
_STYLES = {
    Outcome.PASS: "bold green",
    Outcome.FAIL: "bold red",
    Outcome.INCONCLUSIVE: "bold yellow",
    Outcome.UNSUPPORTED: "bold magenta",
}
# Detection nets have a dozen outputs; the worst tell the story, the saved report has all.
_SHOWN_OUTPUTS = 4


def print_report(report: Report, console: Console) -> None:
    """Everything but the last line, which also says what became of the output file."""
    verification = report.verification
    console.print(_models(report))
    console.print(_targets(report))
    details = _outputs(verification.targets)
    if details.row_count:
        console.print(details)
    for check in verification.checks:
        if check.outcome is not Outcome.PASS:
            console.print(_finding(check))
    for target in verification.targets:
        if target.native_log.strip():
            console.print(_native_log(target))
    for warning in verification.warnings:
        console.print(Text.assemble(("WARNING ", "yellow"), warning))


def print_steps(made: Candidate, console: Console) -> None:
    """What each step of a candidate changed."""
    table = Table.grid(padding=(0, 3))
    _add_steps(table, made)
    console.print(table)


def print_verdict(report: Report, console: Console, fate: str) -> None:
    """'FAILED: 1 passed, 1 failed. out.onnx was not written.', the command, the exit code."""
    outcome = report.outcome
    counts = {
        name: sum(c.outcome is o for c in report.verification.checks)
        for o, name in (
            (Outcome.PASS, "passed"),
            (Outcome.FAIL, "failed"),
            (Outcome.UNSUPPORTED, "unsupported"),
            (Outcome.INCONCLUSIVE, "inconclusive"),
        )
    }
    checks = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "nothing was checked"
    blind = "" if report.verification.judges_equivalence else " EQUIVALENCE WAS NOT JUDGED."
    console.print()
    console.print(
        Text.assemble(
            (VERDICTS[outcome], _STYLES[outcome]),
            f": {checks}.{blind} {fate}".rstrip(),
        )
    )
    console.print(Text(f"Reproduce: {printable(report.command, limit=2000)}", style="dim"))
    console.print(Text(f"exit {report.exit_code}   {units.duration(report.seconds)}", style="dim"))


def _models(report: Report) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    table.add_row(*_model_row(report.original, report.original.name))
    if report.steps is not None:
        _add_steps(table, report.steps)
    if report.candidate is not None:
        named = report.candidate.name if report.steps is None else "candidate"
        table.add_row(*_model_row(report.candidate, named))
    data = report.data
    table.add_row("data", Text(printable(data.judged.origin)))
    parts: list[RenderableType] = [table]
    if data.text:
        parts.append(Text(f"     {data.text}"))
    if data.judged.synthetic:
        parts.append(Text("synthetic inputs: no --data was given", style="yellow"))
    return Padding(Group(*parts), (1, 0))


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
        Text(f"{step.change.summary()}   {units.size(step.model_bytes)}   {step.claim}"),
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


def _targets(report: Report) -> Table:
    """One row a target."""
    alone = report.candidate is None
    agreement = any(_agreements(t) for t in report.verification.targets)
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("TARGET", no_wrap=True)
    table.add_column("RAN ON", no_wrap=True)
    if agreement:
        table.add_column("TOP-1 AGREEMENT [95 %]", no_wrap=True)
    for name in ("MAX ERROR", "SQNR", "LATENCY" if alone else "ORIGINAL"):
        table.add_column(name, no_wrap=True, justify="right")
    if not alone:
        table.add_column("CANDIDATE", no_wrap=True, justify="right")
        table.add_column("SPEEDUP [98 %]", no_wrap=True)
        table.add_column("BUDGET", no_wrap=True)
    table.add_column("")
    for target in report.verification.targets:
        cells = [target.settings.target.name, _ran_on(target)]
        if agreement:
            cells.append(_agreement(_agreements(target)))
        cells += _errors(target.equivalence)
        cells += _speeds(target, alone)
        optional = " (optional)" if target.settings.target.optional else ""
        verdict = Text(f"{target.outcome}{optional}", style=_STYLES[target.outcome])
        table.add_row(*cells, verdict)
    return table


def _ran_on(target: TargetResult) -> str:
    placement = target.candidate or target.original
    return placement.actual if placement and placement.proven else "–"


def _agreements(target: TargetResult) -> list[AgreementEvidence]:
    return [] if target.equivalence is None else list(target.equivalence.total_agreement.values())


def _agreement(found: list[AgreementEvidence]) -> str:
    if not found:
        return "–"
    worst = min(found, key=lambda a: a.agreement)
    text = f"{units.percent(worst.agreement)} [{100 * worst.lower:.1f}, {100 * worst.upper:.1f}]"
    if worst.label_correct_actual is not None and worst.label_correct_expected is not None:
        before = units.percent(worst.label_correct_expected / worst.samples)
        after = units.percent(worst.label_correct_actual / worst.samples)
        text += f"  top-1 {before} → {after}"
    return text


def _errors(evidence: EquivalenceEvidence | None) -> list[str]:
    if evidence is None or not evidence.total.outputs:
        return ["–", "–"]
    worst = _worst_first(evidence.total.outputs)[0]
    return [units.scientific(worst.scale_relative_max), units.decibels(worst.sqnr_db)]


def _speeds(target: TargetResult, alone: bool) -> list[str]:
    speed = target.speed
    required = target.settings.limits.speed_ratio_required()
    budget = "–" if required is None else units.ratio(required)
    if speed is None:
        return ["–"] if alone else ["–", "–", "–", budget]
    if alone:
        return [units.duration(speed.original_latency_s)]
    return [
        units.duration(speed.original_latency_s),
        units.duration(speed.candidate_latency_s),
        _interval(speed),
        budget,
    ]


def _interval(speed: SpeedEvidence) -> str:
    high = "…" if math.isinf(speed.high) else f"{speed.high:.2f}"
    return f"{units.ratio(speed.ratio)} [{speed.low:.2f}, {high}]"


def _outputs(targets: tuple[TargetResult, ...]) -> Table:
    """Always printed: the figures of each output against the reference, and what would pass."""
    table = Table(
        box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False, title_justify="left"
    )
    for name in ("TARGET", "OUTPUT"):
        table.add_column(name, no_wrap=True)
    for name in ("MAX ABS", "OF SCALE", "SQNR", "COSINE", "WORST SAMPLE"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("TIGHTEST LIMIT THAT WOULD PASS")
    for target in targets:
        evidence = target.equivalence
        if evidence is None:
            continue
        ordered = _worst_first(evidence.total.outputs)
        for i, output in enumerate(ordered[:_SHOWN_OUTPUTS]):
            table.add_row(
                target.settings.target.name if i == 0 else "",
                printable(output.name, limit=32),
                units.scientific(output.max_abs),
                units.scientific(output.scale_relative_max),
                units.decibels(output.sqnr_db),
                f"{output.cosine:.6f}",
                str(output.worst_sample),
                _tightest(evidence) if i == 0 else "",
            )
        if len(ordered) > _SHOWN_OUTPUTS:
            table.add_row("", f"and {len(ordered) - _SHOWN_OUTPUTS} better ones")
    return table


def _worst_first(outputs: tuple[OutputEvidence, ...]) -> list[OutputEvidence]:
    return sorted(outputs, key=lambda o: o.sqnr_db if not math.isnan(o.sqnr_db) else -math.inf)


def _tightest(evidence: EquivalenceEvidence) -> str:
    parts = []
    for key, value in evidence.tightest.items():
        if value is not None and math.isfinite(value):
            parts.append(f"{key} {_limit(key, value)}")
    if evidence.noise_floor is not None:
        parts.append(evidence.noise_floor.describe())
    return ", ".join(parts)


def _limit(key: str, value: float) -> str:
    return units.scientific(value) if key == "max-error" else f"{value:.4g}"


def _finding(check: Check) -> Padding:
    blame = f" ({check.blame})" if check.blame != "none" else ""
    text = Text.assemble(
        (check.outcome.value, _STYLES[check.outcome]),
        f" {check.kind}{blame}: ",
        printable(check.message, limit=2000),
    )
    return Padding(text, (1, 0, 0, 0))


def _native_log(target: TargetResult) -> Text:
    lines = [line for line in target.native_log.splitlines() if line.strip()][-3:]
    text = "\n".join(f"  {printable(line, limit=160)}" for line in lines)
    return Text(f"last lines of the native log:\n{text}", style="dim")
