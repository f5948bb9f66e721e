"""`modelcheck bench`: exit codes, files, and what a user reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TOOL = str(Path(sys.executable).with_name("modelcheck"))
MLP = str(FIXTURES / "digits_mlp.onnx")
QUICK = ("--time-budget", "0.5s")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOL, "bench", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("baseline") / "bench.json"
    done = run(MLP, *QUICK, "--target", "cpu:classic", "--save", str(path), cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert "bench.json was written" in done.stdout
    return path


@pytest.mark.long
class TestMeasuring:
    def test_json_is_the_saved_document_and_the_screen_has_its_figures(
        self, saved: Path, tmp_path: Path
    ) -> None:
        done = run(MLP, *QUICK, "--json", "--quiet", "--seed", "7", cwd=tmp_path)
        document = json.loads(done.stdout)
        assert done.stderr == ""
        assert document["seed"] == 7
        assert document.keys() == json.loads(saved.read_text()).keys()
        latency = document["rows"][0]["latency_s"]
        values = [latency[name]["value"] for name in ("p50", "p90", "p99")]
        assert values == sorted(values)

    def test_what_is_not_there_exits_4_if_required_and_the_rest_is_measured(
        self, tmp_path: Path
    ) -> None:
        here = ("--target", "cpu:classic")
        required = run(MLP, *QUICK, *here, "--target", "cuda", cwd=tmp_path)
        optional = run(MLP, *QUICK, *here, "--target", "cuda:optional", cwd=tmp_path)
        assert (required.returncode, optional.returncode) == (4, 0)
        assert "UNSUPPORTED cuda auto:" in required.stdout
        assert "UNSUPPORTED (optional) cuda auto:" in optional.stdout
        for done in (required, optional):
            assert "cpu classic" in done.stdout
            assert "MEASURED: 1 of 2 rows" in done.stdout

    def test_nothing_measured_is_no_success_even_where_all_is_optional(
        self, tmp_path: Path
    ) -> None:
        assert run(MLP, *QUICK, "--target", "cuda:optional", cwd=tmp_path).returncode == 4


@pytest.mark.long
class TestBaseline:
    def test_the_same_machine_compares_and_says_that_it_is_weaker_evidence(
        self, saved: Path, tmp_path: Path
    ) -> None:
        done = run(MLP, *QUICK, "--target", "cpu:classic", "--baseline", str(saved), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "AS FAST AS IN" in done.stdout
        assert "weaker evidence" in " ".join(done.stdout.split())

    def test_another_machine_is_refused_without_force(self, saved: Path, tmp_path: Path) -> None:
        document = json.loads(saved.read_text())
        document["machine"]["processor"] = "Another Processor"
        elsewhere = tmp_path / "elsewhere.json"
        elsewhere.write_text(json.dumps(document))
        arguments = (MLP, *QUICK, "--target", "cpu:classic", "--baseline", str(elsewhere))
        refused = run(*arguments, "--save", "new.json", cwd=tmp_path)
        assert refused.returncode == 2
        assert "processor: Another Processor there" in refused.stderr
        assert "--force" in refused.stderr
        assert not (tmp_path / "new.json").exists()
        forced = run(*arguments, "--force", cwd=tmp_path)
        assert forced.returncode == 0
        assert "FORCED although it differs: processor" in forced.stdout

    def test_a_baseline_of_other_models_is_refused_at_once(
        self, saved: Path, tmp_path: Path
    ) -> None:
        other = str(FIXTURES / "digits_vit.onnx")
        done = run(other, "--baseline", str(saved), cwd=tmp_path)
        assert done.returncode == 2
        assert "none of these models" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("absent.onnx",), 3, "absent.onnx"),
        ((MLP, "--target", "cup"), 2, "Did you mean 'cpu'?"),
        ((MLP, "--time-budget", "0s"), 2, "time-budget"),
        ((MLP, "--save", "bench.txt"), 2, ".json"),
        ((MLP, "--save", "absent/bench.json"), 7, "could not be written"),
        ((MLP, "--baseline", "absent.json"), 2, "no such file"),
        ((MLP, "--baseline", MLP), 3, "is not JSON"),
        ((MLP, "--shape", "image=9x9"), 2, "image"),
    ],
)  # fmt: skip
def test_bad_requests_get_a_message_and_leave_nothing(
    arguments: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    temporary, folder = tmp_path / "tmp", tmp_path / "out"
    temporary.mkdir()
    folder.mkdir()
    process = subprocess.Popen(
        [TOOL, "bench", MLP, "--save", str(folder / "bench.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ, TMPDIR=str(temporary)),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not (children := psutil.Process(process.pid).children(recursive=True)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert not list(folder.iterdir())
    assert not list(temporary.iterdir())
    assert not psutil.wait_procs(children, timeout=5)[1]
