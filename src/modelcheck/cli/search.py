"""`modelcheck search`: the fastest form of a model that is still the same model, proven."""

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
)

if TYPE_CHECKING:
    from modelcheck.searching import Searched

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
        typer.Option(metavar="fastest|smallest", help="What to look for among all that hold the "
                     "limits; the smallest may be 5 % slower.", rich_help_panel=_SEARCH),
    ] = "fastest"  # fmt: skip
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
    Ctrl-C ends the choosing, and what was found until then is judged.
    """
    from modelcheck import gate
    from modelcheck.cli.outputs import held
    from modelcheck.cli.progress import ProgressDisplay
    from modelcheck.cli.request import overridden
    from modelcheck.cli.screen import Screen, console, print_json
    from modelcheck.cli.search_request import outputs_of, search_plan, write_outputs
    from modelcheck.judge import exit_code
    from modelcheck.recipe import Recipe
    from modelcheck.report.search import print_search, print_search_verdict, search_json
    from modelcheck.searching import Searched
    from modelcheck.searching import search as run_search

    as_run = RunOptions(**vars(run))
    asked = overridden(
        Recipe(), data, images,
        LimitOptions(**vars(limits), min_speedup=searching.min_speedup), as_run,
    )  # fmt: skip
    screen = Screen(as_run)
    command = screen.command(asked.seed)
    result: Searched | None = None
    paths = outputs_of(output)
    with ProgressDisplay(quiet=run.quiet) as progress, held(paths, force=force) as outputs:
        loaded = gate.load_model(model)
        outputs.check_inputs([*gate.files_of(loaded), *filter(None, [data.data])])
        plan = search_plan(loaded, asked, searching, as_run, emit=progress.show)
        for event in run_search(plan):
            if isinstance(event, Searched):
                result = event
            else:
                progress.show(event)
        assert result is not None
        loaded.check_unchanged()
        written = write_outputs(outputs, result, asked, command)
    if run.json:
        print_json(search_json(result))
    else:
        if not run.quiet:
            print_search(result, console())
        print_search_verdict(result, console(), command, written)
    return exit_code(result.outcome)
