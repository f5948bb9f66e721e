"""`modelcheck search`: what is asked wrongly, what is written, what an interruption leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from modelcheck.cli.app import run
from modelcheck.model import load
from modelcheck.recipe import load_recipe
from modelcheck.searching import Contender, Goal
from modelcheck.searching import run as search_run
from modelcheck.searching.choosing import Choosing
from modelcheck.searching.stopwatch import Gain
from modelcheck.targets import Engine
from modelcheck.transforms import build, chain

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TOOL = str(Path(sys.executable).with_name("modelcheck"))
MODEL = str(FIXTURES / "digits_resnet.onnx")
DATA = ("--data", str(FIXTURES / "digits_test.npz"), "--count", "60")
WRITTEN = ["fast.onnx", "fast.onnx.modelcheck.json", "fast.recipe.toml", "fast.runtime.py",
           "fast.runtime.toml", "fast.svg"]  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search finds BatchNormalization folded, at once; the gate takes any speed for better."""

    def explore(self: Choosing) -> object:
        target = replace(self.plan.settings.target, engine=Engine.CLASSIC)
        steps = (build("fold-batchnorm", {}),)
        self.contenders.append(
            Contender(
                "folded", target, steps, Gain(2.0, 0.1), 1e-4, 150_000, 120.0, 1.0, holds=True
            )
        )
        yield from ()

    monkeypatch.setattr(Choosing, "explore", explore)
    monkeypatch.setattr(Choosing, "race", lambda self: None)
    monkeypatch.setattr(search_run, "_LEAST_SPEEDUP", dict.fromkeys(Goal, 0.2))


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--target", "cpu", "--target", "cpu:new", "--max-time", "30s"], 2, "for each target"),
        (["--goal", "best"], 2, "Give --max-p50"),
        (["--max-p50", "8"], 2, "has no unit"),
        (["--target", "cup"], 2, "Did you mean 'cpu'?"),
        (["--max-time", "soon"], 2, "--max-time"),
        (["--max-time", "1s"], 2, "not enough to find and prove anything"),
        (["-o", "fast.pb"], 2, "the output is an ONNX model"),
        (["--min-sqnr", "25", "--limit", "min-sqnr=25"], 2, "exclude each other"),
        (["--target", "cuda"], 4, "cuda"),
        (["--data", str(FIXTURES / "digits_test.npz"), "--count", "3"], 5, "cannot be split"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    quick: None,
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = () if "--data" in arguments else DATA
    assert run(["search", MODEL, *data, *arguments]) == code
    said = capfd.readouterr().err
    assert text in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_everything_is_written_beside_the_model_and_fits_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    output = tmp_path / "fast.onnx"
    arguments = ["search", MODEL, *DATA, "--target", "cpu:threads=1", "-o", str(output)]
    assert run(arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == WRITTEN
    made = load(output)
    recipe = load_recipe(tmp_path / "fast.recipe.toml")
    assert chain(*recipe.steps)(load(Path(MODEL))) == made
    runtime = tomllib.loads((tmp_path / "fast.runtime.toml").read_text())
    assert runtime["model"]["digest"] == made.digest
    assert (runtime["setting"]["engine"], runtime["setting"]["threads"]) == ("classic", 1)
    assert ET.parse(tmp_path / "fast.svg").getroot().tag.endswith("svg")
    compile((tmp_path / "fast.runtime.py").read_text(), "fast.runtime.py", "exec")
    capfd.readouterr()
    assert run(["check-report", str(output)]) == 0
    assert run(arguments) == 2  # they are there already
    assert run([*arguments, "--force"]) == 0


def test_the_script_runs_the_model_with_that_engine(tmp_path: Path, quick: None) -> None:
    output = tmp_path / "fast.onnx"
    assert run(["search", MODEL, *DATA, "--target", "cpu:threads=1", "-o", str(output)]) == 0
    script = tmp_path / "fast.runtime.py"
    assert "'classic'" in script.read_text()
    found = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in found.stderr


def test_nothing_faster_leaves_nothing_and_says_so(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    quick: None,
) -> None:
    monkeypatch.setattr(search_run, "_LEAST_SPEEDUP", dict.fromkeys(Goal, 50.0))
    output = tmp_path / "fast.onnx"
    common = ["search", MODEL, *DATA, "--target", "cpu:threads=1", "-o", str(output)]
    assert run(common) == 0
    said = capfd.readouterr().out
    assert "Nothing is provably faster" in said
    assert "fast.onnx was not written: the original is the answer." in said
    assert list(tmp_path.iterdir()) == []
    assert run([*common, "--min-speedup", "50"]) in (1, 5)
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_document(capfd: pytest.CaptureFixture[str], quick: None) -> None:
    assert run(["search", MODEL, *DATA, "--target", "cpu:threads=1", "--json", "--quiet"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["schema"] == "modelcheck.search/1"
    assert document["best"]["steps"] == ["fold-batchnorm"]
    assert document["best"]["speedup"][0] > 0


def test_without_data_only_exact_rewrites_are_tried(
    capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    assert run(["search", MODEL, "--count", "30", "--target", "cpu:threads=1"]) == 0
    assert "SYNTHETIC INPUTS" in capfd.readouterr().out


def test_the_original_is_never_written_over(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(Path(MODEL).read_bytes())
    assert run(["search", str(mine), *DATA, "-o", str(mine), "--force"]) == 2
    assert mine.read_bytes() == Path(MODEL).read_bytes()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_leaves_no_process_and_no_half_file(
    tmp_path: Path, sent: signal.Signals
) -> None:
    """Ctrl-C judges what was found; SIGTERM ends it. Neither leaves anything half done."""
    output = tmp_path / "fast.onnx"
    with subprocess.Popen(
        [TOOL, "search", MODEL, *DATA, "--exact", "--target", "cpu:threads=1", "-o", str(output),
         "--max-time", "60s"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "MODELCHECK_LEDGER": ""},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "exact rewrites" in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.5)
        process.send_signal(sent)
        rest = process.stderr.read()
        process.wait(timeout=60)
    assert "Traceback" not in rest
    assert process.returncode == (0 if sent is signal.SIGINT else 143)
    assert not [child for child in children if child.is_running()]
    assert sorted(p.name for p in tmp_path.iterdir()) in ([], WRITTEN)


def test_a_goal_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", MODEL, "--goal", "smalest"]) == 2
    assert "Did you mean 'smallest'?" in capsys.readouterr().err


@pytest.mark.long
def test_each_of_several_targets_has_a_search_and_files_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    targets = ("cpu:threads=1", "cpu:classic:threads=1", "cuda:optional")
    asked = [word for target in targets for word in ("--target", target)]
    assert run(["search", MODEL, *DATA, *asked, "-o", str(tmp_path / "fast.onnx")]) == 0
    said = capfd.readouterr().out
    assert "cuda auto" in said[said.rindex("ORIGINAL") :]
    stems = ("fast.cpu-threads1", "fast.cpu-classic-threads1")
    wanted = [name.replace("fast", stem, 1) for stem in stems for name in WRITTEN]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(wanted)
    for stem in stems:
        assert run(["check-report", str(tmp_path / f"{stem}.onnx")]) == 0


@pytest.mark.long
def test_a_required_target_that_is_not_there_fails_and_takes_nothing_from_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    asked = ["--target", "cuda", "--target", "cpu:threads=1"]
    assert run(["search", MODEL, *DATA, *asked, "--json", "-o", str(tmp_path / "fast.onnx")]) == 4
    document = json.loads(capfd.readouterr().out)
    assert list(document["failed"]) == ["cuda auto"]
    assert [found["outcome"] for found in document["searches"]] == ["PASS"]
    assert (tmp_path / "fast.cpu-threads1.onnx").exists()


def test_the_best_within_a_budget_is_the_original_where_it_is_fast_enough(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    common = ["search", MODEL, *DATA, "--target", "cpu:threads=1", "--goal", "best"]
    assert run([*common, "--max-p50", "10s", "-o", str(tmp_path / "fast.onnx")]) == 0
    assert "is within 10.0 s: keep it" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert run([*common, "--max-p50", "0.01us"]) == 1
    assert "Nothing that holds the limits takes at most " in capfd.readouterr().out
