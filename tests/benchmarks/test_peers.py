"""What benchmarks/peers.py says of transforms that go wrong, and how it counts the others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from peers_page import render
from peers_rows import NET_QUANTIZE, ORIGINAL, Judged, Made, Outcome, Raced, Rows
from peers_transform import Allowed, run_limited

_ENOUGH = Allowed(60.0, 2 << 30)


def _ended(code: str, folder: Path, allowed: Allowed = _ENOUGH) -> Outcome:
    return run_limited([sys.executable, "-c", code], folder, allowed).outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("", Outcome.MADE),
        ("raise ValueError('no')", Outcome.REFUSED),
        ("import os; os.abort()", Outcome.DIED),
        ("raise MemoryError", Outcome.OUT_OF_MEMORY),
    ],
)
def test_however_a_transform_ends_is_an_outcome(
    code: str, outcome: Outcome, tmp_path: Path
) -> None:
    assert _ended(code, tmp_path) is outcome


def test_a_transform_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    allowed = Allowed(0.2, 2 << 30)
    assert _ended("import time; time.sleep(60)", tmp_path, allowed) is Outcome.TIMED_OUT


def test_a_transform_is_ended_when_it_holds_too_much_memory(tmp_path: Path) -> None:
    code = "import time; held = b'x' * (200 << 20); time.sleep(60)"
    assert _ended(code, tmp_path, Allowed(60.0, 100 << 20)) is Outcome.OUT_OF_MEMORY


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """A net on which nncf is fast and wrong, onnxslim a little faster and right."""
    found = Rows(tmp_path / "rows.jsonl")
    for peer, ratio, right in (
        (ORIGINAL, 1.0, True),
        ("nncf", 3.0, False),
        ("onnxslim", 1.2, True),
    ):
        found.add(
            Made("net", peer, 60, "", Outcome.MADE),
            Judged("net", peer, 60, "", "5.0 new", True, db=30.0 * right, right=right, judged=9),
            Raced("net", peer, 60, "", "5.0 new", 1, 0.01 / ratio, ratio, 0.01),
        )
    return found


def _cells(page: str, name: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_fast_peer_that_is_wrong_gains_nothing(rows: Rows) -> None:
    page = render(rows, ["net"], 60, [], "a command")
    assert _cells(page, "nncf")[-1] == "1.00x"
    assert _cells(page, "**best right peer**")[1] == "**1.20x onnxslim**"


def test_what_was_raced_of_a_file_made_anew_since_does_not_count(rows: Rows) -> None:
    rows.add(Made("net", "onnxslim", 60, "", Outcome.MADE, digest="another"))
    page = render(rows, ["net"], 60, [], "a command")
    assert _cells(page, "**best right peer**")[1] == "**the original**"


def test_rows_outlive_the_process(rows: Rows, tmp_path: Path) -> None:
    again = Rows(tmp_path / "rows.jsonl")
    assert again.of(Raced) == rows.of(Raced)
    assert again.get(Made("net", NET_QUANTIZE, 60, "", Outcome.MADE)) is None
