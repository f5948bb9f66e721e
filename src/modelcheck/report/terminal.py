"""The report on a screen: what was done, what was found on each target, the verdict."""

from __future__ import annotations

from importlib import metadata

from rich.console import Console
from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.judge import Check, Outcome
from modelcheck.report import budgets, remarks, tables
from modelcheck.report.document import Report
from modelcheck.report.earlier import earlier_lines
from modelcheck.report.metrics import metrics
from modelcheck.report.models import print_models
from modelcheck.report.styles import STYLES, VERDICTS
from modelcheck.report.worst_case import worst_case_lines
from modelcheck.verification import TargetResult


def print_report(report: Report, console: Console) -> None:
    """The figures: models, targets, outputs, speeds."""
    verification = report.verification
    console.print(Text(_versions(report), style="dim"))
    console.print()
    print_models(report, console)
    console.print()
    console.print(tables.equivalences(report))
    for table in (
        metrics(verification.targets),
        tables.outputs(verification.targets),
        tables.speeds(report),
        budgets.budgets(report),
    ):
        if table.row_count:
            console.print()
            console.print(table)
    console.print()
    for line in (
        *remarks.placements(verification.targets),
        *remarks.recalled(verification.targets),
        *remarks.accuracies(verification.targets),
        *remarks.passing(verification.targets),
        *remarks.kept_up(verification.checks),
        *worst_case_lines(verification.targets),
    ):
        console.print(line)
    for line in (*budgets.machine(report), *remarks.known(verification.targets)):
        console.print(line, soft_wrap=True)
    for warning in verification.warnings:
        console.print(Text.assemble(("WARNING ", "yellow"), warning), soft_wrap=True)


def print_findings(report: Report, console: Console) -> None:
    """Why the verdict is not a pass."""
    for check in report.verification.checks:
        if check.outcome is not Outcome.PASS:
            console.print()
            console.print(_finding(check))
    for target in report.verification.targets:
        if target.native_log.strip():
            console.print(_native_log(target))


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
    if report.verification.checks and all(c.optional for c in report.verification.checks):
        checks += "; no required target was judged"
    blind = "" if report.verification.judges_equivalence else " EQUIVALENCE WAS NOT JUDGED."
    console.print()
    console.print(
        Text.assemble(
            (VERDICTS[outcome], STYLES[outcome]),
            f": {checks}.{blind}{_unjudged_speed(report)} {fate}".rstrip(),
        )
    )
    for line in earlier_lines(report):
        console.print(Text(line, style="dim"), soft_wrap=True)
    command = Text(f"Reproduce: {printable(report.command, limit=2000)}", style="dim")
    console.print(command, soft_wrap=True)
    console.print(Text(f"exit {report.exit_code}   {units.duration(report.seconds)}", style="dim"))


def _unjudged_speed(report: Report) -> str:
    """Where a speed limit holds that could not be judged: the verdict must say so."""
    if report.candidate is None or not report.verification.plan.judging.speed:
        return ""
    names = [
        target.settings.target.name
        for target in report.verification.targets
        if target.settings.limits.speed_ratio_required() is not None
        and target.original is not None
        and target.original.simulated
    ]
    return f" SPEED WAS NOT JUDGED on {', '.join(names)}." if names else ""


def _versions(report: Report) -> str:
    """'modelcheck 0.1.0   OpenCV 5.0.0   onnxruntime 1.32.0   seed 42'."""
    found = {t.opencv.version: None for t in report.verification.targets if t.opencv is not None}
    opencv = "".join(f"   OpenCV {version}" for version in found)
    names = [f"{name} {metadata.version(name)}" for name in ("modelcheck", "onnxruntime")]
    return f"{names[0]}{opencv}   {names[1]}   seed {report.recipe.seed}"


def _finding(check: Check) -> Text:
    blame = f" ({check.blame})" if check.blame != "none" else ""
    text = Text.assemble(
        (check.outcome.value, STYLES[check.outcome]),
        f" {check.kind}{blame}: ",
        printable(check.message, limit=2000),
    )
    return text


def _native_log(target: TargetResult) -> Text:
    lines = [line for line in target.native_log.splitlines() if line.strip()][-3:]
    text = "\n".join(f"  {printable(line, limit=160)}" for line in lines)
    return Text(f"last lines of the native log:\n{text}", style="dim")
