"""`modelcheck apply`: apply a recipe, verify the result, and write it only if it passes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelcheck.cli.options import DataOptions, ImageOptions, LimitOptions, RunOptions
from modelcheck.cli.search_options import SearchOptions, with_search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelcheck.cli.progress import ProgressDisplay
    from modelcheck.cli.screen import Screen
    from modelcheck.gate import Inputs
    from modelcheck.model import Model
    from modelcheck.process import ChildLimits
    from modelcheck.recipe import Recipe


def apply(
    model: Annotated[Path, typer.Argument(help="The original ONNX model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="A recipe in TOML: steps, data, limits.")
    ] = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(
            "--transform",
            "-t",
            metavar="NAME[:KEY=VALUE,…]",
            help="A step, in place of the recipe's; may be repeated.",
        ),
    ] = None,  # fmt: skip
    verify: Annotated[
        bool, typer.Option("--verify", help="Write the result only if it passes.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep a rejected result, as OUTPUT.rejected.onnx.")
    ] = False,
    *,
    data: DataOptions,
    images: ImageOptions,
    limits: LimitOptions,
    search: SearchOptions,
    run: RunOptions,
) -> int:
    """Apply optimization transforms to MODEL.

    With --verify, OUTPUT is written only if the result is still the same model, and as fast as
    asked, on every target.
    """
    import time
    from contextlib import ExitStack

    from modelcheck.cli.ahead import head_start

    start_s = time.monotonic()
    with ExitStack() as stack:
        if verify:
            stack.enter_context(head_start(data, limits, run, pair=True))

        from modelcheck import gate
        from modelcheck.cli.progress import ProgressDisplay
        from modelcheck.cli.request import child_limits, overridden
        from modelcheck.cli.screen import Screen
        from modelcheck.judge import Outcome
        from modelcheck.model import save
        from modelcheck.model.saving import check_output, output_lock
        from modelcheck.report import report_beside, save_report

        asked = overridden(_recipe(recipe, transform), data, images, limits, run)
        asked = with_search(asked, search)
        _refuse_blind(asked, verify)
        screen = Screen(run, [model, output, recipe, data.data, data.calibration_data])
        if verify:
            screen.open_ledger("apply", output.name, asked)
        check_output(output, [model], force=force)
        explicit = _recipe_beside(output, asked, recipe, force)
        stack.enter_context(output_lock(output))
        progress = stack.enter_context(ProgressDisplay(quiet=run.quiet))
        original = gate.load_model(model)
        check_output(output, gate.files_of(original), force=True)
        bounds = child_limits(run)
        asked, inputs, notes = _prepared(original, asked, bounds, progress, judged=verify)
        screen.planned(asked, notes)
        made = gate.make_candidate(original, inputs, asked, limits=bounds, emit=progress.show)
        if inputs is None or not verify:
            original.check_unchanged()
            save(made.model, output)
            _save_steps(asked, explicit, screen)
            progress.close()
            screen.unverified(made, output)
            return 0
        result = gate.judge(
            inputs, made.model, made.claim, asked,
            limits=bounds, bands=screen.bands(original), emit=progress.show,
        )  # fmt: skip
        report = screen.make_report(result, inputs.data, asked, start_s, made)
        if passed := report.outcome is Outcome.PASS:
            save(made.model, output)
            save_report(report, report_beside(output))
            _save_steps(asked, explicit, screen)
        elif keep:
            save(made.model, output.with_suffix(".rejected.onnx"))
    screen.report(report, f"{output.name} was {'' if passed else 'not '}written.")
    return report.exit_code


def _recipe(path: Path | None, transform: list[str] | None) -> Recipe:
    """The recipe file, with the steps of the command line in place of its own."""
    from dataclasses import replace

    from modelcheck.errors import UsageError
    from modelcheck.recipe import Recipe, load_recipe, parse_step

    recipe = Recipe() if path is None else load_recipe(path)
    if transform:
        recipe = replace(recipe, steps=tuple(parse_step(text) for text in transform))
    if not recipe.steps:
        raise UsageError(
            "there is nothing to apply",
            where="apply",
            remedy="Give steps: -t fold-batchnorm, or --recipe FILE. "
            "`modelcheck transforms` lists them.",
        )
    return recipe


def _prepared(
    original: Model, asked: Recipe, limits: ChildLimits, progress: ProgressDisplay, *, judged: bool
) -> tuple[Recipe, Inputs | None, Sequence[str]]:
    """Explicit steps and the samples that they or the judge need; with what planning found."""
    from modelcheck import gate
    from modelcheck.recipe import is_automatic

    if is_automatic(asked.steps):
        from modelcheck.searching.automatic import planned

        plan = planned(original, asked, limits=limits, emit=progress.show)
        return plan.recipe, plan.inputs, plan.notes
    if judged or any(step.calibrates for step in asked.steps):
        return asked, gate.open_inputs(original, asked, emit=progress.show), ()
    return asked, None, ()


def _recipe_beside(output: Path, asked: Recipe, given: Path | None, force: bool) -> Path | None:
    """Where explicit steps go, if any are to be found. Raises UsageError where that is taken."""
    from modelcheck.errors import ModelcheckError
    from modelcheck.model.saving import check_output
    from modelcheck.recipe import is_automatic

    if not is_automatic(asked.steps):
        return None
    path = output.with_suffix(".recipe.toml")
    try:
        check_output(path, [given] if given else [], force=force)
    except ModelcheckError as error:
        raise error.at("the recipe of what is found for 'auto' goes beside the output") from None
    return path


def _save_steps(recipe: Recipe, path: Path | None, screen: Screen) -> None:
    """What was found for `auto`, as a recipe that measures nothing."""
    from modelcheck.cli.outputs import write_texts
    from modelcheck.errors import printable
    from modelcheck.recipe.writing import steps_toml

    if path is not None:
        comment = f"Found by: {printable(screen.command(recipe.seed), 500)}"
        write_texts({path: steps_toml(recipe.steps, seed=recipe.seed, comment=comment)})


def _refuse_blind(recipe: Recipe, verify: bool) -> None:
    """A file is never written on speed alone."""
    from modelcheck.errors import UsageError

    if verify and not recipe.judging.equivalence:
        raise UsageError(
            "apply --verify must judge equivalence, and --checks leaves it out",
            where="--checks",
            remedy="Leave --checks out, or use `modelcheck verify` to look at speed alone.",
        )
