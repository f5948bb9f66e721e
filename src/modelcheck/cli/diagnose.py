"""`modelcheck diagnose`: which layer it is, and the smallest model that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from modelcheck.cli.options import DataOptions, ImageOptions, ProcessOptions, RunOptions

_DIAGNOSIS = "Diagnosis"


@dataclass(frozen=True)
class DiagnoseOptions:
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE[:ENGINE][:threads=N][:python=PATH]",
                     help="Where it goes wrong, e.g. cpu:classic.", rich_help_panel=_DIAGNOSIS),
    ] = None  # fmt: skip
    recipe: Annotated[
        Path | None,
        typer.Option(help="The recipe that makes the candidate: names the step at fault.",
                     rich_help_panel=_DIAGNOSIS),
    ] = None  # fmt: skip
    transform: Annotated[
        list[str] | None,
        typer.Option("--transform", "-t", metavar="NAME[:KEY=VALUE,…]",
                     help="A step, in place of the recipe's; may be repeated.",
                     rich_help_panel=_DIAGNOSIS),
    ] = None  # fmt: skip
    reduce: Annotated[
        bool,
        typer.Option("--reduce", help="Cut out the smallest model that shows it, into -o FOLDER.",
                     rich_help_panel=_DIAGNOSIS),
    ] = False  # fmt: skip
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER",
                     help="For --reduce: model, input, script and README go here.",
                     rich_help_panel=_DIAGNOSIS),
    ] = None  # fmt: skip
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw the error along the layers.",
                     rich_help_panel=_DIAGNOSIS),
    ] = None  # fmt: skip
    force: Annotated[
        bool, typer.Option("--force", help="Replace these files.", rich_help_panel=_DIAGNOSIS)
    ] = False
    every: Annotated[
        bool, typer.Option("--all", help="List every layer.", rich_help_panel=_DIAGNOSIS)
    ] = False


def diagnose(
    original: Annotated[Path, typer.Argument(help="The original ONNX model.")],
    candidate: Annotated[
        Path | None,
        typer.Argument(help="The one that differs; without it, and without steps, ORIGINAL "
                       "on the target is held against onnxruntime."),
    ] = None,
    *,
    diagnosis: DiagnoseOptions,
    data: DataOptions,
    images: ImageOptions,
    run: ProcessOptions,
) -> int:  # fmt: skip
    """Find the first layer where CANDIDATE parts from ORIGINAL, and the one that adds most error.

    Each layer is cut out and run by itself on what the float32 original computes before it, so
    that no other layer's error blurs the answer; layers that are wrong only together are found too.
    """
    from modelcheck import diagnose as stage
    from modelcheck.cli.diagnose_request import diagnosis_plan, outputs_of
    from modelcheck.cli.progress import ProgressDisplay
    from modelcheck.cli.screen import Screen, console, print_json
    from modelcheck.judge import exit_code
    from modelcheck.report.diagnose import diagnosis_json, print_diagnosis, print_diagnosis_verdict

    as_run = RunOptions(**vars(run))
    with (
        ProgressDisplay(quiet=run.quiet) as progress,
        outputs_of(diagnosis, [p for p in (original, candidate) if p is not None]) as outputs,
    ):
        asked, plan = diagnosis_plan(
            (original, candidate), diagnosis, data, images, as_run, emit=progress.show
        )
        found = stage.diagnose(plan, emit=progress.show)
        plan.original.check_unchanged()
        written = outputs.write(found)
    command = Screen(as_run).command(asked.seed)
    if run.json:
        print_json(diagnosis_json(found, plan, command))
    else:
        if not run.quiet:
            print_diagnosis(found, plan, console(), every=diagnosis.every)
        print_diagnosis_verdict(found, console(), command, written)
    return exit_code(found.outcome)
