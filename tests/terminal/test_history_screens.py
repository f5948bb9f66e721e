"""Whole screens of `modelcheck history`, from a made-up ledger."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_regressions.file_regression import FileRegressionFixture
from recorded_runs import MACHINE, RUN, VERDICT, run, verdict
from rich.console import Console
from screens import screen

from modelcheck.judge import Outcome
from modelcheck.ledger import LedgerFile, since_last_pass
from modelcheck.report.history import print_history, print_since_pass, print_trends, sparkline

NASTY = "\x00\x1b[2J[bold]net[/bold]\u202e\n.onnx"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    file = LedgerFile(tmp_path / "ledger.db")
    low = verdict(
        22.0, outcome=Outcome.FAIL, speedup=1.6, speedup_low=1.4, speedup_high=1.7,
        latency_s=0.0062, opencv="5.1.0", opencv_build="b2" * 32,
        findings="FAIL since-last: cpu new: the SQNR of output 'logits' went from 31.0 dB to 22.0 "
        "dB, against the release of 2026-11-21T10:00:00+00:00.",
    )  # fmt: skip
    absent = verdict(
        target="cuda new", outcome=Outcome.UNSUPPORTED, optional=True, speedup=None,
        speedup_low=None, speedup_high=None, original_s=None, latency_s=None, opencv="",
        opencv_build="", ran_on="", outputs=(), findings="UNSUPPORTED runs: cuda new: no CUDA.",
    )  # fmt: skip
    file.append(RUN)
    file.append(run(verdict(31.0), created="2026-11-21T10:00:00+00:00"))
    file.append(run(VERDICT, model="other.onnx", created="2026-11-22T10:00:00+00:00"))
    file.append(
        run(
            low, absent, created="2026-11-23T10:00:00+00:00", outcome=Outcome.FAIL,
            candidate_digest="cb" * 32, machine=MACHINE | {"kernel": "6.2.0"},
        )
    )  # fmt: skip
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"?" * 4000)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("history", ("--ledger", "ledger.db")),
        ("history-of-one", ("net.int8.onnx", "-n", "1", "--ledger", "ledger.db")),
        ("history-of-passes", ("--outcome", "pass", "--ledger", "ledger.db")),
        ("history-of-none", ("net.int8.onx", "--ledger", "ledger.db")),
        ("history-of-no-outcome", ("--outcome", "fial", "--ledger", "ledger.db")),
        ("history-without-ledger", ("--ledger", "absent.db")),
        ("history-of-a-damaged-ledger", ("--ledger", "broken.db")),
    ],
)
def test_screen(
    desk: Path, name: str, arguments: tuple[str, ...], file_regression: FileRegressionFixture
) -> None:
    before = {path.name: path.read_bytes() for path in desk.iterdir()}
    shown = screen("history", *arguments, cwd=desk)
    assert "Traceback" not in shown
    assert before == {path.name: path.read_bytes() for path in desk.iterdir()}
    file_regression.check(shown, basename=name)


def test_names_of_others_move_no_cursor_and_are_no_markup() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    nasty = verdict(target=NASTY, findings=NASTY, opencv=NASTY, outcome=Outcome.FAIL)
    passed = replace(nasty, outcome=Outcome.PASS)
    runs = [run(nasty, model=NASTY, recipe=NASTY), run(passed, model=NASTY)]
    print_history(runs, 9, console)
    print_trends(runs, 9, console)
    print_since_pass(since_last_pass(runs), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "[bold]net[/bold]" in text
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([1.0, 2.0, 3.0], "▁▅█"),
        ([38.03, 38.06, 38.03], "▄▄▄"),
        ([0.0, 0.0], "▄▄"),
        ([float("inf"), 30.0, 20.0, -float("inf")], "██▁▁"),
        ([float("inf")] * 2, "██"),
        ([-5.0, 5.0], "▁█"),
    ],
)
def test_a_sparkline_shows_what_moved(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars
