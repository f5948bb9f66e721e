"""Real runs and the history of them, in a folder of a user's."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TOOL = str(Path(sys.executable).with_name("modelcheck"))
QUICK = (
    "--data", "digits_test.npz", "--count", "40", "--target", "cpu:classic:threads=1",
    "--checks", "equivalence", "--quiet",
)  # fmt: skip
LEDGER = Path(".modelcheck/ledger.db")
TARGET = "cpu classic, 1 thread"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    for name in ("digits_mlp.onnx", "digits_test.npz"):
        shutil.copy(FIXTURES / name, tmp_path)
    return tmp_path


def run(desk: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "MODELCHECK_LEDGER"}
    done = subprocess.run(
        [TOOL, *arguments], cwd=desk, capture_output=True, text=True, check=False, timeout=300,
        env=environment | variables | {"COLUMNS": "400"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def verify(desk: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(desk, "verify", "digits_mlp.onnx", *QUICK, *arguments, **variables)


def apply(desk: Path, amount: float, *arguments: str) -> subprocess.CompletedProcess[str]:
    step = f"prune-weights:amount={amount}"
    return run(
        desk, "apply", "digits_mlp.onnx", "-t", step, *QUICK, "--verify", "--force", "--min-sqnr",
        "3", "-o", "small.onnx", *arguments,
    )  # fmt: skip


def history(desk: Path, *arguments: str) -> dict[str, object]:
    done = run(desk, "history", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_every_gate_is_recorded_and_repeated_runs_are_counted(desk: Path) -> None:
    first, second = verify(desk, "--json"), verify(desk, "--json")
    assert (first.returncode, second.returncode) == (0, 0)
    counts = [json.loads(d.stdout)["targets"][0]["earlier_runs"] for d in (first, second)]
    assert counts == [{}, {"PASS": 1}]
    assert "run 3 of this model; earlier: 2 PASS" in verify(desk).stdout
    files = sorted(path.name for path in (desk / ".modelcheck").iterdir())
    assert files == [".gitignore", "ledger.db"]
    document = history(desk)
    assert document["schema"] == "modelcheck.history/1"
    runs = document["runs"]
    assert isinstance(runs, list)
    assert len(runs) == 3
    report = json.loads(first.stdout)
    figures = report["targets"][0]["equivalence"]["total"]["outputs"][0]
    oldest = runs[-1]
    assert oldest["original_digest"] == report["original"]["digest"]
    assert oldest["original_bytes"] == report["original"]["file_bytes"]
    assert oldest["data_digest"] == report["data"]["digest"]
    assert oldest["verdicts"][0]["outputs"][0]["sqnr_db"] == figures["sqnr_db"]
    assert oldest["verdicts"][0]["opencv_build"] == report["targets"][0]["opencv"]["build_digest"]


def test_a_worse_candidate_fails_since_last_and_history_tells_what_changed(desk: Path) -> None:
    first = apply(desk, 0.1, "--since-last")
    assert first.returncode == 5
    assert "Make the first release with --no-since-last" in first.stdout
    assert apply(desk, 0.1).returncode == 0
    released = (desk / "small.onnx").read_bytes()
    again = apply(desk, 0.1, "--since-last")
    assert again.returncode == 0, again.stdout
    worse = apply(desk, 0.3, "--since-last")
    assert worse.returncode == 1, worse.stdout
    assert "FAIL since-last" in worse.stdout
    assert (desk / "small.onnx").read_bytes() == released
    told = run(desk, "history", "small.onnx").stdout
    assert "recipe: prune-weights amount=0.1" in told
    assert "amount=0.3" in told
    assert "SQNR: " in told
    # Taken as it is once, it is what the next run is held to.
    assert apply(desk, 0.3, "--no-since-last").returncode == 0
    assert apply(desk, 0.3, "--since-last").returncode == 0


def test_a_recipe_may_ask_for_it(desk: Path) -> None:
    (desk / "p.toml").write_text("[limits]\nsince-last = true\n")
    assert verify(desk, "--policy", "p.toml").returncode == 5
    assert verify(desk, "--policy", "p.toml", "--no-since-last").returncode == 0
    assert verify(desk, "--policy", "p.toml").returncode == 0


def test_a_newer_ledger_is_never_touched(desk: Path) -> None:
    verify(desk)
    with sqlite3.connect(desk / LEDGER) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    content = (desk / LEDGER).read_bytes()
    plain = verify(desk)
    assert plain.returncode == 0
    assert "not recorded" in plain.stderr
    assert "newer modelcheck (schema 99" in plain.stderr
    for refused in (verify(desk, "--since-last"), run(desk, "history")):
        assert refused.returncode == 2
        assert "newer modelcheck" in refused.stderr
        assert refused.stdout == ""
    assert (desk / LEDGER).read_bytes() == content


def test_a_damaged_ledger_is_kept_aside_and_a_new_one_begun(desk: Path) -> None:
    verify(desk)
    content = (desk / LEDGER).read_bytes()[:5000]
    (desk / LEDGER).write_bytes(content)
    for refused in (run(desk, "history"), verify(desk, "--since-last")):
        assert refused.returncode == 3
        assert str(LEDGER) in refused.stderr
        assert "is damaged" in refused.stderr
    assert (desk / LEDGER).read_bytes() == content
    plain = verify(desk)
    assert plain.returncode == 0
    (aside,) = desk.glob(".modelcheck/ledger.db.damaged-*")
    assert aside.name in plain.stderr
    assert aside.read_bytes() == content
    runs = history(desk)["runs"]
    assert isinstance(runs, list)
    assert len(runs) == 1


def test_a_folder_that_cannot_be_made_costs_a_warning(desk: Path) -> None:
    (desk / ".modelcheck").write_text("a file of the user's")
    done = verify(desk)
    assert done.returncode == 0
    assert "not recorded" in done.stderr
    assert (desk / ".modelcheck").read_text() == "a file of the user's"


@pytest.mark.parametrize(
    ("arguments", "variables"), [(("--no-ledger",), {}), ((), {"MODELCHECK_LEDGER": ""})]
)
def test_who_wants_no_ledger_gets_none(
    desk: Path, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    assert verify(desk, *arguments, **variables).returncode == 0
    refused = verify(desk, "--since-last", *arguments, **variables)
    assert refused.returncode == 2
    assert "there is no ledger" in refused.stderr
    assert not (desk / ".modelcheck").exists()


def test_a_ledger_may_be_elsewhere(desk: Path) -> None:
    assert verify(desk, "--ledger", "team/verdicts.db").returncode == 0
    assert verify(desk, MODELCHECK_LEDGER="team/verdicts.db").returncode == 0
    runs = history(desk, "digits_mlp.onnx", "--ledger", "team/verdicts.db")["runs"]
    assert isinstance(runs, list)
    assert len(runs) == 2
    assert sorted(path.name for path in (desk / "team").iterdir()) == ["verdicts.db"]
    both = verify(desk, "--ledger", "team/verdicts.db", "--no-ledger")
    assert both.returncode == 2
    assert run(desk, "history").returncode == 2
