"""Which model forms each OpenCV runs rightly: writes docs/compatibility.md from measurements.

    python benchmarks/compatibility.py --opencv414 /path/to/an/interpreter/with/4.14
    python benchmarks/compatibility.py gemm yolox_nano      # some nets or models; prints only

Every transform's forms on small nets, and the models of ../shared/models as they are, on OpenCV
4.14, both engines of 5.0, and OpenCL (PoCL's CPU device). An interrupted run is taken up where
it stopped, as long as neither the library nor these scripts have changed; --fresh starts anew.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from compatibility_nets import Subject, subjects
from compatibility_page import render
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
PAGE = ROOT / "docs" / "compatibility.md"
STORE = ROOT / "build" / "compatibility.json"
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
    "quantize:scheme=qdq": INT8_DB,
    "quantize:scheme=qdq,activation=uint8": INT8_DB,
    "quantize:scheme=qdq,spare=false": INT8_DB,
    "quantize:scheme=qoperator": INT8_DB,
    "quantize:scheme=qoperator,spare=false": INT8_DB,
    "quantize-weights": None,
    "fp16:scope=weights": None,
    "fp16:scope=model": HALF_DB,
}
OPENCV414, CLASSIC, NEW, OPENCL = COLUMNS = ("4.14", "5.0 classic", "5.0 new", "5.0 OpenCL")
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
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted run")
    given = parser.parse_args()
    os.environ.update(POCL, MODELCHECK_CACHE="")  # everything is run
    columns = targets(given.opencv414)
    if given.opencv414 is None:
        print("4.14 is not measured: name its interpreter with --opencv414", file=sys.stderr)
    store = Store(None if given.names else STORE, fresh=given.fresh, key=str(columns))
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks():
            if store.has(task.model, task.form) or (given.names and task.model not in given.names):
                continue
            start_s = time.monotonic()
            rows = task.run(Path(folder), columns)
            seconds = time.monotonic() - start_s
            store.add(rows, seconds)
            if not given.names:  # an interrupted run leaves what it has
                PAGE.write_text(_page(store), encoding="utf-8")
            words = ", ".join(f"{row.column} {row.told}" for row in rows)
            taken = units.duration(seconds)
            print(f"{task.model} {task.form}: {words} ({taken})", file=sys.stderr, flush=True)
    print(_page(store) if given.names else f"wrote docs/{PAGE.name}")
    return 0


def _page(store: Store) -> str:
    forms = [row for row in store.rows if row.form != AS_IT_IS]
    trained = [row for row in store.rows if row.form == AS_IT_IS]
    return render(forms, trained, COLUMNS, store.seconds)


def _default_opencv414() -> str | None:
    """The environment variable, or the environment that .ci/run makes."""
    made = ROOT / ".venv-opencv414" / "bin" / "python"
    return os.environ.get("MODELCHECK_OPENCV414") or (str(made) if made.exists() else None)


if __name__ == "__main__":
    raise SystemExit(main())
