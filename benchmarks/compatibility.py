"""Which model forms each OpenCV runs rightly: writes docs/compatibility.md from measurements.

    python benchmarks/compatibility.py --opencv414 /path/to/an/interpreter/with/4.14
    python benchmarks/compatibility.py gemm yolox_nano      # some nets or models; prints only
    python benchmarks/compatibility.py --cuda /path/to/an/interpreter/with/CUDA --jobs 8

Every transform's forms on small nets, and the models of ../shared/models as they are, on OpenCV
4.14, both engines of 5.0, and OpenCL (PoCL's CPU device). With --cuda: the nets and models as they
are on a machine with a GPU, for docs/compatibility-cuda.md. An interrupted run is taken up where
it stopped, as long as neither the library nor these scripts have changed; --fresh starts anew.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from compatibility_nets import Subject, subjects
from compatibility_page import CPU_AND_OPENCL, ON_CUDA, Introduction, render
from compatibility_rows import Row, Store, Verdict, row_of
from modelcheck import gate, units
from modelcheck.errors import ModelcheckError
from modelcheck.judge import Limits
from modelcheck.judge.limits import limit_of
from modelcheck.model import Model
from modelcheck.process import ChildLimits
from modelcheck.recipe import CheckKind, DataSettings, Judging, Recipe, TargetSettings, parse_step
from modelcheck.targets import Target
from modelcheck.transforms import Claim
from modelcheck.transforms.catalogue import CATALOGUE
from zoo import ZooModel, zoo

ROOT = Path(__file__).resolve().parents[1]
ORIGINAL, AS_IT_IS = "original", "as it is"  # of a small net, and of a trained model
# The least SQNR (dB) against onnxruntime's answer from the same file; None: the noise of float32.
# Int8 sums are exact, so only roundings that fall the other way may differ.
INT8_DB, HALF_DB = 35.0, 40.0
FORMS: dict[str, float | None] = {
    "fold-batchnorm": None,
    "sparsify:pattern=random": None,
    "sparsify:pattern=2:4": None,
    "sparsify:pattern=block": None,
    "prune-weights:amount=0.5": None,
    "quantize:form=qdq": INT8_DB,
    "quantize:form=qdq,activation=uint8": INT8_DB,
    "quantize:form=qdq,spare=false": INT8_DB,
    "quantize:form=qoperator": INT8_DB,
    "quantize:form=qoperator,spare=false": INT8_DB,
    "quantize-weights": None,
    "fp16:scope=weights": None,
    "fp16:scope=model": HALF_DB,
}
OPENCV414, CLASSIC, NEW, OPENCL = COLUMNS = ("4.14", "5.0 classic", "5.0 new", "5.0 OpenCL")
CUDA, CUDA_FP16 = "CUDA", "CUDA fp16"
_COUNT, _JUDGED, _JUDGED_OF_TRAINED = 24, 16, 3
_LIMITS = ChildLimits(request_s=60.0)
# OpenCV uses OpenCL on GPUs only, unless it is told otherwise.
POCL = {"OPENCV_OPENCL_DEVICE": ":CPU:", "OPENCV_DNN_OPENCL_ALLOW_ALL_DEVICES": "1"}


def forms() -> dict[str, float | None]:
    """What is tried of every row of the catalogue; a row that FORMS lacks, with its defaults."""
    named = {form.partition(":")[0] for form in FORMS}
    return FORMS | {name: None for name in CATALOGUE if name not in named}


def targets(opencv414: str | None) -> dict[str, Target]:
    """The columns of the page that can be measured here."""
    found = {
        CLASSIC: Target.parse("cpu:classic:threads=1"),
        NEW: Target.parse("cpu:new:threads=1"),
        OPENCL: Target.parse("opencl:classic:threads=1"),
    }
    if opencv414 is not None:
        found[OPENCV414] = Target(threads=1, python=opencv414)
    return {column: found[column] for column in COLUMNS if column in found}


def cuda_targets(python: str) -> dict[str, Target]:
    """The columns of the page that a machine with a GPU measures."""
    return {
        CUDA: Target.parse(f"cuda:python={python}"),
        CUDA_FP16: Target.parse(f"cuda-fp16:python={python}"),
    }


@dataclass(frozen=True)
class Page:
    """A page, what it is made of, and where an interrupted run is kept."""

    stem: str
    columns: dict[str, Target]
    introduction: Introduction
    as_they_are: bool  # no transforms

    @property
    def path(self) -> Path:
        return ROOT / "docs" / f"{self.stem}.md"

    @property
    def store(self) -> Path:
        return ROOT / "build" / f"{self.stem}.json"

    def tasks(self) -> list[Task]:
        return [t for t in tasks() if not self.as_they_are or t.form in (ORIGINAL, AS_IT_IS)]

    def text(self, store: Store) -> str:
        """The page of what is measured, in the order of the tasks, however it was come by."""
        order = {(task.model, task.form): i for i, task in enumerate(self.tasks())}
        rows = sorted(store.rows, key=lambda row: order[row.model, row.form])
        forms = [row for row in rows if row.form != AS_IT_IS]
        trained = [row for row in rows if row.form == AS_IT_IS]
        columns = tuple(self.columns) if self.as_they_are else COLUMNS
        return render(forms, trained, columns, store.seconds, self.introduction)


@dataclass(frozen=True)
class Task:
    """One file to try, with a folder for data that are made, on the given columns."""

    model: str
    form: str
    run: Callable[[Path, dict[str, Target]], list[Row]]


def tasks() -> Iterator[Task]:
    """Everything on the page: trained models as they are, and every form of the small nets."""
    for model in zoo():
        yield Task(model.name, AS_IT_IS, partial(_run_trained, model))
    for subject in subjects():
        for form in (ORIGINAL, *forms()):
            yield Task(subject.name, form, partial(_run_form, subject, form))


def originals(*, engine: str) -> list[Task]:
    """The fixtures and the trained models that this engine of 5.0 runs, as they are."""
    runs = {subject.name for subject in subjects() if subject.trained}
    runs |= {model.name for model in zoo() if model.expected(engine) == "ok"}
    return [t for t in tasks() if t.model in runs and t.form in (ORIGINAL, AS_IT_IS)]


def _run_form(subject: Subject, form: str, folder: Path, columns: dict[str, Target]) -> list[Row]:
    data = subject.data(folder, _COUNT)
    alone = replace(data, count=_JUDGED)
    original = subject.load()
    if form == ORIGINAL:
        return _run(subject.name, form, original, alone, columns)
    recipe = Recipe(steps=(parse_step(form),), data=data)
    try:
        inputs = gate.open_inputs(original, recipe)
        made = gate.make_candidate(original, inputs, recipe, limits=_LIMITS).model
    except ModelcheckError as error:
        return [Row(subject.name, form, c, Verdict.NOT_MADE, str(error)) for c in columns]
    if made.digest == original.digest:
        return [Row(subject.name, form, c, Verdict.UNCHANGED) for c in columns]
    return _run(subject.name, form, made, alone, columns, forms()[form])


def _run_trained(model: ZooModel, folder: Path, columns: dict[str, Target]) -> list[Row]:
    data = model.data(folder, _COUNT)
    data = replace(data, count=min(_JUDGED_OF_TRAINED, data.count or _JUDGED_OF_TRAINED))
    return _run(model.name, AS_IT_IS, model.load(), data, columns)


def _run(
    name: str,
    form: str,
    model: Model,
    data: DataSettings,
    columns: dict[str, Target],
    least_db: float | None = None,
) -> list[Row]:
    """Verify a model by itself: does each target give what onnxruntime gives from it?"""
    limits = Limits(
        equivalence=None if least_db is None else limit_of(min_sqnr=least_db),
        max_fallback=1.0,  # what ran elsewhere is told, and judged all the same
    )
    recipe = Recipe(
        data=data,
        targets=tuple(TargetSettings(target, limits) for target in columns.values()),
        judging=Judging(checks=frozenset({CheckKind.EQUIVALENCE})),
    )
    try:
        inputs = gate.open_inputs(model, recipe)
        result = gate.judge(inputs, None, Claim.EXACT, recipe, limits=_LIMITS)
    except ModelcheckError as error:
        return [Row(name, form, c, Verdict.NO_REFERENCE, str(error)) for c in columns]
    return [
        row_of(name, form, column, found)
        for column, found in zip(columns, result.targets, strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="names of nets or models; default: all")
    parser.add_argument("--opencv414", default=_default_opencv414(), help="its interpreter")
    parser.add_argument("--cuda", help="an interpreter with CUDA: measures that, and nothing else")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time (default: 1)")
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted run")
    given = parser.parse_args()
    os.environ.update(POCL, MODELCHECK_CACHE="")  # everything is run
    if given.cuda:
        page = Page("compatibility-cuda", cuda_targets(given.cuda), ON_CUDA, as_they_are=True)
    else:
        page = Page("compatibility", targets(given.opencv414), CPU_AND_OPENCL, as_they_are=False)
        if given.opencv414 is None:
            print("4.14 is not measured: name its interpreter with --opencv414", file=sys.stderr)
    key = str(page.columns)
    store = Store(None if given.names else page.store, fresh=given.fresh, key=key)
    todo = [
        task
        for task in page.tasks()
        if not store.has(task.model, task.form) and (not given.names or task.model in given.names)
    ]
    for task, rows, seconds in _measured(page, todo, given.jobs):
        store.add(rows, seconds)
        if not given.names:  # an interrupted run leaves what it has
            page.path.write_text(page.text(store), encoding="utf-8")
        words = ", ".join(f"{row.column} {row.told}" for row in rows)
        taken = units.duration(seconds)
        print(f"{task.model} {task.form}: {words} ({taken})", file=sys.stderr, flush=True)
    print(page.text(store) if given.names else f"wrote docs/{page.path.name}")
    return 0


def _measured(
    page: Page, todo: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, list[Row], float]]:
    """Each task with its rows and the seconds that it took; as they come, with several jobs."""
    if jobs == 1:
        yield from ((task, *_timed(task, page.columns)) for task in todo)
        return
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(_found, page, task.model, task.form): task for task in todo}
        for done in as_completed(running):
            yield running[done], *done.result()


def _found(page: Page, model: str, form: str) -> tuple[list[Row], float]:
    """For another process: a task holds functions, which cannot be sent there."""
    (task,) = [task for task in page.tasks() if (task.model, task.form) == (model, form)]
    return _timed(task, page.columns)


def _timed(task: Task, columns: dict[str, Target]) -> tuple[list[Row], float]:
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = task.run(Path(folder), columns)
    return rows, time.monotonic() - start_s


def _default_opencv414() -> str | None:
    """The environment variable, or the environment that .ci/run makes."""
    made = ROOT / ".venv-opencv414" / "bin" / "python"
    return os.environ.get("MODELCHECK_OPENCV414") or (str(made) if made.exists() else None)


if __name__ == "__main__":
    raise SystemExit(main())
