"""`modelcheck search`: the fastest form of a model that is still the same model, proven."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from modelcheck.cli.options import (
    DataOptions,
    EquivalenceOptions,
    ImageOptions,
    LimitOptions,
    ProcessOptions,
    RunOptions,
)

_SEARCH = "Search"


@dataclass(frozen=True)
class SearchingOptions:
    max_time: Annotated[
        str, typer.Option(metavar="10m", help="Time for all of it.", rich_help_panel=_SEARCH)
    ] = "10m"
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Only rewrites that compute the same: no int8.",
                     rich_help_panel=_SEARCH),
    ] = False  # fmt: skip
    goal: Annotated[
        str,
        typer.Option(metavar="fastest|smallest|best", help="What to look for among all that hold "
                     "the limits: the smallest may be 5 % slower, the best is the nearest to the "
                     "original within --max-p50.", rich_help_panel=_SEARCH),
    ] = "fastest"  # fmt: skip
    max_p50: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long a forward may take, e.g. 8ms.",
                     rich_help_panel=_SEARCH),
    ] = None  # fmt: skip
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Processes that look at int8 layers side by side; "
                     "timings are always taken alone.", rich_help_panel=_SEARCH),
    ] = 1  # fmt: skip
    min_speedup: Annotated[
        float | None,
        typer.Option(help="Fail where nothing is at least so many times as fast.",
                     rich_help_panel=_SEARCH),
    ] = None  # fmt: skip


def search(
    model: Annotated[Path, typer.Argument(help="The original ONNX model.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FAST.onnx", help="Write the best one here, and "
                     "beside it its recipe, report, runtime settings, script and plot."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace these files.")] = False,
    *,
    searching: SearchingOptions,
    data: DataOptions,
    images: ImageOptions,
    limits: EquivalenceOptions,
    run: ProcessOptions,
) -> int:  # fmt: skip
    """Find the fastest form of MODEL on a target, or the smallest: rewrites, engines, int8.

    Choosing is by measurement on the target; the fastest three go through the gate, on samples
    and in processes that nothing was chosen by. What is not provably faster is not recommended.
    Ctrl-C ends the choosing, and what was found until then is judged. With several targets each
    has a search, and a file, of its own.
    """
    from modelcheck import gate
    from modelcheck.cli.outputs import held
    from modelcheck.cli.progress import ProgressDisplay
    from modelcheck.cli.request import overridden
    from modelcheck.cli.screen import Screen
    from modelcheck.cli.search_request import outputs_of, search_plans, write_outputs
    from modelcheck.cli.search_screen import SearchScreen
    from modelcheck.recipe import Recipe

    as_run = RunOptions(**vars(run))
    asked = overridden(
        Recipe(), data, images,
        LimitOptions(
            **vars(limits), min_speedup=searching.min_speedup,
            max_p50=[searching.max_p50] if searching.max_p50 else None,
        ),
        as_run,
    )  # fmt: skip
    command = Screen(as_run).command(asked.seed)
    paths = outputs_of(output, [settings.target for settings in asked.targets])
    with (
        ProgressDisplay(quiet=run.quiet) as progress,
        held(tuple(itertools.chain(*paths)), force=force) as outputs,
    ):
        loaded = gate.load_model(model)
        outputs.check_inputs([*gate.files_of(loaded), *filter(None, [data.data])])
        plans = search_plans(loaded, asked, searching, as_run, emit=progress.show)
        screen = SearchScreen(plans, command, as_run)
        for plan, mine in zip(plans, paths, strict=True):
            result = screen.run(plan, progress)
            loaded.check_unchanged()
            if result is not None:
                screen.keep(result, write_outputs(mine, result, asked, command))
    return screen.show()
