"""The ledger file: what is written is read again, and nothing that happens to it loses a run."""

from __future__ import annotations

import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from recorded_runs import RUN, VERDICT, run, verdict

from modelcheck.errors import InvalidInput, OutputNotWritten
from modelcheck.judge import Outcome
from modelcheck.ledger import DamagedLedger, LedgerFile, NewerLedger, layout
from modelcheck.ledger.book import Book
from modelcheck.ledger.recording import text
from modelcheck.model import load

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "digits_mlp.onnx"

SUPPORT = Path(__file__).resolve().parents[1] / "support"
_WRITER = """
import sys
from pathlib import Path
from recorded_runs import run
from modelcheck.ledger import LedgerFile
file = LedgerFile(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    file.append(run(seed=f"{sys.argv[2]}-{i}"))
    print(i, flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> LedgerFile:
    return LedgerFile(tmp_path / "ledger.db")


def start_writer(file: LedgerFile, name: str, count: int) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(SUPPORT), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(file.path), name, str(count)],
        stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=paths),
    )  # fmt: skip


def written(count: int, file: LedgerFile) -> bytes:
    for i in range(count):
        file.append(run(verdict(), verdict(target="opencl new"), seed=str(i)))
    return file.path.read_bytes()


class TestWhatIsWritten:
    def test_is_read_again_newest_first(self, file: LedgerFile) -> None:
        odd = verdict(
            outcome=Outcome.UNSUPPORTED, optional=True, speedup=None, speedup_low=0.0,
            speedup_high=math.inf, outputs=(),
        )  # fmt: skip
        equal = verdict(sqnr_db=math.inf)
        runs = [RUN, run(odd, equal), run(seconds=1, candidate_digest=None, candidate_bytes=None)]
        for each in runs:
            file.append(each)
        assert file.runs() == runs[::-1]

    def test_holds_names_that_no_encoding_does(self, file: LedgerFile) -> None:
        names = ["\x00\x1b[2J", "\udcff\ud800", "'; DROP TABLE runs; --", "x" * 1_000_000]
        runs = [run(model=text(name)) for name in names]
        for each in runs:
            file.append(each)
        assert file.runs() == runs[::-1]

    def test_long_names_stay_apart(self) -> None:
        assert text("x" * 5000 + "a") != text("x" * 5000 + "b")

    def test_a_ledger_that_is_not_there_is_empty_and_stays_away(self, file: LedgerFile) -> None:
        assert file.runs() == []
        assert file.last_release("net.int8.onnx", "cpu new", RUN.machine_class) is None
        assert not file.path.exists()


class TestTheLastRelease:
    def last(self, file: LedgerFile) -> str | None:
        found = file.last_release("net.int8.onnx", "cpu new", RUN.machine_class)
        return None if found is None else found.seed

    def test_is_the_newest_run_that_passed_as_a_whole(self, file: LedgerFile) -> None:
        file.append(run(seed="first"))
        file.append(run(seed="second"))
        file.append(run(verdict(outcome=Outcome.FAIL), outcome=Outcome.FAIL, seed="failed"))
        file.append(run(outcome=Outcome.FAIL, seed="failed on another target"))
        assert self.last(file) == "second"

    @pytest.mark.parametrize(
        "other",
        [
            run(model="other.onnx"),
            run(verdict(target="cpu classic")),
            run(verdict(outcome=Outcome.UNSUPPORTED, optional=True)),
            run(judges_equivalence=False),
            run(machine=RUN.machine | {"processor": "Another CPU"}),
        ],
        ids=["model", "target", "optional target", "speed alone", "machine class"],
    )
    def test_is_none_of_another(self, file: LedgerFile, other: object) -> None:
        file.append(other)  # type: ignore[arg-type]
        assert self.last(file) is None

    def test_survives_an_update_of_the_kernel(self, file: LedgerFile) -> None:
        file.append(run(machine=RUN.machine | {"kernel": "6.2.0", "governor": "powersave"}))
        assert self.last(file) is not None


def test_earlier_runs_of_a_pair_are_counted_by_target_and_outcome(file: LedgerFile) -> None:
    failed = verdict(outcome=Outcome.FAIL)
    file.append(run(failed, verdict(target="opencl new")))
    file.append(run(failed))
    file.append(run(candidate_digest="other"))
    file.append(run(candidate_digest=None))
    assert file.earlier(RUN.original_digest, RUN.candidate_digest) == {
        "cpu new": {Outcome.FAIL: 2},
        "opencl new": {Outcome.PASS: 1},
    }
    assert file.earlier(RUN.original_digest, None) == {"cpu new": {Outcome.PASS: 1}}


class TestSeveralProcesses:
    def test_at_once_lose_no_run(self, file: LedgerFile) -> None:
        writers = [start_writer(file, name, 15) for name in "abcd"]
        for writer in writers:
            writer.communicate()
            assert writer.returncode == 0
        seeds = {each.seed for each in file.runs()}
        assert seeds == {f"{name}-{i}" for name in "abcd" for i in range(15)}

    def test_killed_at_any_moment_leave_a_whole_ledger(self, file: LedgerFile) -> None:
        """What a process said it had written is there; what it was writing is there or not."""
        chance = random.Random(7)
        told: set[str] = set()
        read: dict[subprocess.Popen[str], int] = {}
        for number in range(3):
            writers = {name: start_writer(file, f"{number}{name}", 10_000) for name in "ab"}
            for writer in writers.values():  # both are at work
                assert writer.stdout is not None
                for i in range(chance.randint(1, 6)):
                    assert writer.stdout.readline() == f"{i}\n"
                read[writer] = i + 1
            for name, writer in writers.items():
                writer.send_signal(signal.SIGKILL)
                said, _ = writer.communicate()
                count = read[writer] + len(said.splitlines())
                told |= {f"{number}{name}-{i}" for i in range(count)}
        recorded = {each.seed for each in file.runs()}
        assert told <= recorded
        assert len(recorded - told) <= 2 * 3

    def test_that_find_a_damaged_ledger_keep_it_aside_once(self, file: LedgerFile) -> None:
        file.path.write_bytes(b"no database " * 1000)
        assert file.set_aside() is not None
        file.append(RUN)
        assert file.set_aside() is None, "a good ledger was moved away"
        assert file.runs() == [RUN]


@pytest.mark.parametrize("content", [b"\x08\x08\x12\x07pytorch" * 99, b"[limits]\n", b"PK\3\4"])
def test_a_file_that_is_no_database_stays_where_it_is(tmp_path: Path, content: bytes) -> None:
    """A model, a recipe, data: named by mistake."""
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    book = Book.open(path)
    assert book.bands(load(FIXTURE)) == {}
    assert "is no ledger" in book.warnings[0]
    with pytest.raises(InvalidInput, match="is no ledger"):
        Book.open(path, since_last=True)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert path.read_bytes() == content


class TestADamagedLedger:
    @pytest.mark.parametrize("content", [b"<html>404</html>" * 100, b"\x00" * 4096, b"SQLite"])
    def test_is_told(self, file: LedgerFile, content: bytes) -> None:
        file.path.write_bytes(content)
        with pytest.raises(DamagedLedger, match="is damaged") as raised:
            file.runs()
        assert raised.value.exit_code == 3
        assert file.path.read_bytes() == content

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
    def test_may_be_a_truncated_one(self, file: LedgerFile, part: float) -> None:
        content = written(30, file)
        file.path.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(DamagedLedger):
            file.runs()

    def test_is_told_from_a_single_flipped_bit_or_nothing_is_wrong(self, file: LedgerFile) -> None:
        """A flipped bit is found, or lies where nothing is stored; it never changes a figure."""
        content = written(5, file)
        before, chance = file.runs(), random.Random(11)
        outcomes = []
        for _ in range(150):
            flipped = bytearray(content)
            flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            file.path.write_bytes(flipped)
            try:
                assert file.runs() == before
                outcomes.append("whole")
            except (InvalidInput, NewerLedger, OutputNotWritten) as error:
                outcomes.append(type(error).__name__)
            for journal in file.path.parent.glob("*-*"):
                journal.unlink()
        assert outcomes.count("DamagedLedger") > 10

    def test_is_kept_as_it_is_and_never_overwrites_another(self, file: LedgerFile) -> None:
        asides = []
        for content in (b"first " * 999, b"second" * 999):
            file.path.write_bytes(content)
            aside = file.set_aside()
            assert aside is not None
            assert aside.read_bytes() == content
            assert not file.path.exists()
            asides.append(aside)
        assert all(aside.exists() for aside in asides)


class TestALedgerOfOthers:
    def test_a_newer_one_is_left_alone(self, file: LedgerFile) -> None:
        written(2, file)
        with sqlite3.connect(file.path) as connection:
            connection.execute(f"PRAGMA user_version = {len(layout.MIGRATIONS) + 1}")
        connection.close()
        content = file.path.read_bytes()
        for attempt in (file.runs, lambda: file.append(RUN), file.set_aside):
            with pytest.raises(NewerLedger, match="newer modelcheck") as raised:
                attempt()
            assert raised.value.exit_code == 2
        assert file.path.read_bytes() == content

    @pytest.mark.parametrize(
        "script",
        ["CREATE TABLE songs (name)", "PRAGMA application_id = 7; CREATE TABLE runs (id)"],
    )
    def test_another_programs_database_is_left_alone(self, file: LedgerFile, script: str) -> None:
        with sqlite3.connect(file.path) as connection:
            connection.executescript(script)
        connection.close()
        content = file.path.read_bytes()
        for attempt in (file.runs, lambda: file.append(RUN), file.set_aside):
            with pytest.raises(InvalidInput, match="no ledger of modelcheck"):
                attempt()
        assert file.path.read_bytes() == content

    def test_a_trigger_that_somebody_planted_does_not_run(self, file: LedgerFile) -> None:
        written(1, file)
        with sqlite3.connect(file.path) as connection:
            connection.execute("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END")
        connection.close()
        with pytest.raises(InvalidInput, match="no ledger"):
            file.append(RUN)

    def test_a_pipe_is_not_waited_for(self, file: LedgerFile) -> None:
        os.mkfifo(file.path)
        with pytest.raises(InvalidInput, match="no plain file"):
            file.runs()

    def test_an_older_one_is_brought_up_to_date_and_keeps_its_runs(
        self, file: LedgerFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file.append(RUN)
        newer = (*layout.MIGRATIONS, "ALTER TABLE runs ADD COLUMN remark TEXT; SELECT 1")
        monkeypatch.setattr(layout, "MIGRATIONS", newer)
        assert file.runs() == [RUN]
        file.append(RUN)
        with sqlite3.connect(file.path) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)
            assert connection.execute("SELECT remark FROM runs").fetchall() == [(None,), (None,)]
        connection.close()


class TestASystemThatRefuses:
    def test_a_full_disk_is_told_and_loses_nothing(self, file: LedgerFile) -> None:
        file.append(RUN)
        code = f"""
import resource
from pathlib import Path
from recorded_runs import run
from modelcheck.errors import OutputNotWritten
from modelcheck.ledger import LedgerFile
resource.setrlimit(resource.RLIMIT_FSIZE, ({file.path.stat().st_size}, -1))
try:
    for i in range(100):
        LedgerFile(Path({str(file.path)!r})).append(run(recipe="x" * 1900))
except OutputNotWritten as error:
    print("told", i)
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(SUPPORT), *sys.path])),
        )  # fmt: skip
        word, appended = done.stdout.split()
        assert word == "told"
        assert len(file.runs()) == 1 + int(appended)

    def test_a_folder_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(OutputNotWritten, match="absent"):
            LedgerFile(tmp_path / "absent" / "ledger.db").append(RUN)


def test_a_column_for_every_field_and_none_twice() -> None:
    """The tables follow the dataclasses by name."""
    connection = sqlite3.connect(":memory:")
    for script in layout.MIGRATIONS:
        connection.executescript(script)
    rows = {
        "runs": layout.run_row(RUN),
        "verdicts": layout.verdict_row(VERDICT),
        "outputs": layout.output_row(VERDICT.outputs[0]),
    }
    keys = {"id", "run", "verdict", "position"}
    for table, row in rows.items():
        columns = {r[1] for r in connection.execute(f"PRAGMA table_info({table})")}
        assert columns - keys == set(row)
    connection.close()


def test_the_checksum_covers_every_value() -> None:
    changed = [
        run(data_samples=501), run(machine=RUN.machine | {"cores": "4"}), run(verdict(speedup=2.5)),
        run(verdict(sqnr_db=30.1)), replace(RUN, verdicts=()),
    ]  # fmt: skip
    sums = {layout.checksum(each) for each in (RUN, *changed)}
    assert len(sums) == 1 + len(changed)
