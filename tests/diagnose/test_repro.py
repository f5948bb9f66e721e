"""A reproduction shows the error by itself, with nothing but cv2 and numpy."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from diagnose_nets import (
    applied,
    branches,
    diagnosed,
    pool_between,
    sigmoid_between,
    with_scaled_weight,
)

from modelcheck.diagnose import Diagnosis, check_folder, write_repro
from modelcheck.diagnose.repro import FILES
from modelcheck.errors import UsageError
from modelcheck.model import load


def shown_error(folder: Path) -> float:
    """What the script prints, run from elsewhere by an interpreter that sees no modelcheck."""
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "repro.py")],
        cwd="/", capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    match = re.search(r"relative error (\S+)", done.stdout)
    assert match is not None
    return float(match[1])


def reduced(found: Diagnosis, folder: Path) -> list[str]:
    """Write it, see that it shows the error, and give its operators."""
    write_repro(found, folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert found.reproduction is not None
    assert shown_error(folder) == pytest.approx(found.reproduction.error, rel=0.02)
    return [node.op_type for node in load(folder / "model.onnx").graph]


def test_a_changed_layer_is_cut_out_alone(tmp_path: Path) -> None:
    found = diagnosed(branches(), with_scaled_weight(branches(), "left"), reduce=True)
    assert reduced(found, tmp_path / "repro") == ["Conv"]
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(ast.parse((tmp_path / "repro/repro.py").read_text()))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert imported == {"cv2", "numpy"}


def test_an_engine_bug_is_cut_down_to_its_operator(tmp_path: Path) -> None:
    found = diagnosed(pool_between(), None, "cpu:classic", reduce=True)
    assert reduced(found, tmp_path / "repro") == ["AveragePool"]


def test_a_broken_fusion_is_cut_down_to_what_is_fused(tmp_path: Path) -> None:
    ((_, candidate),) = applied(sigmoid_between(), "quantize:spare=false")
    operators = reduced(diagnosed(sigmoid_between(), candidate, reduce=True), tmp_path / "repro")
    computing = [o for o in operators if o not in ("QuantizeLinear", "DequantizeLinear")]
    assert computing == ["Conv", "Sigmoid"]


def test_the_input_is_the_worst_sample(tmp_path: Path) -> None:
    found = diagnosed(branches(), with_scaled_weight(branches(), "stem"), reduce=True)
    assert found.reproduction is not None
    assert found.worst is not None
    assert found.worst.own is not None
    noise = 10 ** (-found.worst.own.worst_sample_sqnr_db / 20)
    assert found.reproduction.error == pytest.approx(noise, rel=0.01)


def test_an_earlier_reproduction_is_replaced_only_by_force(tmp_path: Path) -> None:
    folder = tmp_path / "repro"
    found = diagnosed(branches(), with_scaled_weight(branches(), "left"), reduce=True)
    write_repro(found, folder)
    with pytest.raises(UsageError, match="exists already"):
        check_folder(folder, (), force=False)
    check_folder(folder, (), force=True)
    write_repro(found, folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["repro"], "nothing else is left"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is no folder"):
        check_folder(tmp_path / "file", (), force=True)
