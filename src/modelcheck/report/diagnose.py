"""What a diagnosis found, on a screen and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.diagnose import Diagnosis, DiagnosisPlan, LayerEvidence, Origin
from modelcheck.diagnose.evidence import db_of
from modelcheck.errors import printable
from modelcheck.judge import exit_code
from modelcheck.report.document import plain
from modelcheck.report.styles import STYLES, VERDICTS, plain_table

_MOST_ROWS = 12  # the worst layers, beside the neighbours of those that are named
_NEIGHBOURS = 2
_LONGEST_NAME = 48
_ORIGINS = {
    Origin.TARGET: "target",
    Origin.TRANSFORM: "transform",
    Origin.FORM: "this form",
}


def diagnosis_json(found: Diagnosis, plan: DiagnosisPlan, command: str) -> dict[str, Any]:
    """Versioned plain values."""
    return {
        "schema": "modelcheck.diagnosis/1",
        "original": {"name": found.original, "digest": plan.original.digest},
        "candidate": None
        if plan.candidate is None
        else {"name": found.candidate, "digest": plan.candidate.digest},
        "target": found.target.name,
        "opencv": plain(found.opencv),
        "data": plan.samples.origin,
        "samples": found.samples,
        "seed": plan.seed,
        "outcome": found.outcome.value,
        "exit_code": exit_code(found.outcome),
        "message": found.message,
        "outputs": plain(found.total),
        "sqnr_db": {
            "total": plain(found.total_db),
            "transform": plain(found.transform_db),
            "target": plain(found.target_db),
        },
        "first": None if found.first is None else found.first.part.index,
        "worst": None if found.worst is None else found.worst.part.index,
        "layers": [_layer_json(layer) for layer in found.layers],
        "steps": [plain(step) for step in found.steps],
        "guilty_step": found.guilty_step,
        "reproduction": None
        if found.reproduction is None
        else {"error": found.reproduction.error, "operators": found.reproduction.nodes},
        "notes": list(found.notes),
        "command": command,
        "seconds": found.seconds,
    }


def _layer_json(layer: LayerEvidence) -> dict[str, Any]:
    return {
        "index": layer.part.index,
        "layer": layer.part.name,
        "layers": list(layer.part.layers),
        "operators": layer.part.operators,
        "candidate_operators": layer.part.candidate_operators,
        "tensor": layer.part.output,
        "candidate_tensor": layer.part.candidate_output,
        "own": plain(layer.own),
        "transform_db": plain(layer.transform_db),
        "target_db": plain(layer.target_db),
        "reached_db": plain(layer.reached_db),
        "effect_db": None if layer.effect is None else plain(db_of(layer.effect)),
        "origin": layer.origin,
        "trouble": layer.trouble,
        "together": list(layer.together),
    }


def print_diagnosis(
    found: Diagnosis, plan: DiagnosisPlan, console: Console, *, every: bool = False
) -> None:
    """Whole models, the layers that matter and their neighbours, the recipe's steps."""
    ours = metadata.version("modelcheck")
    head = f"modelcheck {ours}   OpenCV {found.opencv.version}   seed {plan.seed}"
    console.print(Text(head, style="dim"))
    console.print()
    console.print(_facts(found, plan))
    if plan.samples.synthetic:
        text = "SYNTHETIC INPUTS: no --data was given. Errors are those on noise."
        console.print(Text(text, style="yellow"))
    console.print()
    if every or shown(found):
        console.print(_table(found, every))
        console.print()
    for line in _remarks(found):
        console.print(Text(line, style="dim"), soft_wrap=True)
    if found.steps:
        console.print()
        console.print(_steps(found))


def print_diagnosis_verdict(found: Diagnosis, console: Console, command: str, written: str) -> None:
    """The layers by name, the step, the command, the exit code."""
    console.print()
    for line in _findings(found):
        console.print(Text(line), soft_wrap=True)
    message = f"{found.message[:1].upper()}{found.message[1:]}"
    if found.first is not None:
        message = f"the two part at '{printable(found.first.part.name)}'."
        if found.candidate is None:
            message = f"{found.target.name} goes wrong at '{printable(found.first.part.name)}'."
    verdict = (VERDICTS[found.outcome], STYLES[found.outcome])
    console.print(Text.assemble(verdict, f": {message} {written}".rstrip()), soft_wrap=True)
    console.print(Text(f"Reproduce: {printable(command, limit=2000)}", style="dim"), soft_wrap=True)
    line = f"exit {exit_code(found.outcome)}   {units.duration(found.seconds)}"
    console.print(Text(line, style="dim"))


def _findings(found: Diagnosis) -> Iterator[str]:
    first, worst = found.first, found.worst
    if first is None or worst is None:
        return
    from modelcheck.diagnose.naming import describe

    alone = found.candidate is None
    if first.part.index == worst.part.index:
        yield f"FIRST AND WORST  {describe(first, found.target.name, alone=alone)}"
    else:
        yield f"FIRST  {describe(first, found.target.name, alone=alone)}"
        yield f"WORST  {describe(worst, found.target.name, alone=alone)}"
    if found.guilty_step is not None:
        step = found.steps[found.guilty_step]
        yield f"STEP   {found.guilty_step + 1} {step.name} brought it in."
    if found.reproduction is not None:
        made = found.reproduction
        yield (
            f"REDUCED  to {units.plural(made.nodes, 'operator')}, relative error {made.error:.3g} "
            f"against {made.truth}."
        )


def _facts(found: Diagnosis, plan: DiagnosisPlan) -> Table:
    facts = Table.grid(padding=(0, 3, 0, 0))
    pairs = [(found.original, plan.original)]
    if plan.candidate is not None and found.candidate is not None:
        pairs.append((found.candidate, plan.candidate))
    for name, model in pairs:
        facts.add_row(Text(printable(name), style="bold"), units.short_digest(model.digest))
    facts.add_row("data", Text(printable(plan.samples.origin)))
    facts.add_row("target", found.target.name)
    told = [f"{units.decibels(found.total_db)} on the target"]
    if found.transform_db is not None:
        told.append(f"{units.decibels(found.transform_db)} of the candidate in onnxruntime")
    if found.target_db is not None:
        told.append(f"{units.decibels(found.target_db)} of the original on the target")
    facts.add_row("outputs", ", ".join(told))
    return facts


def _table(found: Diagnosis, every: bool) -> Table:
    table = plain_table()
    table.add_column("", no_wrap=True)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("LAYER", overflow="fold")
    table.add_column("OPERATORS", overflow="fold")
    for name in ("OWN SQNR", "REACHED", "IN OUTPUTS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("SAMPLE", justify="right", no_wrap=True)
    table.add_column("WHOSE", no_wrap=True)
    before = -1
    for layer in found.layers if every else shown(found):
        index = layer.part.index
        if index > before + 1:
            table.add_row("", "⋮")
        table.add_row(*_row(found, layer))
        before = index
    if before + 1 < len(found.layers):
        table.add_row("", "⋮")
    return table


def shown(found: Diagnosis) -> list[LayerEvidence]:
    """The named layers with their neighbours, and those with most error; all where few."""
    if len(found.layers) <= _MOST_ROWS:
        return list(found.layers)
    by_noise = sorted(found.layers, key=lambda y: (-(y.effect or 0.0), -y.noise, y.part.index))
    wanted = {layer.part.index for layer in by_noise[:_MOST_ROWS] if layer.origin is not None}
    for named in (found.first, found.worst):
        if named is not None:
            near = range(named.part.index - _NEIGHBOURS, named.part.index + _NEIGHBOURS + 1)
            wanted.update(near)
    return [layer for layer in found.layers if layer.part.index in wanted]


def _row(found: Diagnosis, layer: LayerEvidence) -> tuple[Text, ...]:
    marks = [
        word
        for word, named in (("first", found.first), ("worst", found.worst))
        if named is not None and named.part.index == layer.part.index
    ]
    style = "bold" if marks else ""
    own = "not run" if layer.own is None else units.decibels(layer.own_db)
    sample = None if layer.own is None or layer.origin is None else layer.own.worst_sample
    words = (
        ", ".join(marks),
        str(layer.part.index),
        printable(layer.part.name, _LONGEST_NAME),
        layer.part.form,
        own,
        "–" if layer.reached_db is None else units.decibels(layer.reached_db),
        "–" if layer.effect is None else units.decibels(db_of(layer.effect)),
        "–" if sample is None else str(sample),
        "rounding" if layer.origin is None else _ORIGINS[layer.origin],
    )
    return tuple(Text(word, style=style) for word in words)


def _remarks(found: Diagnosis) -> Iterator[str]:
    yield (
        "own: this layer alone, fed with the float32 original's tensors; reached: with all before "
        "it; in outputs: what its own error does to them; sample: its worst"
    )
    wrong = sum(layer.origin is not None for layer in found.layers)
    names = "name" if found.matching.by_name else "structure"
    if found.candidate is not None:
        lost = found.matching.original_only
        alone = f", {units.plural(lost, 'tensor')} of the original alone" if lost else ""
        yield f"tensors matched by {names}{alone}"
    yield (
        f"{units.plural(len(found.layers), 'layer')}, {wrong} beyond rounding "
        f"({units.decibels(found.rounding_db)}); --all lists them"
    )
    unrun = [layer for layer in found.layers if layer.own is None]
    if unrun:
        reason = printable(unrun[0].trouble, 160)
        yield f"{units.plural(len(unrun), 'layer')} not run by themselves: {reason}"
    yield from found.notes


def _steps(found: Diagnosis) -> Table:
    table = plain_table()
    table.add_column("STEP")
    table.add_column("OUTPUTS", justify="right")
    table.add_column("THAT LAYER", justify="right")
    for i, step in enumerate(found.steps):
        style = "bold" if i == found.guilty_step else ""
        layer = "–" if step.layer_db is None else units.decibels(step.layer_db)
        words = (f"{i + 1} {step.name}", units.decibels(step.outputs_db), layer)
        table.add_row(*(Text(word, style=style) for word in words))
    return table
