"""`modelcheck tune`: what is asked wrongly, what is written, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from simulation import nothing_pays, pools_pay, simulated

from modelcheck.cli.app import run
from modelcheck.tune.workbench import Workbench

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TOOL = str(Path(sys.executable).with_name("modelcheck"))
MODEL = str(FIXTURES / "digits_mlp.onnx")
DATA = ("--data", str(FIXTURES / "digits_test.npz"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are made up, so that a run is quick and always the same."""
    monkeypatch.setattr(Workbench, "measure", simulated(pools_pay))


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--target", "cpu:threads=0"], 2, "at least one thread"),
        (["--target", "cup"], 2, "Did you mean 'cpu'?"),
        (["--target", "cpu:clasic"], 2, "Did you mean 'classic'?"),
        (["--goal", "throughputs"], 2, "Did you mean 'throughput'?"),
        (["--max-latency", "0"], 2, "--max-latency"),
        (["--max-latency", "nan"], 2, "not a positive number"),
        (["--min-throughput", "-1"], 2, "--min-throughput"),
        (["--time-budget", "soon"], 2, "--time-budget"),
        (["--time-budget", "0"], 2, "--time-budget"),
        (["--max-latency", "0.001", "--min-throughput", "1e9"], 2, "contradict each other"),
        (["--time-budget", "1ms"], 5, "not enough to prove anything"),
        (["--min-speedup", "2"], 2, "No such option"),
        (["--target", "cuda"], 4, "cuda"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    quick: None,
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    out = tmp_path / "runtime.toml"
    assert run(["tune", MODEL, *DATA, "--quiet", "-o", str(out), *arguments]) == code
    shown = capfd.readouterr().err
    assert text in shown
    assert "Traceback" not in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["digits_mlp.onnx", "runtime.json", "there.toml"])
def test_an_output_is_a_new_toml_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "there.toml").write_text("precious")
    assert run(["tune", MODEL, "-q", "-o", str(tmp_path / name)]) == 2
    assert "Traceback" not in capfd.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["there.toml"]
    assert (tmp_path / "there.toml").read_text() == "precious"


def test_a_model_with_free_dimensions_needs_its_shape(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3, "h", "w"]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", infos[:1], infos[1:])
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    assert run(["tune", str(path), "-q"]) == 2
    assert "--shape" in capfd.readouterr().err
    assert run(["tune", str(path), "-q", "--shape", "x=1x3x8x8", "--time-budget", "9m"]) == 0


def test_three_files_are_written_and_hold_what_the_screen_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    out = tmp_path / "runtime.toml"
    words = ["tune", MODEL, *DATA, "--json", "--quiet", "--time-budget", "9m", "-o", str(out)]
    assert run(words) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["schema"] == "modelcheck.tuning/1"
    assert said["outcome"] == "PASS"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "runtime.py", "runtime.svg", "runtime.toml",
    ]  # fmt: skip
    written = tomllib.loads(out.read_text(encoding="utf-8"))
    assert written["throughput"]["nets"] == said["best"]["throughput"]["nets"] == 2
    picture = ET.fromstring((tmp_path / "runtime.svg").read_text(encoding="utf-8"))
    assert picture.tag.endswith("svg")
    compile((tmp_path / "runtime.py").read_text(encoding="utf-8"), "runtime.py", "exec")


def test_a_gate_that_fails_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    words = ["tune", MODEL, *DATA, "-q", "--time-budget", "9m", "-o", str(tmp_path / "r.toml")]
    assert run([*words, "--max-latency", "0.01"]) == 1
    shown = capfd.readouterr().out
    assert shown.startswith("\nFAILED: ")
    assert "were not written" in shown
    assert not list(tmp_path.iterdir())


def test_a_default_that_nothing_beats_is_what_is_recommended(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workbench, "measure", simulated(nothing_pays))
    assert run(["tune", MODEL, *DATA, "-q", "--time-budget", "9m"]) == 0
    assert capfd.readouterr().out.count("eep the default") == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    temporary, folder = tmp_path / "tmp", tmp_path / "out"
    temporary.mkdir()
    folder.mkdir()
    process = subprocess.Popen(
        [TOOL, "tune", MODEL, *DATA, "-o", str(folder / "r.toml")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ, TMPDIR=str(temporary)),
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trying settings"):
            break
    time.sleep(0.5)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code, error
    assert "Traceback" not in error
    assert not list(folder.iterdir())
    assert not list(temporary.iterdir())
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
