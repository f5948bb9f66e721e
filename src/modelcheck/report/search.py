"""What a search found, on a screen and as JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.judge import Outcome, SpeedEvidence, exit_code
from modelcheck.recipe.writing import step_text
from modelcheck.report.document import plain
from modelcheck.report.styles import STYLES, VERDICTS, plain_table
from modelcheck.searching import Contender, Goal, Judged, Searched

_LONGEST_STEP = 160


def search_json(result: Searched) -> dict[str, Any]:
    """Versioned plain values."""
    plan = result.plan
    best = None if result.best is None else _judged_json(result.best)
    return {
        "schema": "modelcheck.search/1",
        "model": {"name": plan.model.name, "digest": plan.model.digest},
        "data": plan.samples.verdict.origin,
        "samples": plan.samples.text,
        "seed": plan.seed,
        "opencv": plain(result.opencv),
        "original_s": {str(engine): seconds for engine, seconds in result.original.items()},
        "baseline": result.baseline.name,
        "outcome": result.outcome.value,
        "exit_code": exit_code(result.outcome),
        "best": best,
        "judged": [_judged_json(judged) for judged in result.judged],
        "contenders": [_contender_json(one) for one in result.contenders],
        "notes": list(result.notes),
        "seconds": result.seconds,
    }


def searches_json(
    found: Sequence[Searched], failed: Mapping[str, str], outcome: Outcome
) -> dict[str, Any]:
    """Of several targets: what each search found, and why others found nothing."""
    return {
        "schema": "modelcheck.searches/1",
        "outcome": outcome.value,
        "exit_code": exit_code(outcome),
        "searches": [search_json(result) for result in found],
        "failed": dict(failed),
    }


def _contender_json(contender: Contender) -> dict[str, Any]:
    figures = {"latency_s": contender.latency_s, "db": contender.db}
    return {
        "name": contender.name,
        "target": contender.target.name,
        "claim": contender.claim.value,
        "steps": [step_text(step) for step in contender.steps],
        "gain": contender.gain.ratio,
        "bytes": contender.model_bytes,
        "agreement": contender.agreement,
        "holds": contender.holds,
        **{key: value if math.isfinite(value) else None for key, value in figures.items()},
    }


def _judged_json(judged: Judged) -> dict[str, Any]:
    speed = speed_of(judged)
    return {
        **_contender_json(judged.contender),
        "digest": judged.made.model.digest,
        "outcome": judged.verification.outcome.value,
        "speedup": None if speed is None else [speed.ratio, *map(plain, (speed.low, speed.high))],
    }


def print_search(result: Searched, console: Console) -> None:
    """The originals, every candidate as a first look has it, and what the gate says."""
    plan = result.plan
    ours = metadata.version("modelcheck")
    head = f"modelcheck {ours}   OpenCV {result.opencv.version}   seed {plan.seed}"
    console.print(Text(head, style="dim"))
    console.print()
    facts = Table.grid(padding=(0, 3, 0, 0))
    name = printable(plan.model.name)
    facts.add_row(Text(name, style="bold"), Text(units.short_digest(plan.model.digest)))
    facts.add_row("data", Text(printable(plan.samples.verdict.origin)))
    facts.add_row("", Text(plan.samples.text))
    console.print(facts)
    if plan.samples.verdict.synthetic:
        text = "SYNTHETIC INPUTS: no --data was given. Only exact rewrites were tried."
        console.print(Text(text, style="yellow"))
    console.print()
    console.print(_table(result))
    console.print()
    for line in (*_recipe(result), *result.notes):
        console.print(Text(printable(line, limit=2000), style="dim"), soft_wrap=True)


def print_search_verdict(result: Searched, console: Console, command: str, fate: str) -> None:
    """'PASSED: 1.31x …', the command, the exit code."""
    console.print()
    text = " ".join([*_sentences(result), fate]).rstrip()
    style = STYLES[result.outcome]
    console.print(Text.assemble((VERDICTS[result.outcome], style), f": {text}"), soft_wrap=True)
    console.print(Text(f"Reproduce: {printable(command, limit=2000)}", style="dim"), soft_wrap=True)
    code = exit_code(result.outcome)
    console.print(Text(f"exit {code}   {units.duration(result.seconds)}", style="dim"))


def print_best_of_each(
    found: Sequence[Searched], failed: Mapping[str, str], outcome: Outcome, console: Console
) -> None:
    """For each target, which candidate is best."""
    table = plain_table("TARGET", "ORIGINAL", "BEST", "ON", "SPEEDUP", "SIZE")
    for result in found:
        target, baseline = result.plan.settings.target, result.baseline.engine
        row = [target.name, f"{units.duration(result.original[baseline])} {baseline}"]
        if result.best is None:
            row += ["the original", "", "", ""]
        else:
            speed, best = speed_of(result.best), result.best.contender
            row += [best.name, best.target.engine.value]
            row += ["" if speed is None else units.ratio(speed.ratio)]
            row += [units.size(best.model_bytes)]
        table.add_row(*map(printable, row))
    for name, reason in failed.items():
        table.add_row(printable(name), "–", Text(printable(reason, limit=400)), "", "", "")
    console.print()
    console.print(table)
    code = exit_code(outcome)
    console.print(Text.assemble((VERDICTS[outcome], STYLES[outcome]), f"   exit {code}"))


def speed_of(judged: Judged) -> SpeedEvidence | None:
    """The figures of the gate's run, which are the ones that count."""
    return judged.verification.targets[0].speed


def _sentences(result: Searched) -> Iterator[str]:
    baseline, plan = result.baseline.name, result.plan
    if result.best is not None:
        speed = speed_of(result.best)
        assert speed is not None
        gain = f"{units.ratio(speed.ratio)} [{speed.low:.2f}, {speed.high:.2f}]"
        contender = result.best.contender
        yield (
            f"{gain} with {contender.name} on {contender.target.name}, over the original on "
            f"{baseline}, where it is fastest."
        )
        if plan.goal is Goal.SMALLEST:
            before, after = plan.model.nbytes, result.best.made.model.nbytes
            yield f"{units.size(after)} of weights for {units.size(before)}."
        return
    yield _nothing(result)
    for judged in result.judged:
        check = next((c for c in judged.verification.checks if c.outcome is not Outcome.PASS), None)
        if check is not None:
            yield f"{judged.contender.name} on {judged.contender.target.name}: {check.message}"


def _nothing(result: Searched) -> str:
    """Why the original is the answer, or that none is."""
    baseline, plan = result.baseline.name, result.plan
    takes_s, budget_s = result.original[result.baseline.engine], plan.latency_budget_s
    if takes_s > budget_s:
        return (
            f"Nothing that holds the limits takes at most {units.duration(budget_s)}; the original "
            f"takes {units.duration(takes_s)} on {baseline}."
        )
    if plan.goal is Goal.BEST:
        return (
            f"The original takes {units.duration(takes_s)} on {baseline}, which is within "
            f"{units.duration(budget_s)}: keep it."
        )
    better = "smaller, right and hardly slower" if plan.goal is Goal.SMALLEST else "provably faster"
    return f"Nothing is {better} than the original on {baseline}: keep it."


def _table(result: Searched) -> Table:
    table = plain_table()
    table.padding = (0, 1, 0, 0)  # so that it fits into 80 columns
    for name in ("", "CANDIDATE", "TARGET", "LATENCY", "LOOK", "SIZE", "SQNR", "AGREE", "GATE"):
        folds = name in ("CANDIDATE", "GATE")
        least = 9 if name == "CANDIDATE" else None
        table.add_column(name, no_wrap=not folds, overflow="fold", min_width=least)
    size = units.size(result.plan.model.nbytes)
    for engine, seconds in sorted(result.original.items(), key=lambda item: item[1]):
        best = engine is result.baseline.engine
        place = engine.value
        table.add_row("baseline" if best else "", "original", place, units.duration(seconds),
                      "1.00x" if best else "", size, "", "", "")  # fmt: skip
    gate = {id(judged.contender): judged for judged in result.judged}
    for one in sorted(result.contenders, key=lambda c: -c.gain.ratio):
        judged = gate.get(id(one))
        raced = one.gain.ratio > 0
        table.add_row(
            "best" if judged is not None and judged is result.best else "",
            one.name,
            one.target.engine.value,
            units.duration(one.latency_s) if raced else "–",
            units.ratio(one.gain.ratio) if raced else "–",
            units.size(one.model_bytes),
            units.decibels(one.db) if not math.isnan(one.db) else "–",
            "–" if one.agreement is None else units.percent(one.agreement),
            _gate(one, judged),
        )
    return table


def _gate(contender: Contender, judged: Judged | None) -> Text:
    if judged is None:
        return Text("" if contender.holds else "misses the limits", style="dim")
    outcome = judged.verification.outcome
    speed = speed_of(judged)
    figures = "" if speed is None else f" {speed.ratio:.2f}x [{speed.low:.2f}, {speed.high:.2f}]"
    return Text(f"{outcome.value}{figures}", style=STYLES[outcome])


def _recipe(result: Searched) -> Iterator[str]:
    if result.best is None:
        return
    yield "its recipe:"
    for step in result.best.contender.steps:
        yield f"  -t '{printable(step_text(step), limit=_LONGEST_STEP)}'"
