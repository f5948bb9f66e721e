"""The head start of a run: the children that it needs, no others, and none left behind."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from modelcheck.cli.ahead import undisturbed
from modelcheck.cli.app import run
from modelcheck.process import spare
from modelcheck.process.started import Command, Started

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODEL = str(FIXTURES / "digits_mlp.onnx")
VERIFY = [
    "--data", str(FIXTURES / "digits_test.npz"), "--count", "4", "--checks", "equivalence",
    "--quiet",
]  # fmt: skip
TWO = ["--target", "cpu:new:threads=1", "--target", "cpu:classic"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The workers that were started, by name; at the end none of them is left."""
    names: list[str] = []

    def start(command: Command) -> Started:
        names.append(f"{command.script.parent.name}/{command.script.stem}")
        return Started(command)

    monkeypatch.setattr(spare, "Started", start)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(psutil.Process().children())
    yield names
    assert set(psutil.Process().children()) <= before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        (["verify", MODEL, MODEL], 2),
        (["verify", MODEL], 1),
        (["verify", MODEL, MODEL, *TWO], 4),
        (["verify", MODEL, MODEL, "--memory-limit", "8000", "--timeout", "99"], 2),
        (["apply", MODEL, "-t", "prune-weights", "--verify"], 2),
    ],
)
def test_each_child_of_a_run_is_one_that_was_started_ahead(
    words: list[str], targets: int, started: list[str], tmp_path: Path
) -> None:
    if words[0] == "apply":
        words += ["-o", str(tmp_path / "o.onnx")]
    run([*words, *VERIFY])
    for made in tmp_path.glob("o.onnx*"):
        made.unlink()
    assert sorted(started) == ["reference/worker"] + ["targets/worker"] * targets


def test_a_folder_of_images_has_its_decoder_started_too(started: list[str]) -> None:
    images = str(FIXTURES / "digits_images")
    run(["verify", MODEL, "--data", images, "--count", "9", "--checks", "equivalence", "--quiet"])
    assert sorted(started) == ["data/decoder", "reference/worker", "targets/worker"]


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "no/such/model.onnx"],
        ["verify", MODEL, "--policy", "no/such/policy.toml"],
        ["verify", MODEL, "--target", "cpu", "--target", "cpu:no-such-engine"],
        ["verify", MODEL, "--target", "cpu:python=/no/such/python", *VERIFY],
    ],
)
def test_a_run_that_goes_wrong_leaves_none_behind(words: list[str], started: list[str]) -> None:
    assert run(words) != 0
    assert "reference/worker" in started


def test_what_needs_no_children_starts_none(started: list[str], tmp_path: Path) -> None:
    output = tmp_path / "o.onnx"
    assert run(["apply", MODEL, "-t", "prune-weights", "-o", str(output), "--quiet"]) == 0
    output.unlink()
    assert started == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_imports(number: signal.Signals) -> None:
    done = []

    def leave(*_: object) -> None:
        raise SystemExit(7)

    def imports() -> None:
        with undisturbed():
            os.kill(os.getpid(), number)
            done.append("all")

    before = signal.signal(number, leave)
    try:
        with pytest.raises(SystemExit):
            imports()
    finally:
        signal.signal(number, before)
    assert done == ["all"]
    assert gc.isenabled()
