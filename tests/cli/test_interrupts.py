"""Interruptions, locks and odd environments: nothing lost, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TOOL = str(Path(sys.executable).with_name("modelcheck"))


def command(output: Path) -> list[str]:
    """A run of several seconds that would write `output`."""
    return [
        TOOL, "apply", str(FIXTURES / "digits_resnet.onnx"), "-t", "fold-batchnorm", "--data",
        str(FIXTURES / "digits_test.npz"), "--target", "cpu:new", "--target", "cpu:classic",
        "--checks", "equivalence", "--verify", "-o", str(output),
    ]  # fmt: skip


def start(output: Path, temporary: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(output),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, TMPDIR=str(temporary), **env),
    )


def wait_for_children(process: subprocess.Popen[str], n: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children(recursive=True)
        if len(children) >= n:
            return children
        time.sleep(0.02)
    raise AssertionError("the run started no children")


def wait_until_it_runs(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("running"):
            return
    raise AssertionError(f"the run never ran: {seen}")


@pytest.mark.parametrize("when", ["while it starts", "while it runs"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, number: int, code: int, when: str
) -> None:
    temporary, folder = tmp_path / "tmp", tmp_path / "out"
    temporary.mkdir()
    folder.mkdir()
    process = start(folder / "o.onnx", temporary)
    if when == "while it runs":
        wait_until_it_runs(process)
    children = wait_for_children(process, 3)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code, error
    assert "Traceback" not in error
    assert not list(folder.iterdir())
    assert not list(temporary.iterdir())
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_a_killed_run_takes_its_children_along_and_is_swept_by_the_next(tmp_path: Path) -> None:
    temporary, folder = tmp_path / "tmp", tmp_path / "out"
    temporary.mkdir()
    folder.mkdir()
    process = start(folder / "o.onnx", temporary)
    children = wait_for_children(process, 3)
    process.kill()
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    again = start(folder / "o.onnx", temporary)
    assert again.wait(timeout=120) == 0, again.communicate()
    assert sorted(p.name for p in folder.iterdir()) == ["o.onnx", "o.onnx.modelcheck.json"]
    assert not list(temporary.iterdir())


def test_the_second_of_two_runs_on_one_output_gives_way(tmp_path: Path) -> None:
    first = start(tmp_path / "o.onnx", Path(tempfile.gettempdir()))
    wait_until_it_runs(first)
    first.send_signal(signal.SIGSTOP)  # else it may be done before the second has begun
    second = subprocess.run(
        command(tmp_path / "o.onnx"), capture_output=True, text=True, timeout=60, check=False
    )
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 7, second.stderr
    assert first.wait(timeout=120) == 0


@pytest.mark.long
def test_a_run_needs_no_home_and_no_utf8_locale(tmp_path: Path) -> None:
    env = {"HOME": "/nonexistent", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = start(tmp_path / "o.onnx", Path(tempfile.gettempdir()), **env)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "PASSED" in output


def test_an_existing_output_is_kept_unless_forced(tmp_path: Path) -> None:
    output = tmp_path / "o.onnx"
    output.write_text("precious")
    done = subprocess.run(command(output), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert output.read_text() == "precious"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody can write")
def test_a_folder_that_cannot_be_written_is_found_before_the_work() -> None:
    start_s = time.monotonic()
    done = subprocess.run(
        command(Path("/proc/o.onnx")), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "running" not in done.stderr
    assert time.monotonic() - start_s < 20


def test_a_model_that_changes_during_the_run_is_refused(tmp_path: Path) -> None:
    model, output = tmp_path / "m.onnx", tmp_path / "o.onnx"
    model.write_bytes((FIXTURES / "digits_resnet.onnx").read_bytes())
    words = [str(model) if w.endswith("digits_resnet.onnx") else w for w in command(output)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_until_it_runs(process)
    process.send_signal(signal.SIGSTOP)
    model.write_bytes((FIXTURES / "digits_mlp.onnx").read_bytes())
    process.send_signal(signal.SIGCONT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 3, error
    assert not output.exists()
