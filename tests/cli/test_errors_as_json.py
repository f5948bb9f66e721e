"""With --json an error is an object on stdout, so that a program need not read stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = str(Path(sys.executable).with_name("modelcheck"))


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["verify", "absent.onnx"], 3, "no such file"),
        (["inspect", "absent.onnx"], 3, "no such file"),
        (["bench", "absent.onnx"], 3, "no such file"),
        (["tune", "absent.onnx"], 3, "no such file"),
        (["verify", "absent.onnx", "--target", "cup"], 2, "unknown device 'cup'"),
        (["inspect", "absent.onnx", "--shape", "x"], 3, "no such file"),
        (["inspect"], 2, "Missing argument"),
        (["targets", "--frobnicate"], 2, "No such option"),
    ],
)
def test_an_input_error_is_an_object_with_its_exit_code(
    words: list[str], code: int, what: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [TOOL, *words, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == code
    assert document["schema"] == "modelcheck.error/1"
    assert what in document["error"]["what"]
    assert what in done.stderr


def test_without_it_an_error_leaves_stdout_empty(tmp_path: Path) -> None:
    done = subprocess.run(
        [TOOL, "verify", "absent.onnx"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert not done.stdout
