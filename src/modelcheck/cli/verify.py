"""`modelcheck verify`: judge a pair made by any tool, or one model by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelcheck.cli.options import DataOptions, ImageOptions, LimitOptions, RunOptions
from modelcheck.cli.search_options import SearchOptions, with_search


def verify(
    original: Annotated[Path, typer.Argument(help="The original ONNX model.")],
    candidate: Annotated[
        Path | None, typer.Argument(help="The optimized one; without it ORIGINAL is judged alone.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="A recipe file; its steps are ignored.")
    ] = None,
    claim: Annotated[
        str | None,
        typer.Option(
            metavar="exact|precision|lossy",
            help="What CANDIDATE shall be: exact unless an equivalence limit is given.",
        ),
    ] = None,  # fmt: skip
    *,
    data: DataOptions,
    images: ImageOptions,
    limits: LimitOptions,
    search: SearchOptions,
    run: RunOptions,
) -> int:
    """Does CANDIDATE do what ORIGINAL does, on every target? Does ORIGINAL run rightly at all?"""
    import time

    from modelcheck.cli.ahead import head_start

    start_s = time.monotonic()
    with head_start(data, limits, run, pair=candidate is not None):
        from modelcheck import gate
        from modelcheck.cli.progress import ProgressDisplay
        from modelcheck.cli.request import child_limits, overridden, with_claim
        from modelcheck.cli.screen import Screen
        from modelcheck.recipe import Recipe, load_recipe

        asked = Recipe() if policy is None else load_recipe(policy)
        screen = Screen(run, [original, candidate, policy, data.data, data.calibration_data])
        asked, ignored = gate.without_steps(asked)
        asked = with_claim(overridden(asked, data, images, limits, run), claim)
        asked = with_search(asked, search)
        screen.open_ledger("verify", (candidate or original).name, asked)
        with ProgressDisplay(quiet=run.quiet) as progress:
            first = gate.load_model(original)
            second = None if candidate is None else gate.load_model(candidate, candidate=True)
            inputs = gate.open_inputs(first, asked, emit=progress.show)
            result = gate.judge(
                inputs,
                second,
                gate.default_claim(asked, alone=second is None),
                asked,
                limits=child_limits(run),
                bands=screen.bands(first),
                emit=progress.show,
            )
            report = screen.make_report(result, inputs.data, asked, start_s)
    note = f"The {ignored} steps of {policy.name} were ignored." if ignored and policy else ""
    screen.report(report, note)
    return report.exit_code
