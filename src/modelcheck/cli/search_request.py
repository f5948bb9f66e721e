"""From the options of `search` to its plan, and from its result to the files it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelcheck import gate
from modelcheck.cli.request import child_limits
from modelcheck.data import SplitSamples, split_in_three
from modelcheck.errors import UsageError, printable
from modelcheck.model import Model, save
from modelcheck.model.atomic import atomic_write, check_output, check_writable, output_lock
from modelcheck.recipe import Recipe, parse_duration
from modelcheck.recipe.writing import steps_toml
from modelcheck.searching import Searched, SearchPlan
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
    data, calibration = gate.open_sets(model, asked, emit=emit)
    synthetic = (calibration or data).synthetic and not asked.data.allow_synthetic
    lossy = not searching.exact and not synthetic
    return SearchPlan(
        model=model,
        samples=split_in_three(data, calibration if lossy else None, calibrate=lossy),
        settings=asked.targets[0],
        claim=Claim.LOSSY if lossy else Claim.EXACT,
        time_budget_s=seconds,
        seed=asked.seed,
        child_limits=child_limits(run),
        memory=Memory.of_user(),
    )


@dataclass(frozen=True)
class Outputs:
    """The model and the files beside it, all new or by `force`; or none."""

    model: Path | None
    force: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """The model, its recipe, report, runtime settings, script and plot."""
        if self.model is None:
            return ()
        stem = self.model.with_suffix("")
        beside = (".recipe.toml", ".onnx.modelcheck.json", ".runtime.toml", ".runtime.py", ".svg")
        return (self.model, *(stem.with_name(stem.name + suffix) for suffix in beside))

    def check_inputs(self, inputs: Iterable[Path]) -> None:
        """Nothing that is read may be written."""
        inputs = list(inputs)
        for path in self.paths:
            check_output(path, inputs, force=self.force)

    def write(self, result: Searched, asked: Recipe, command: str) -> str:
        """Write them where something is better; what became of them, in a sentence."""
        if self.model is None:
            return ""
        if result.best is None:
            return f"{printable(self.model.name)} was not written: the original is the answer."
        from modelcheck.report import make_report, save_report
        from modelcheck.report.pareto import pareto_svg

        plan, best = result.plan, result.best
        model, recipe, report, runtime, snippet, plot = self.paths
        save(best.made.model, model)
        data = SplitSamples(plan.samples.verdict, plan.samples.calibration, 0, plan.samples.text)
        as_found = replace(
            asked, steps=best.contender.steps, targets=best.verification.plan.targets
        )
        save_report(
            make_report(
                best.verification, steps=best.made, data=data, recipe=as_found, command=command,
                seconds=result.seconds,
            ),
            report,
        )  # fmt: skip
        setting = Setting(best.contender.target)
        texts = {
            recipe: steps_toml(
                best.contender.steps, seed=plan.seed, comment=f"Found by: {printable(command, 500)}"
            ),
            runtime: runtime_of(setting, best.made.model, result.opencv, model.name),
            snippet: script(
                setting, best.made.model, next(iter(plan.samples.verdict)).arrays,
                result.opencv.version, model.name, asked.data.preprocessing,
            ),
            plot: pareto_svg(result),
        }  # fmt: skip
        for path, text in texts.items():
            with atomic_write(path) as file:
                file.write(text.encode("utf-8", "backslashreplace"))
        return f"{', '.join(printable(path.name) for path in self.paths)} were written."


@contextmanager
def outputs_of(model: Path | None, force: bool) -> Iterator[Outputs]:
    """The outputs, held as this run's own; checked before the work and not after it."""
    if model is not None and model.suffix != ".onnx":
        raise UsageError(
            "the output is an ONNX model",
            where=printable(str(model)),
            remedy=f"Write -o {printable(model.stem)}.onnx.",
        )
    outputs = Outputs(model, force)
    with ExitStack() as stack:
        outputs.check_inputs(())
        for path in outputs.paths:
            check_writable(path)
            stack.enter_context(output_lock(path))
        yield outputs
