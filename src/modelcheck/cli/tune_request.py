"""From the options of `tune` to its plan, and from its result to the files it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelcheck import gate
from modelcheck.cli.outputs import Files, check_suffix, write_texts
from modelcheck.cli.request import child_limits
from modelcheck.data import Preprocessing
from modelcheck.errors import UsageError, did_you_mean, printable
from modelcheck.judge import Outcome
from modelcheck.model import Model
from modelcheck.recipe import Recipe, parse_duration
from modelcheck.tune import (
    MEASURES,
    SAMPLES,
    ServingLimits,
    TunePlan,
    Tuning,
    runtime_toml,
    snippet,
)
from modelcheck.verification import Event

if TYPE_CHECKING:
    from modelcheck.cli.options import RunOptions
    from modelcheck.cli.tune import TuneOptions


def tune_plan(
    model: Model,
    asked: Recipe,
    tuning: TuneOptions,
    run: RunOptions,
    *,
    emit: Callable[[Event], None],
) -> TunePlan:
    """Everything that is asked, checked."""
    goal = next((m for m in MEASURES if m == tuning.goal), None)
    if goal is None:
        raise UsageError(
            f"unknown goal '{printable(tuning.goal)}'",
            where="--goal",
            remedy=did_you_mean(tuning.goal, MEASURES) or f"Known: {', '.join(MEASURES)}.",
        )
    latency_ms = _positive("--max-latency", tuning.max_latency)
    limits = ServingLimits(
        None if latency_ms is None else latency_ms / 1e3,
        _positive("--min-throughput", tuning.min_throughput),
    )
    asked = replace(asked, data=replace(asked.data, count=asked.data.count or SAMPLES))
    inputs = gate.open_inputs(model, asked, emit=emit)
    return TunePlan(
        model=model,
        samples=inputs.data.judged,
        targets=asked.targets,
        limits=limits,
        goal=goal,
        time_budget_s=parse_duration(tuning.time_budget, key="--time-budget"),
        seed=asked.seed,
        child_limits=child_limits(run),
    )


def outputs_of(settings: Path | None) -> tuple[Path, ...]:
    """The settings, and beside them the script and the plot; nothing where nothing is asked for.

    Raises UsageError.
    """
    check_suffix(settings, ".toml", "the settings are TOML")
    if settings is None:
        return ()
    return (settings, *(settings.with_suffix(s) for s in (".py", ".svg")))


def write_outputs(files: Files, tuning: Tuning, model: str, how: Preprocessing | None) -> str:
    """Write them where there is something to recommend; what became of them, in a sentence."""
    if not files.paths:
        return ""
    names = ", ".join(printable(path.name) for path in files.paths)
    if tuning.outcome is not Outcome.PASS or tuning.plan.goal not in tuning.best:
        return f"{names} were not written."
    from modelcheck.report.tradeoff import tradeoff_svg

    texts = (runtime_toml(tuning, model), snippet(tuning, model, how), tradeoff_svg(tuning))
    write_texts(dict(zip(files.paths, texts, strict=True)))
    return f"{names} were written."


def _positive(option: str, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise UsageError(
            f"{value:g} is not a positive number", where=option, remedy="Write for example 20."
        )
    return value
