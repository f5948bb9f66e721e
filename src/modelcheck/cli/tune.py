"""`modelcheck tune`: the setting of least latency, and that of most throughput, proven."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelcheck.cli.options import (
    DataOptions,
    EquivalenceOptions,
    ImageOptions,
    LimitOptions,
    ProcessOptions,
    RunOptions,
    SampleOptions,
)

if TYPE_CHECKING:
    from modelcheck.tune import TunePlan, Tuning

_TUNING = "Tuning"


@dataclass(frozen=True)
class TuneOptions:
    goal: Annotated[
        str,
        typer.Option(metavar="throughput|latency", help="What the script deploys.",
                     rich_help_panel=_TUNING),
    ] = "throughput"  # fmt: skip
    max_latency: Annotated[
        float | None,
        typer.Option(metavar="MS", help="A setting must provably answer in so many ms.",
                     rich_help_panel=_TUNING),
    ] = None  # fmt: skip
    min_throughput: Annotated[
        float | None,
        typer.Option(metavar="N", help="A setting must provably do so many samples a second.",
                     rich_help_panel=_TUNING),
    ] = None  # fmt: skip
    time_budget: Annotated[
        str, typer.Option(metavar="90s", help="Time for all of it.", rich_help_panel=_TUNING)
    ] = "90s"


def tune(
    model: Annotated[Path, typer.Argument(help="An ONNX model.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="RUNTIME.toml",
            help="Write the settings here, and beside it a script (.py) and a plot (.svg).",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace these files.")] = False,
    *,
    tuning: TuneOptions,
    samples: SampleOptions,
    images: ImageOptions,
    limits: EquivalenceOptions,
    run: ProcessOptions,
) -> int:  # fmt: skip
    """Find out how this machine runs MODEL fastest: engine, threads, pool of nets, batch, switches.

    Every setting must give the outputs of onnxruntime. What is recommended is measured again in
    fresh processes, in turn with the default, and only that decides.
    """
    from modelcheck import gate
    from modelcheck.cli.outputs import held
    from modelcheck.cli.progress import ProgressDisplay
    from modelcheck.cli.request import overridden
    from modelcheck.cli.screen import Screen, console, print_json
    from modelcheck.cli.tune_request import outputs_of, tune_plan, write_outputs
    from modelcheck.judge import exit_code
    from modelcheck.recipe import Recipe
    from modelcheck.report.tune import print_tuning, print_tuning_verdict, tuning_json
    from modelcheck.tune import Tuned
    from modelcheck.tune import tune as run_tuning

    as_run = RunOptions(**vars(run))
    asked = overridden(
        Recipe(), DataOptions(**vars(samples)), images, LimitOptions(**vars(limits)), as_run
    )
    result: Tuning | None = None
    paths = outputs_of(output)
    with ProgressDisplay(quiet=run.quiet) as progress, held(paths, force=force) as outputs:
        loaded = gate.load_model(model)
        outputs.check_inputs(gate.files_of(loaded))
        plan: TunePlan = tune_plan(loaded, asked, tuning, as_run, emit=progress.show)
        for event in run_tuning(plan):
            if isinstance(event, Tuned):
                result = event.result
            else:
                progress.show(event)
        assert result is not None
        loaded.check_unchanged()
        written = write_outputs(outputs, result, model.name, asked.data.preprocessing)
    screen = Screen(as_run)
    if run.json:
        print_json(tuning_json(result))
    else:
        if not run.quiet:
            print_tuning(result, console())
        print_tuning_verdict(result, console(), screen.command(asked.seed), written)
    return exit_code(result.outcome)
