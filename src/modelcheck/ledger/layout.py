"""The layout of the ledger file: its tables, version by version, and rows to values and back.

A column is named after the field that it holds, so the tables follow the dataclasses of
`entry.py`. `checksum` covers every value of a run: SQLite notices a torn page, not a flipped bit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from modelcheck.judge import Outcome
from modelcheck.ledger.entry import OutputFigures, Run, Verdict

APPLICATION_ID = 0x6D636C64  # 'mcld': tells a ledger from other SQLite files

# One script a version; a ledger of version n is brought up to date by those after the n-th.
MIGRATIONS = (
    """
    CREATE TABLE runs (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      created TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL,
      judges_equivalence INTEGER NOT NULL,
      original TEXT NOT NULL, original_digest TEXT NOT NULL, original_bytes INTEGER NOT NULL,
      candidate_digest TEXT, candidate_bytes INTEGER,
      data TEXT NOT NULL, data_digest TEXT NOT NULL, data_samples INTEGER NOT NULL,
      recipe TEXT NOT NULL, options TEXT NOT NULL, baseline TEXT NOT NULL, seed TEXT NOT NULL,
      command TEXT NOT NULL, "commit" TEXT NOT NULL, modelcheck TEXT NOT NULL,
      machine TEXT NOT NULL, machine_class TEXT NOT NULL,
      seconds REAL NOT NULL, checksum INTEGER NOT NULL
    );
    CREATE TABLE verdicts (
      run INTEGER NOT NULL REFERENCES runs(id), position INTEGER NOT NULL,
      target TEXT NOT NULL, outcome TEXT NOT NULL, optional INTEGER NOT NULL,
      findings TEXT NOT NULL, limits TEXT NOT NULL, ran_on TEXT NOT NULL,
      opencv TEXT NOT NULL, opencv_build TEXT NOT NULL,
      speedup REAL, speedup_low REAL, speedup_high REAL, original_s REAL, latency_s REAL,
      PRIMARY KEY (run, position)
    ) WITHOUT ROWID;
    CREATE TABLE outputs (
      run INTEGER NOT NULL, verdict INTEGER NOT NULL, position INTEGER NOT NULL,
      name TEXT NOT NULL, sqnr_db REAL NOT NULL, max_error REAL NOT NULL,
      agreement REAL, agreement_low REAL, agreement_high REAL,
      PRIMARY KEY (run, verdict, position),
      FOREIGN KEY (run, verdict) REFERENCES verdicts(run, position)
    ) WITHOUT ROWID;
    CREATE INDEX runs_by_model ON runs (model, machine_class);
    CREATE INDEX runs_by_pair ON runs (original_digest, candidate_digest);
    """,
)

Row = Mapping[str, Any]


def run_row(run: Run) -> dict[str, Any]:
    """The columns of `runs`, without the id."""
    row = _columns(run, leave="verdicts")
    row["machine"] = json.dumps(dict(run.machine), sort_keys=True)
    return row | {"machine_class": run.machine_class, "checksum": checksum(run)}


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    return _columns(verdict, leave="outputs")


def output_row(output: OutputFigures) -> dict[str, Any]:
    return _columns(output)


def run_of(row: Row, verdicts: Iterable[Verdict]) -> Run:
    """The run of these rows. Raises ValueError or TypeError where they hold none."""
    values = _values(Run, row, leave="verdicts")
    values["outcome"] = Outcome(row["outcome"])
    values["judges_equivalence"] = bool(row["judges_equivalence"])
    values["machine"] = json.loads(row["machine"])
    run = Run(**values, verdicts=tuple(verdicts))
    if checksum(run) != row["checksum"]:
        raise ValueError("a run does not match its checksum")
    return run


def verdict_of(row: Row, outputs: Iterable[Row]) -> Verdict:
    values = _values(Verdict, row, leave="outputs")
    values["outcome"] = Outcome(row["outcome"])
    values["optional"] = bool(row["optional"])
    figures = (OutputFigures(**_values(OutputFigures, output)) for output in outputs)
    return Verdict(**values, outputs=tuple(figures))


def checksum(run: Run) -> int:
    """CRC-32 of everything that the run says."""
    return zlib.crc32(repr(tuple(_flat(run))).encode("utf-8", "backslashreplace"))


def _flat(value: Any) -> Iterator[Any]:
    for name in _names(type(value)):
        inner = getattr(value, name)
        if isinstance(inner, tuple):
            for part in inner:
                yield from _flat(part)
        else:
            yield _as_sqlite_gives_it(inner)


def _as_sqlite_gives_it(value: Any) -> Any:
    """Numbers alike whether they went through a column of reals or not."""
    if isinstance(value, (str, float)):
        return value
    if isinstance(value, int):
        return float(value)
    return sorted(value.items()) if isinstance(value, Mapping) else value


def _columns(value: Any, leave: str = "") -> dict[str, Any]:
    return {name: getattr(value, name) for name in _names(type(value)) if name != leave}


def _values(kind: type, row: Row, leave: str = "") -> dict[str, Any]:
    return {name: row[name] for name in _names(kind) if name != leave}


def _names(kind: Any) -> Iterable[str]:
    """The fields of a dataclass; `fields` itself costs as much as reading the file."""
    names: Iterable[str] = kind.__dataclass_fields__
    return names
