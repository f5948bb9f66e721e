"""From the options of `tune` to its plan, and from its result to the files it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelcheck import gate
from modelcheck.cli.request import child_limits
from modelcheck.data import Preprocessing
from modelcheck.errors import UsageError, did_you_mean, printable
from modelcheck.judge import Outcome
from modelcheck.model import Model
from modelcheck.model.atomic import atomic_write, check_output, check_writable, output_lock
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


@dataclass(frozen=True)
class Outputs:
    """The three files beside each other, all new or by `force`; or none."""

    settings: Path | None
    force: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        if self.settings is None:
            return ()
        return (self.settings, *(self.settings.with_suffix(s) for s in (".py", ".svg")))

    def check_inputs(self, inputs: Iterable[Path]) -> None:
        """Nothing that is read may be written."""
        inputs = list(inputs)
        for path in self.paths:
            check_output(path, inputs, force=self.force)

    def write(self, tuning: Tuning, model: str, how: Preprocessing | None) -> str:
        """Write them where there is something to recommend; what became of them, in a sentence."""
        if self.settings is None:
            return ""
        names = ", ".join(printable(path.name) for path in self.paths)
        if tuning.outcome is not Outcome.PASS or tuning.plan.goal not in tuning.best:
            return f"{names} were not written."
        from modelcheck.report.tradeoff import tradeoff_svg

        texts = (runtime_toml(tuning, model), snippet(tuning, model, how), tradeoff_svg(tuning))
        for path, text in zip(self.paths, texts, strict=True):
            with atomic_write(path) as file:
                file.write(text.encode("utf-8", "backslashreplace"))
        return f"{names} were written."


@contextmanager
def outputs_beside(settings: Path | None, force: bool) -> Iterator[Outputs]:
    """The outputs, held as this run's own; checked before the work and not after it."""
    if settings is not None and settings.suffix != ".toml":
        raise UsageError(
            "the settings are TOML",
            where=printable(str(settings)),
            remedy=f"Write -o {printable(settings.stem)}.toml.",
        )
    outputs = Outputs(settings, force)
    with ExitStack() as stack:
        outputs.check_inputs(())
        for path in outputs.paths:
            check_writable(path)
            stack.enter_context(output_lock(path))
        yield outputs


def _positive(option: str, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise UsageError(
            f"{value:g} is not a positive number", where=option, remedy="Write for example 20."
        )
    return value
