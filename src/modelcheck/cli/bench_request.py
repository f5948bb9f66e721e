"""From the options of `bench` to its plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from modelcheck.bench import Baseline, Bench, BenchPlan, Row, Subject, check_save_path
from modelcheck.cli.bench import BenchOptions
from modelcheck.cli.options import ImageOptions, ProcessOptions, RunOptions, SampleOptions
from modelcheck.cli.request import child_limits, parse_shapes, preprocessing
from modelcheck.data import open_samples
from modelcheck.judge import Outcome
from modelcheck.judge import exit_code as code_of
from modelcheck.model import Model, load
from modelcheck.model.atomic import output_lock
from modelcheck.recipe import parse_duration
from modelcheck.targets import Target

_MOST_SAMPLES = 8  # what a forward costs hardly depends on the values
_DEFAULT_SEED = 0


def bench_plan(
    paths: Sequence[Path],
    measuring: BenchOptions,
    samples: SampleOptions,
    images: ImageOptions,
    run: ProcessOptions,
) -> BenchPlan:
    """Everything that is asked, checked."""
    budget_s = parse_duration(measuring.time_budget, key="--time-budget")
    targets = tuple(map(Target.parse, measuring.target or ["cpu"]))
    seed = _DEFAULT_SEED if run.seed is None else run.seed
    labels = _labels(paths)
    subjects = tuple(
        _subject(label, load(path), samples, images, seed)
        for label, path in zip(labels, paths, strict=True)
    )
    return BenchPlan(subjects, targets, budget_s, seed, child_limits(RunOptions(**vars(run))))


@contextmanager
def output_of(plan: BenchPlan, save: Path | None) -> Iterator[None]:
    """Hold the output, if there is one, checked before the work."""
    if save is None:
        yield
        return
    sources = [s.model.source for s in plan.subjects]
    inputs = [p for s in sources if s is not None for p in (s.path, *(d.path for d in s.data))]
    check_save_path(save, inputs)
    with output_lock(save):
        yield


def check_comparable(before: Baseline | None, rows: Sequence[Row], *, force: bool) -> None:
    """Raise UsageError where the baseline was measured under other conditions, and no force."""
    if before is not None and not force:
        before.check_conditions(rows)


def exit_code(result: Bench) -> int:
    """4 where a required row could not be measured, or none could."""
    missing = any(not row.measured and not row.target.optional for row in result.rows)
    nothing = not any(row.measured for row in result.rows)
    return code_of(Outcome.UNSUPPORTED if missing or nothing else Outcome.PASS)


def _subject(
    label: str, model: Model, options: SampleOptions, images: ImageOptions, seed: int
) -> Subject:
    samples = open_samples(
        options.data,
        model.signature,
        preprocessing=preprocessing(None, images),
        shapes=parse_shapes(options.shape),
        count=options.count,
        seed=seed,
    )
    arrays = [sample.arrays for sample in islice(samples, _MOST_SAMPLES)]
    shape = {name: array.shape for name, array in arrays[0].items()}
    # A net is warmed up for one shape, so only samples of that shape are timed.
    alike = [a for a in arrays if {name: x.shape for name, x in a.items()} == shape]
    return Subject(label, model, alike, samples.origin, samples.synthetic)


def _labels(paths: Sequence[Path]) -> list[str]:
    """File names where they differ, otherwise paths as given."""
    named = Counter(path.name for path in paths)
    return [path.name if named[path.name] == 1 else str(path) for path in paths]
