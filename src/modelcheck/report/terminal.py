"""The report on a screen: what was done, what was found on each target, the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from importlib import metadata

from rich.console import Console, RenderableType
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
    gravest,
)
from modelcheck.judge.budgets import is_speed
from modelcheck.ledger import SINCE_LAST
from modelcheck.recipe import Candidate, CheckKind, Step
from modelcheck.report import budgets
from modelcheck.report.document import ModelFacts, Report
from modelcheck.report.earlier import earlier_lines
from modelcheck.report.metrics import fill_metrics
from modelcheck.report.worst_case import worst_case_lines
from modelcheck.targets import listed_layers
from modelcheck.verification import TargetResult

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
# Detection nets have a dozen outputs; the worst tell the story, the saved report has all.
_SHOWN_OUTPUTS = 4


def print_report(report: Report, console: Console) -> None:
    """The figures: models, targets, outputs, speeds."""
    verification = report.verification
    console.print(Text(_versions(report), style="dim"))
    console.print()
    _print_models(report, console)
    console.print()
    console.print(_equivalences(report))
    metrics = _table()
    fill_metrics(metrics, verification.targets, STYLES)
    for table in (
        metrics, _outputs(verification.targets), _speeds(report), budgets.budgets(report)
    ):  # fmt: skip
        if table.row_count:
            console.print()
            console.print(table)
    console.print()
    for line in (
        *_placements(verification.targets),
        *_recalled(verification.targets),
        *_accuracies(verification.targets),
        *_passing(verification.targets),
        *_kept_up(verification.checks),
        *worst_case_lines(verification.targets),
    ):
        console.print(line)
    for line in (*budgets.machine(report), *_known(verification.targets)):
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


def _print_models(report: Report, console: Console) -> None:
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


def _equivalences(report: Report) -> Table:
    """One row a target: where it ran and how equal the outputs are."""
    targets = report.verification.targets
    agreement = any(_agreements(target) for target in targets)
    table = _table("TARGET", "RAN ON", *(["AGREEMENT [95 %]"] if agreement else []))
    for name in ("MAX ERROR", "SQNR"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("VERDICT", no_wrap=True)
    for target in targets:
        cells = [target.settings.target.name, _ran_on(target)]
        if agreement:
            cells.append(_agreement(_agreements(target)))
        checks = [
            check
            for check in target.checks
            if not is_speed(check.kind) and check.kind != SINCE_LAST
        ]
        verdict = _verdict(target, checks) if checks else Text("not judged", style="dim")
        table.add_row(*cells, *_errors(target.equivalence), verdict)
    return table


def _speeds(report: Report) -> Table:
    """One row a target that was timed."""
    alone = report.candidate is None
    table = _table("TARGET")
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


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in columns:  # on a narrow screen the names fold, the figures never
        table.add_column(name, no_wrap=name.startswith("AGREEMENT"), overflow="fold")
    return table


def _ran_on(target: TargetResult) -> str:
    placement = target.candidate or target.original
    if placement is None or not placement.proven:
        return "–"
    return f"{placement.actual}, PARTIAL" if placement.partial else placement.actual


def _placements(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """The proof where a model ran on another device than the CPU, and what fell back."""
    for target in targets:
        for name, placement in (("original", target.original), ("candidate", target.candidate)):
            if placement is None or not placement.proven or target.settings.target.device.is_cpu:
                continue
            fell_back = ""
            if placement.partial:
                share = placement.fallback_share
                part = "an unknown part" if share is None else units.percent(share)
                fell_back = f"; PARTIAL: {listed_layers(placement)} fell back, {part} of the MACs"
            yield Text(
                f"{placement.requested}, {name}: proof: {', '.join(placement.proof)}{fell_back}"
            )


def _agreements(target: TargetResult) -> list[AgreementEvidence]:
    return [] if target.equivalence is None else list(target.equivalence.total_agreement.values())


def _agreement(found: list[AgreementEvidence]) -> str:
    if not found:
        return "–"
    worst = min(found, key=lambda a: a.agreement)
    return f"{units.percent(worst.agreement)} [{100 * worst.lower:.1f}, {100 * worst.upper:.1f}]"


def _recalled(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    names = [target.settings.target.name for target in targets if target.recalled]
    if names:
        yield Text(
            f"The original's outputs are recalled from an earlier run on {'; '.join(names)}.",
            style="dim",
        )


def _known(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """What was known beforehand, each fault once for all targets that share it."""
    places: dict[str, list[str]] = {}
    severities: dict[str, str] = {}
    for target in targets:
        for fault in target.known:
            if fault.foreseeable:
                said = fault.describe()
                severities[said] = fault.finding.pattern.severity
                places.setdefault(said, []).append(target.settings.target.name)
    for said, names in places.items():
        head = f"KNOWN {severities[said]} "
        yield Text.assemble((head, "yellow"), f"on {'; '.join(names)}: {said}")


def _accuracies(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """Accuracy by the labels, where there are any: accuracy alone would hide flips."""
    for target in targets:
        for found in _agreements(target)[:1]:
            before, after = found.label_correct_expected, found.label_correct_actual
            if before is not None and after is not None and found.labelled:
                yield Text(
                    f"{target.settings.target.name}: top-1 accuracy on {found.labelled} labels "
                    f"{units.percent(before / found.labelled)} in float32, "
                    f"{units.percent(after / found.labelled)} here"
                )


def _errors(evidence: EquivalenceEvidence | None) -> list[str]:
    if evidence is None or not evidence.total.outputs:
        return ["–", "–"]
    worst = _worst_first(evidence.total.outputs)[0]
    return [units.scientific(worst.scale_relative_max), units.decibels(worst.sqnr_db)]


def _interval(speed: SpeedEvidence) -> str:
    high = "…" if math.isinf(speed.high) else f"{speed.high:.2f}"
    return f"{units.ratio(speed.ratio)} [{speed.low:.2f}, {high}]"


def _outputs(targets: tuple[TargetResult, ...]) -> Table:
    """Always printed: the figures of each output against the reference."""
    table = _table("TARGET", "OUTPUT")
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


def _worst_first(outputs: tuple[OutputEvidence, ...]) -> list[OutputEvidence]:
    return sorted(outputs, key=lambda o: o.sqnr_db if not math.isnan(o.sqnr_db) else -math.inf)


def _passing(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """For each target what was asked, and the tightest limits that would pass."""
    for target in targets:
        evidence = target.equivalence
        if evidence is None:
            continue
        tightest = (f"{key} {value:g}" for key, value in evidence.tightest.items())
        yield Text(
            f"{target.settings.target.name}: asked {evidence.limit}; {evidence.noise}; "
            f"would pass {' or '.join(tightest) or 'nothing'}"
        )


def _kept_up(checks: Iterable[Check]) -> Iterator[Text]:
    """What was compared with the last release, and is no worse."""
    for check in checks:
        if check.kind == SINCE_LAST and check.outcome is Outcome.PASS:
            yield Text(printable(f"no worse than before: {check.message}", limit=2000))


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
