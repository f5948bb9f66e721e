"""From the options of `search` to its plan, and from its result to the files it leaves."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelcheck import gate
from modelcheck.cli.outputs import check_suffix, write_texts
from modelcheck.cli.request import child_limits
from modelcheck.data import SplitSamples, split_in_three
from modelcheck.errors import UsageError, did_you_mean, printable
from modelcheck.model import Model, save
from modelcheck.recipe import Recipe, parse_duration
from modelcheck.recipe.writing import steps_toml
from modelcheck.searching import Goal, Searched, SearchPlan
from modelcheck.targets import Engine, Target
from modelcheck.transforms import Claim
from modelcheck.tune import Setting, runtime_of, script
from modelcheck.verification import Event
from modelcheck.verification.memory import Memory

if TYPE_CHECKING:
    from modelcheck.cli.options import RunOptions
    from modelcheck.cli.search import SearchingOptions

_FEWEST_SECONDS = 20.0


def search_plans(
    model: Model,
    asked: Recipe,
    searching: SearchingOptions,
    run: RunOptions,
    *,
    emit: Callable[[Event], None],
) -> tuple[SearchPlan, ...]:
    """Everything that is asked, checked: one plan a target, which share the time."""
    seconds = parse_duration(searching.max_time, key="--max-time") / len(asked.targets)
    if seconds < _FEWEST_SECONDS:
        each = " for each target" if len(asked.targets) > 1 else ""
        raise UsageError(
            f"{searching.max_time} are not enough to find and prove anything{each}",
            where="--max-time",
            remedy="Give it a few minutes.",
        )
    goal = _goal(asked, searching)
    data, calibration = gate.open_sets(model, asked, emit=emit)
    synthetic = (calibration or data).synthetic and not asked.data.allow_synthetic
    lossy = not searching.exact and not synthetic
    samples = split_in_three(
        data, calibration if lossy else None, calibrate=lossy,
        allow_synthetic=asked.data.allow_synthetic,
    )  # fmt: skip
    return tuple(
        SearchPlan(
            model=model,
            samples=samples,
            settings=settings,
            claim=Claim.LOSSY if lossy else Claim.EXACT,
            goal=goal,
            time_budget_s=seconds,
            seed=asked.seed,
            workers=searching.workers,
            child_limits=child_limits(run),
            memory=Memory.of_user(),
        )
        for settings in asked.targets
    )


def _goal(asked: Recipe, searching: SearchingOptions) -> Goal:
    goals = [goal.value for goal in Goal]
    if searching.goal not in goals:
        raise UsageError(
            f"'{printable(searching.goal)}' is no goal",
            where="--goal",
            remedy=did_you_mean(searching.goal, goals) or f"There are: {', '.join(goals)}.",
        )
    goal = Goal(searching.goal)
    bounded = all(t.limits.budgets for t in asked.targets)
    if goal is Goal.BEST and not bounded:
        raise UsageError(
            "the best is the nearest to the original within a budget of latency, and there is none",
            where="--goal",
            remedy="Give --max-p50, for example 8ms; or look for the fastest.",
        )
    return goal


_BESIDE = (".recipe.toml", ".onnx.modelcheck.json", ".runtime.toml", ".runtime.py", ".svg")


def outputs_of(model: Path | None, targets: Sequence[Target]) -> list[tuple[Path, ...]]:
    """For each target the model, and beside it its recipe, report, runtime settings, script, plot.

    With several targets their names are in those of the files. Nothing where nothing is asked for.
    Raises UsageError.
    """
    check_suffix(model, ".onnx", "the output is an ONNX model")
    if model is None:
        return [() for _ in targets]
    found = []
    for name in _file_names(targets):
        stem = model.with_suffix("")
        if len(targets) > 1:
            stem = stem.with_name(f"{stem.name}.{name}")
        beside = (stem.with_name(stem.name + suffix) for suffix in _BESIDE)
        found.append((stem.with_name(stem.name + ".onnx"), *beside))
    return found


def _file_names(targets: Sequence[Target]) -> list[str]:
    """'cpu-new-threads1': words for file names, no two alike."""
    names: list[str] = []
    for target in targets:
        words = [target.device.value]
        words += [] if target.engine is Engine.AUTO else [target.engine.value]
        words += [] if target.threads is None else [f"threads{target.threads}"]
        if target.python is not None:  # the folder of its environment
            words.append(re.sub(r"\W+", "", Path(target.python).parent.parent.name))
        name = "-".join(filter(None, words))
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def write_outputs(paths: tuple[Path, ...], result: Searched, asked: Recipe, command: str) -> str:
    """Write them where something is better; what became of them, in a sentence."""
    if not paths:
        return ""
    model, recipe, report, runtime, snippet, plot = paths
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
    return f"{', '.join(printable(path.name) for path in paths)} were written."
