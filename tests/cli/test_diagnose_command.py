"""`modelcheck diagnose`: exit codes, what is asked wrongly, what is written, how a screen reads."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from modelcheck.cli.app import run
from modelcheck.model import load, save
from modelcheck.testing.faults import FAULTS

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
ORIGINAL = str(FIXTURES / "digits_twohead.onnx")
DATA = ("--data", str(FIXTURES / "digits_test.npz"), "--count", "2", "--target", "cpu:new")


@pytest.fixture
def faulty(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "faulty.onnx"
    planted = FAULTS[0].plant(load(ORIGINAL), np.random.default_rng(1))
    assert planted is not None
    save(planted, path)
    return str(path)


def test_models_that_agree_exit_0(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", ORIGINAL, ORIGINAL, *DATA, "-q"]) == 0
    assert "PASSED: No layer differs by more than rounding" in capfd.readouterr().out


def test_a_named_layer_exits_1_and_everything_asked_for_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], faulty: str
) -> None:
    plot, folder = tmp_path / "layers.svg", tmp_path / "repro"
    words = ["diagnose", ORIGINAL, faulty, *DATA, "--plot", str(plot)]
    assert run([*words, "--reduce", "-o", str(folder)]) == 1
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err
    for text in (
        "OWN SQNR",
        "IN OUTPUTS",
        "first, worst",
        "  transform",
        "REDUCED  to 1",
        "FAILED",
    ):
        assert text in shown.out
    assert ET.fromstring(plot.read_text(encoding="utf-8")).tag.endswith("svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["layers.svg", "repro"]
    assert run([*words, "-q"]) == 2, "the plot is there already"


def test_json_holds_every_layer(capfd: pytest.CaptureFixture[str], faulty: str) -> None:
    assert run(["diagnose", ORIGINAL, faulty, *DATA, "-q", "--json"]) == 1
    said = json.loads(capfd.readouterr().out)
    assert said["schema"] == "modelcheck.diagnosis/1"
    assert said["exit_code"] == 1
    layers = said["layers"]
    assert [layer["index"] for layer in layers] == list(range(len(layers)))
    assert layers[said["worst"]]["origin"] == "transform"
    assert said["first"] == said["worst"]


def test_a_recipe_makes_the_candidate_and_its_step_is_named(
    capfd: pytest.CaptureFixture[str],
) -> None:
    steps = ["-t", "fold-batchnorm", "-t", "prune-weights:amount=0.5"]
    assert run(["diagnose", ORIGINAL, *DATA, *steps]) == 1
    assert "2 prune-weights brought it in" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--target", "cpu:classic"], 2, "looks at one"),
        (["--reduce"], 2, "--reduce and -o go together"),
        (["-o", "repro"], 2, "--reduce and -o go together"),
        (["--reduce", "-o", "no/such/repro"], 2, "parent folder does not exist"),
        (["--plot", "layers.png"], 2, "a plot is an .svg file"),
        (["-t", "fold-batchnrm"], 2, "Did you mean 'fold-batchnorm'?"),
        (["--recipe", "missing.toml"], 2, "missing.toml"),
        (["missing.onnx"], 3, "missing.onnx"),
        ([str(FIXTURES / "digits_mlp.onnx")], 2, "has no output"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["diagnose", ORIGINAL, *arguments, *DATA, "-q"]) == code
    shown = capfd.readouterr().err
    assert text in shown
    assert "Traceback" not in shown
    assert not list(tmp_path.iterdir())


def test_a_target_that_is_not_there_is_unsupported(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", ORIGINAL, "--target", "cuda", "-q"]) == 4
    assert "cuda" in capfd.readouterr().err
