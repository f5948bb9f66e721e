"""From the options of `diagnose` to its plan, and from its result to the files it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from modelcheck import gate
from modelcheck.cli.diagnose import DiagnoseOptions
from modelcheck.cli.options import DataOptions, ImageOptions, LimitOptions, RunOptions
from modelcheck.cli.request import child_limits, overridden
from modelcheck.diagnose import SAMPLES, Diagnosis, DiagnosisPlan, check_folder, write_repro
from modelcheck.errors import UsageError, printable
from modelcheck.model import Model
from modelcheck.model.atomic import atomic_write, check_output, check_writable, output_lock
from modelcheck.recipe import Recipe, load_recipe, parse_step
from modelcheck.verification import Event


def diagnosis_plan(
    paths: tuple[Path, Path | None],
    diagnosis: DiagnoseOptions,
    data: DataOptions,
    images: ImageOptions,
    run: RunOptions,
    *,
    emit: Callable[[Event], None],
) -> tuple[Recipe, DiagnosisPlan]:
    """Everything that is asked, checked; the recipe's steps are applied."""
    recipe = Recipe() if diagnosis.recipe is None else load_recipe(diagnosis.recipe)
    if diagnosis.transform:
        recipe = replace(recipe, steps=tuple(map(parse_step, diagnosis.transform)))
    asked = overridden(recipe, data, images, LimitOptions(target=diagnosis.target), run)
    if len(asked.targets) != 1:
        raise UsageError(
            f"{len(asked.targets)} targets are named, and a diagnosis looks at one",
            where="--target", remedy="Name the one where it goes wrong.",
        )  # fmt: skip
    if not asked.steps and asked.data.count is None:
        asked = replace(asked, data=replace(asked.data, count=SAMPLES))
    original = gate.load_model(paths[0])
    candidate = None if paths[1] is None else gate.load_model(paths[1], candidate=True)
    inputs = gate.open_inputs(original, asked, emit=emit)
    bounds = child_limits(run)
    steps: tuple[tuple[str, Model], ...] = ()
    notes: tuple[str, ...] = ()
    if asked.steps:
        made = gate.make_candidate(original, inputs, asked, limits=bounds, emit=emit)
        steps = tuple((step.name, step.after) for step in made.steps)
        if candidate is None:
            candidate = replace(made.model, name="the recipe's result")
        elif candidate != made.model:
            notes = ("the recipe's steps make another model than CANDIDATE",)
    judged = inputs.data.judged
    count = min(judged.count, data.count or SAMPLES)
    return asked, DiagnosisPlan(
        original=original,
        candidate=candidate,
        samples=judged.select(range(count)),
        target=asked.targets[0].target,
        steps=steps,
        reduce=diagnosis.reduce,
        notes=notes,
        seed=asked.seed,
        threads=os.cpu_count() or 1,
        child_limits=bounds,
    )


@dataclass(frozen=True)
class Outputs:
    """What is to be written: a plot, a reproduction, both or nothing."""

    plot: Path | None
    folder: Path | None

    def write(self, found: Diagnosis) -> str:
        """Write what was asked for; what became of it, in sentences."""
        said = []
        if self.plot is not None:
            from modelcheck.report.layers_plot import layers_svg

            with atomic_write(self.plot) as file:
                file.write(layers_svg(found).encode("utf-8", "backslashreplace"))
            said.append(f"{printable(self.plot.name)} was written.")
        if self.folder is not None:
            name = printable(self.folder.name)
            if found.reproduction is None:
                said.append(f"{name} was not written: there is nothing that shows it by itself.")
            else:
                write_repro(found, self.folder)
                said.append(f"{name} was written: python {name}/repro.py shows it.")
        return " ".join(said)


@contextmanager
def outputs_of(diagnosis: DiagnoseOptions, inputs: Sequence[Path]) -> Iterator[Outputs]:
    """The outputs, held as this run's own; checked before the work."""
    if diagnosis.reduce != (diagnosis.output is not None):
        raise UsageError(
            "--reduce and -o go together", remedy="Write --reduce -o FOLDER, or neither."
        )
    plot, folder = diagnosis.plot, diagnosis.output
    with ExitStack() as stack:
        if plot is not None:
            if plot.suffix.lower() != ".svg":
                raise UsageError(
                    "a plot is an .svg file", where=printable(str(plot)),
                    remedy=f"Write --plot {printable(plot.stem)}.svg.",
                )  # fmt: skip
            check_output(plot, inputs, force=diagnosis.force)
        if folder is not None:
            check_folder(folder, inputs, force=diagnosis.force)
        for path in (plot, folder):
            if path is not None:
                check_writable(path)
                stack.enter_context(output_lock(path))
        yield Outputs(plot, folder)
