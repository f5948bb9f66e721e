"""From the options of `search` to its plan, and from its result to the files it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelcheck import gate
from modelcheck.cli.outputs import Files, check_suffix, write_texts
from modelcheck.cli.request import child_limits
from modelcheck.data import SplitSamples, split_in_three
from modelcheck.errors import UsageError, did_you_mean, printable
from modelcheck.model import Model, save
from modelcheck.recipe import Recipe, parse_duration
from modelcheck.recipe.writing import steps_toml
from modelcheck.searching import Goal, Searched, SearchPlan
from modelcheck.transforms import Claim
from modelcheck.tune import Setting, runtime_of, script
from modelcheck.verification import Event
from modelcheck.verification.memory import Memory

if TYPE_CHECKING:
    from modelcheck.cli.options import RunOptions
    from modelcheck.cli.search import SearchingOptions

_FEWEST_SECONDS = 20.0


def search_plan(
    model: Model,
    asked: Recipe,
    searching: SearchingOptions,
    run: RunOptions,
    *,
    emit: Callable[[Event], None],
) -> SearchPlan:
    """Everything that is asked, checked."""
    if len(asked.targets) != 1:
        raise UsageError(
            "a search is for one target",
            where="--target",
            remedy="Search once for each: what is fastest differs, and so do the files.",
        )
    seconds = parse_duration(searching.max_time, key="--max-time")
    if seconds < _FEWEST_SECONDS:
        raise UsageError(
            f"{searching.max_time} are not enough to find and prove anything",
            where="--max-time",
            remedy="Give it a few minutes.",
        )
    goals = [goal.value for goal in Goal]
    if searching.goal not in goals:
        raise UsageError(
            f"'{printable(searching.goal)}' is no goal",
            where="--goal",
            remedy=did_you_mean(searching.goal, goals) or f"There are: {', '.join(goals)}.",
        )
    data, calibration = gate.open_sets(model, asked, emit=emit)
    synthetic = (calibration or data).synthetic and not asked.data.allow_synthetic
    lossy = not searching.exact and not synthetic
    return SearchPlan(
        model=model,
        samples=split_in_three(
            data, calibration if lossy else None, calibrate=lossy,
            allow_synthetic=asked.data.allow_synthetic,
        ),
        settings=asked.targets[0],
        claim=Claim.LOSSY if lossy else Claim.EXACT,
        goal=Goal(searching.goal),
        time_budget_s=seconds,
        seed=asked.seed,
        child_limits=child_limits(run),
        memory=Memory.of_user(),
    )  # fmt: skip


def outputs_of(model: Path | None) -> tuple[Path, ...]:
    """The model, and beside it its recipe, report, runtime settings, script and plot.

    Nothing where nothing is asked for. Raises UsageError.
    """
    check_suffix(model, ".onnx", "the output is an ONNX model")
    if model is None:
        return ()
    stem = model.with_suffix("")
    beside = (".recipe.toml", ".onnx.modelcheck.json", ".runtime.toml", ".runtime.py", ".svg")
    return (model, *(stem.with_name(stem.name + suffix) for suffix in beside))


def write_outputs(files: Files, result: Searched, asked: Recipe, command: str) -> str:
    """Write them where something is better; what became of them, in a sentence."""
    if not files.paths:
        return ""
    model, recipe, report, runtime, snippet, plot = files.paths
    if result.best is None:
        return f"{printable(model.name)} was not written: the original is the answer."
    from modelcheck.report import make_report, save_report
    from modelcheck.report.pareto import pareto_svg

    plan, best = result.plan, result.best
    steps, made = best.contender.steps, best.made.model
    save(made, model)
    data = SplitSamples(plan.samples.verdict, plan.samples.calibration, 0, plan.samples.text)
    as_found = replace(asked, steps=steps, targets=best.verification.plan.targets)
    found = make_report(
        best.verification, steps=best.made, data=data, recipe=as_found, command=command,
        seconds=result.seconds,
    )  # fmt: skip
    save_report(found, report)
    setting, sample = Setting(best.contender.target), next(iter(plan.samples.verdict))
    how, version = asked.data.preprocessing, result.opencv.version
    write_texts({
        recipe: steps_toml(steps, seed=plan.seed, comment=f"Found by: {printable(command, 500)}"),
        runtime: runtime_of(setting, made, result.opencv, model.name),
        snippet: script(setting, made, sample.arrays, version, model.name, how),
        plot: pareto_svg(result),
    })  # fmt: skip
    return f"{', '.join(printable(path.name) for path in files.paths)} were written."
