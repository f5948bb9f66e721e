"""The ledger file: an SQLite database that several processes read and extend at once.

A rollback journal and not a write-ahead log: the latter wants memory shared between processes,
which network file systems lack, and a run writes one small transaction. A process killed in the
middle of it leaves the journal with which the next one to open the file undoes it.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelcheck.errors import InvalidInput, ModelcheckError, OutputNotWritten, UsageError, printable
from modelcheck.judge import Outcome
from modelcheck.ledger import layout, locking
from modelcheck.ledger.entry import Run
from modelcheck.ledger.place import LEDGER_NAME

_PATIENCE_S = 10.0
_CHECKED_BYTES = 8 << 20  # beyond, checking all pages costs a tenth of a second and more
_BESIDE = ("-journal", "-wal", "-shm")  # what SQLite may keep beside its file
_MAGIC = b"SQLite format 3\0"
_RELEASES = "runs.outcome = 'PASS' AND runs.judges_equivalence"


class NewerLedger(UsageError):
    """A newer modelcheck wrote it: this one neither reads nor changes it."""


class DamagedLedger(InvalidInput):
    """It cannot be trusted any more. It is kept, aside, for whoever wants to recover it."""


class LedgerFile:
    """A ledger by its path; the file is open only while a method runs.

    Every method raises NewerLedger or DamagedLedger, InvalidInput for a file that is no ledger,
    and OutputNotWritten where the system or another process does not let it work.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        return os.path.lexists(self.path)

    def check(self) -> None:
        """Raise what is wrong with it; a ledger that is not there is a good one."""
        with self._reading():
            pass

    def append(self, run: Run) -> None:
        """Add a run, whole or not at all."""
        with self._open(create=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            number = _insert(connection, "runs", layout.run_row(run))
            for i, verdict in enumerate(run.verdicts):
                key = {"run": number, "position": i}
                _insert(connection, "verdicts", key | layout.verdict_row(verdict))
                for k, output in enumerate(verdict.outputs):
                    key = {"run": number, "verdict": i, "position": k}
                    _insert(connection, "outputs", key | layout.output_row(output))
            connection.execute("COMMIT")

    def runs(self) -> list[Run]:
        """Every run, newest first."""
        with self._reading() as connection:
            return _runs(connection, "1")

    def last_release(self, model: str, target: str, machine_class: str) -> Run | None:
        """The last run that released a model of this name, with a PASS on this target."""
        passed = "SELECT run FROM verdicts WHERE target = ? AND outcome = 'PASS'"
        where = f"{_RELEASES} AND model = ? AND machine_class = ? AND id IN ({passed})"
        with self._reading() as connection:
            found = _runs(connection, where, (model, machine_class, target), most=1)
        return found[0] if found else None

    def released_models(self) -> list[tuple[str, str]]:
        """(model, machine class) of all releases."""
        with self._reading() as connection:
            rows = _rows(
                connection, f"SELECT DISTINCT model, machine_class FROM runs WHERE {_RELEASES}"
            )
            return [(row["model"], row["machine_class"]) for row in rows]

    def earlier(self, original: str, candidate: str | None) -> dict[str, Counter[Outcome]]:
        """For each target, how often this pair of digests was judged there, by outcome."""
        query = (
            "SELECT target, verdicts.outcome, count(*) AS times FROM verdicts "
            "JOIN runs ON runs.id = verdicts.run "
            "WHERE original_digest = ? AND candidate_digest IS ? GROUP BY target, verdicts.outcome"
        )
        found: dict[str, Counter[Outcome]] = {}
        with self._reading() as connection:
            for row in _rows(connection, query, (original, candidate)):
                counts = found.setdefault(row["target"], Counter())
                counts[Outcome(row["outcome"])] += row["times"]
        return found

    def latencies(self, original: str, machine_class: str) -> dict[str, list[float]]:
        """For each target, the median latencies of this original in all runs on such machines."""
        query = (
            "SELECT target, original_s FROM verdicts JOIN runs ON runs.id = verdicts.run "
            "WHERE original_digest = ? AND machine_class = ? AND original_s IS NOT NULL"
        )
        found: dict[str, list[float]] = {}
        with self._reading() as connection:
            for row in _rows(connection, query, (original, machine_class)):
                found.setdefault(row["target"], []).append(row["original_s"])
        return found

    def set_aside(self) -> Path | None:
        """Give a damaged ledger another name; None where another process was quicker.

        Nothing is deleted: the journal goes first and with it, or the next ledger would inherit it.
        """
        try:
            with locking.alone(self._folder):
                try:
                    self._inspect()
                    return None
                except DamagedLedger:
                    return self._rename()
        except OSError as error:
            what = "another process has it open" if isinstance(error, BlockingIOError) else error
            raise self._refused(f"is damaged, and cannot be kept aside: {what}") from None

    def _rename(self) -> Path:
        path = self.path.resolve()
        when = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        stem = f"{path.name}.damaged-{when}-{os.getpid()}"
        names = (f"{stem}-{n}" if n else stem for n in itertools.count())
        aside = next(p for p in map(path.with_name, names) if not os.path.lexists(p))
        for suffix in (*_BESIDE, ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")
        return aside

    def _inspect(self) -> None:
        """Like `check`, without the lock that the caller holds; reads every run."""
        if self.exists:
            with self._connection(create=False) as connection:
                _runs(connection, "1")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for queries; to an empty ledger where there is no file."""
        if self.exists:
            with self._open(create=False) as connection:
                yield connection
            return
        with contextlib.closing(_empty()) as connection:
            yield connection

    @contextlib.contextmanager
    def _open(self, *, create: bool) -> Iterator[sqlite3.Connection]:
        try:
            with locking.shared(self._folder), self._connection(create=create) as connection:
                yield connection
        except OSError as error:
            raise self._refused(f"cannot be opened: {error.strerror or error}") from None

    @contextlib.contextmanager
    def _connection(self, *, create: bool) -> Iterator[sqlite3.Connection]:
        """A connection to a ledger of the present version; what SQLite says becomes our errors."""
        self._refuse_other_kinds()
        name = f"file:{quote(os.fsencode(self.path))}?mode={'rwc' if create else 'rw'}"
        try:
            with contextlib.closing(_connect(name)) as connection:
                self._prepare(connection)
                yield connection
        except sqlite3.Error as error:
            raise self._explained(error) from None
        except (ValueError, TypeError, KeyError) as error:  # rows that are no run
            raise self._damaged(str(error)) from None

    def _refuse_other_kinds(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise InvalidInput("is no plain file, so no ledger", where=self._where)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """See that it is a whole ledger of ours, and bring it up to date."""
        # A ledger may come with a repository that others wrote: nothing in it shall run.
        connection.execute("PRAGMA trusted_schema = OFF")
        version = self._version(connection)
        if os.path.getsize(self.path) <= _CHECKED_BYTES:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                raise self._damaged(said)
        if version < len(layout.MIGRATIONS):
            connection.execute("BEGIN IMMEDIATE")
            _migrate(connection, self._version(connection))  # another may have done it meanwhile
            connection.execute("COMMIT")

    def _version(self, connection: sqlite3.Connection) -> int:
        owner, version, foreign = (
            connection.execute(question).fetchone()[0]
            for question in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view')",
            )
        )
        empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (owner != layout.APPLICATION_ID and not (empty and owner == 0)) or foreign:
            raise InvalidInput(
                "is an SQLite file, but no ledger of modelcheck", where=self._where,
                remedy="Nothing was changed. Name another file with --ledger.",
            )  # fmt: skip
        if version > len(layout.MIGRATIONS):
            raise NewerLedger(
                f"was written by a newer modelcheck (schema {version}, this one knows "
                f"{len(layout.MIGRATIONS)})",
                where=self._where,
                remedy="Nothing was changed. Use that version, or name another file with --ledger.",
            )
        return int(version)

    def _explained(self, error: sqlite3.Error) -> ModelcheckError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_NOTADB and not self._was_ours():
            return InvalidInput(
                "is no ledger, nor any other SQLite file", where=self._where,
                remedy="Nothing was changed. Name another file with --ledger.",
            )  # fmt: skip
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            return self._damaged(str(error))
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._refused(f"another process has kept it locked for {_PATIENCE_S:.0f} s")
        what = "no space is left" if code == sqlite3.SQLITE_FULL else str(error)
        return self._refused(f"cannot be used: {what}")

    def _was_ours(self) -> bool:
        """Whether what cannot be read may have been a ledger: a file that was named by mistake,
        a model for example, must stay where it is.
        """
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC or self.path.name == LEDGER_NAME
        return False

    def _damaged(self, what: str) -> DamagedLedger:
        return DamagedLedger(
            f"is damaged: {printable(what)}",
            where=self._where,
            remedy="Nothing was changed. A run without --since-last keeps it aside and begins a "
            "new one; `sqlite3 FILE .recover` may read what is left.",
        )

    def _refused(self, what: str) -> OutputNotWritten:
        return OutputNotWritten(
            what, where=self._where, remedy="Name another file with --ledger, or use --no-ledger."
        )

    @property
    def _folder(self) -> Path:
        return self.path.resolve().parent

    @property
    def _where(self) -> str:
        return printable(str(self.path), limit=400)


def _connect(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, uri=True, timeout=_PATIENCE_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    # A flipped bit in a text is told by the checksum, not by Python's decoder.
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return connection


def _empty() -> sqlite3.Connection:
    connection = _connect("file::memory:")
    _migrate(connection, 0)
    return connection


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables from this version to the present one, in the caller's transaction."""
    for script in layout.MIGRATIONS[version:]:
        for statement in script.split(";"):  # executescript would commit first
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {layout.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(layout.MIGRATIONS)}")


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> int:
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" * len(row))
    cursor = connection.execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values())
    )
    return cursor.lastrowid or 0


def _runs(
    connection: sqlite3.Connection, where: str, values: Sequence[Any] = (), most: int = -1
) -> list[Run]:
    """The runs that a condition selects, newest first, as one consistent reading."""
    connection.execute("BEGIN")
    chosen = f"SELECT id FROM runs WHERE {where} ORDER BY id DESC LIMIT {most}"
    runs = _rows(connection, f"SELECT * FROM runs WHERE id IN ({chosen}) ORDER BY id DESC", values)
    parts = [
        _rows(connection, f"SELECT * FROM {table} WHERE run IN ({chosen}) ORDER BY {order}", values)
        for table, order in (("verdicts", "run, position"), ("outputs", "run, verdict, position"))
    ]
    connection.execute("COMMIT")
    verdicts, outputs = _grouped(parts[0], "run"), _grouped(parts[1], "run", "verdict")
    return [
        layout.run_of(
            run,
            (
                layout.verdict_of(verdict, outputs.get((run["id"], verdict["position"]), ()))
                for verdict in verdicts.get((run["id"],), ())
            ),
        )
        for run in runs
    ]


def _rows(
    connection: sqlite3.Connection, query: str, values: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(query, values)]


def _grouped(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found
