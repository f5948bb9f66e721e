"""`modelcheck bench`: what models cost where they run, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from modelcheck.cli.options import ImageOptions, ProcessOptions, RunOptions, SampleOptions

_MEASURING = "Measuring"


@dataclass(frozen=True)
class BenchOptions:
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE[:ENGINE][:threads=N][:python=PATH][:optional]",
                     help="Where to measure, e.g. cpu:classic:threads=1; may be repeated.",
                     rich_help_panel=_MEASURING),
    ] = None  # fmt: skip
    time_budget: Annotated[
        str,
        typer.Option(metavar="20s", help="Time for each model on each target.",
                     rich_help_panel=_MEASURING),
    ] = "20s"  # fmt: skip
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Save the measurement.",
                     rich_help_panel=_MEASURING),
    ] = None  # fmt: skip
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Compare with a saved measurement of this machine.",
                     rich_help_panel=_MEASURING),
    ] = None  # fmt: skip
    force: Annotated[
        bool,
        typer.Option("--force", help="Compare even where machine or OpenCV differ.",
                     rich_help_panel=_MEASURING),
    ] = False  # fmt: skip


def bench(
    models: Annotated[
        list[Path], typer.Argument(help="ONNX models; several are measured in turn.")
    ],
    *,
    measuring: BenchOptions,
    samples: SampleOptions,
    images: ImageOptions,
    run: ProcessOptions,
) -> int:
    """Latency (p50, p90, p99 with intervals), throughput, load, first inference and memory.

    Models and targets take turns in fresh processes, so that ratios mean something.
    """
    from modelcheck.bench import bench as run_bench
    from modelcheck.bench import compare, find_differences, read_baseline, save, to_document
    from modelcheck.cli.bench_request import bench_plan, check_comparable, exit_code, output_of
    from modelcheck.cli.progress import ProgressDisplay
    from modelcheck.cli.screen import Screen, console, print_json
    from modelcheck.report.bench import (
        print_baseline,
        print_bench,
        print_bench_end,
        print_bench_findings,
    )

    plan = bench_plan(models, measuring, samples, images, run)
    before = None if measuring.baseline is None else read_baseline(measuring.baseline)
    if before is not None:
        before.check_alike(plan)
    command = Screen(RunOptions(**vars(run))).command(plan.seed)
    with ProgressDisplay(quiet=run.quiet) as progress, output_of(plan, measuring.save):
        result = run_bench(
            plan,
            emit=progress.show,
            before_measuring=lambda rows: check_comparable(before, rows, force=measuring.force),
        )
        compared = () if before is None else compare(before, result)
        document = to_document(result, command=command, baseline=before, compared=compared)
        if measuring.save is not None:
            save(document, measuring.save)
    code = exit_code(result)
    if run.json:
        print_json(document)
        return code
    screen = console()
    if not run.quiet:
        print_bench(result, screen)
    if before is not None:
        differences = find_differences(before, result.rows)
        print_baseline(result, compared, before.name, differences, screen)
    print_bench_findings(result, screen)
    written = "" if measuring.save is None else f"{measuring.save.name} was written."
    print_bench_end(result, code, command, written, screen)
    return code
