"""A saved measurement to compare with: read, checked, and compared only with what is alike.

Another session is weaker evidence than processes that took turns: the machine's clock, its
neighbours and its temperature may have changed in between, for all processes of a session alike.
No interval over the processes covers that (docs/bench.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from modelcheck.bench.machine import differences, fingerprint
from modelcheck.bench.plan import Bench, BenchPlan, Comparison, Row
from modelcheck.errors import InvalidInput, UsageError, printable
from modelcheck.judge.quantiles import unpaired_speedup

SCHEMA_NAME, SCHEMA_VERSION = "modelcheck.bench", 1
_MOST_BYTES = 64 << 20
_SHOWN = 8
_REMEDY = "Make one with: modelcheck bench MODEL --save bench.json"

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Model(BaseModel):
    label: str
    digest: str


class _OpenCV(BaseModel):
    version: str
    build_digest: str


class _Placement(BaseModel):
    actual: str


class _Process(BaseModel):
    p50_s: Seconds


class SavedRow(BaseModel):
    """Of a saved row only what a comparison needs."""

    model: _Model
    inputs: dict[str, list[int]]
    target: str
    opencv: _OpenCV | None
    placement: _Placement | None
    processes: list[_Process]


class _Document(BaseModel):
    machine: dict[str, str]
    rows: list[SavedRow]


@dataclass(frozen=True)
class Baseline:
    """A saved measurement, by the file's name."""

    name: str
    machine: Mapping[str, str]
    rows: Sequence[SavedRow]

    def row_like(self, row: Row) -> SavedRow | None:
        """The measured row of the same model on the same target."""
        return self._row_of(row.subject.model.digest, row.target.name)

    def check_alike(self, plan: BenchPlan) -> None:
        """Raise UsageError where none of the plan's models and targets is in it."""
        pairs = ((s.model.digest, t.name) for s in plan.subjects for t in plan.targets)
        if any(self._row_of(*pair) for pair in pairs):
            return
        rows = {
            f"{printable(r.model.label)} on {printable(r.target)}" for r in self.rows if r.processes
        }
        raise UsageError(
            "holds none of these models on these targets",
            where=self.name,
            remedy=f"It holds {', '.join(sorted(rows)[:_SHOWN]) or 'nothing that was measured'}; "
            "a model is known by its content, not by its name.",
        )

    def check_conditions(self, rows: Sequence[Row]) -> None:
        """Raise UsageError where machine, OpenCV, placement or inputs differ from these rows'."""
        found = find_differences(self, rows)
        if not found:
            return
        listed = "".join(f"\n  - {line}" for line in found[:_SHOWN])
        raise UsageError(
            f"was not measured under the same conditions:{listed}",
            where=self.name,
            remedy="Measure the baseline here with --save, or compare nevertheless with --force.",
        )

    def _row_of(self, digest: str, target: str) -> SavedRow | None:
        for row in self.rows:
            if row.processes and (row.model.digest, row.target) == (digest, target):
                return row
        return None


def read_baseline(path: Path) -> Baseline:
    """Raises UsageError where there is no such file, InvalidInput where it is damaged or newer."""
    where = printable(str(path))
    if not path.exists():
        raise UsageError("there is no such file", where=where, remedy=_REMEDY)
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise InvalidInput("is no saved measurement", where=where, remedy=_REMEDY)
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", where=where) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"is not JSON: {error}", where=where, remedy=_REMEDY) from None
    schema = document.get("schema") if isinstance(document, dict) else None
    version = re.fullmatch(rf"{re.escape(SCHEMA_NAME)}/([0-9]{{1,9}})", str(schema))
    if version is None:
        raise InvalidInput("is no saved measurement", where=where, remedy=_REMEDY)
    if int(version[1]) > SCHEMA_VERSION:
        raise InvalidInput(
            f"was written by a newer modelcheck ({printable(str(schema))})",
            where=where,
            remedy="Use that version here too, or measure the baseline anew.",
        )
    try:
        found = _Document.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInput(
            f"is damaged: {printable(place)}: {printable(first['msg'])}",
            where=where,
            remedy=_REMEDY,
        ) from None
    return Baseline(where, found.machine, found.rows)


def find_differences(baseline: Baseline, rows: Sequence[Row]) -> list[str]:
    """The machine, and for each row that is in both: OpenCV, where it ran, the inputs' shapes."""
    return differences(baseline.machine, fingerprint()) + [
        line for row in rows for line in _row_differences(baseline, row)
    ]


def compare(baseline: Baseline, result: Bench) -> tuple[Comparison, ...]:
    """Each row with the saved one of the same model and target, where there is one."""
    found = []
    for i, row in enumerate(result.rows):
        saved = baseline.row_like(row)
        if row.measured and saved is not None:
            before = [process.p50_s for process in saved.processes]
            now = [process.p50_s for process in row.processes]
            found.append(Comparison(i, None, unpaired_speedup(before, now)))
    return tuple(found)


def _row_differences(baseline: Baseline, row: Row) -> Iterator[str]:
    saved = baseline.row_like(row)
    if saved is None or row.opencv is None or row.placement is None or saved.opencv is None:
        return
    if saved.opencv.build_digest != row.opencv.build_digest:
        before, now = (
            f"{o.version} (build {printable(o.build_digest[:8])})"
            for o in (saved.opencv, row.opencv)
        )
        yield f"{row.target.name}: OpenCV {before} there, {now} here"
    if saved.placement is not None and saved.placement.actual != row.placement.actual:
        ran = printable(saved.placement.actual)
        yield f"{row.target.name}: ran on {ran} there, on {row.placement.actual} here"
    before, now = _shapes(saved.inputs), _shapes(_inputs(row))
    if before != now:
        yield f"{row.subject.label}: inputs {before} there, {now} here"


def _inputs(row: Row) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in row.subject.samples[0].items()}


def _shapes(inputs: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(
        f"{printable(name)}={'x'.join(map(str, shape))}" for name, shape in sorted(inputs.items())
    )
