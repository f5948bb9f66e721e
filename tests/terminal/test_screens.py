"""Whole screens with their exit codes. Regenerate with `pytest tests/terminal --force-regen`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pytest_regressions.file_regression import FileRegressionFixture
from screens import screen

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
DATA = ("--data", "digits_test.npz")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the fixtures, where a user works."""
    for file in FIXTURES.iterdir():
        if file.suffix in {".onnx", ".npz", ".toml"}:
            shutil.copy(file, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("no-arguments", ()),
        ("unknown-command", ("aply",)),
        ("unknown-option", ("verify", "digits_mlp.onnx", "--min-sqrn", "30")),
        ("missing-model", ("verify", "absent.onnx")),
        ("not-a-model", ("verify", "digits_test.npz")),
        ("unknown-transform", ("apply", "digits_mlp.onnx", "-t", "prune-wieghts", "-o", "o.onnx")),
        (
            "unknown-transform-option",
            ("apply", "digits_mlp.onnx", "-t", "prune-weights:amout=1", "-o", "o.onnx"),
        ),
        ("nothing-to-apply", ("apply", "digits_mlp.onnx", "-o", "o.onnx")),
        (
            "output-is-input",
            ("apply", "digits_mlp.onnx", "-t", "sparsify", "-o", "digits_mlp.onnx"),
        ),
        (
            "speed-alone-writes-nothing",
            ("apply", "digits_mlp.onnx", "-t", "sparsify", "--verify", "--checks", "speed",
             "--min-speedup", "0.1", "-o", "o.onnx"),
        ),
        ("unknown-target", ("verify", "digits_mlp.onnx", "--target", "cpu:clasic")),
        ("no-threads", ("verify", "digits_mlp.onnx", "--target", "cpu:threads=0")),
        ("unsupported-target", ("verify", "digits_mlp.onnx", "--target", "cuda", "-q")),
        ("nan-limit", ("verify", "digits_mlp.onnx", "--min-sqnr", "nan")),
        (
            "metric-that-does-not-fit",
            ("verify", "digits_mlp.onnx", *DATA, "--metric", "segmentation:min=0.9", "-q"),
        ),
        ("unknown-metric", ("verify", "digits_mlp.onnx", "--metric", "bxes:min=0.9")),
        (
            "metrics-of-the-task",
            ("verify", "digits_mlp.onnx", "digits_mlp.onnx", *DATA, "--target", "cpu:new",
             "--checks", "equivalence", "--metric", "top1:min=0.99", "--metric", "kl:max=0.01",
             "--metric", "drop:max=0.1%"),
        ),
        ("check-report-without-report", ("check-report", "digits_mlp.onnx")),
        ("verify-alone", ("verify", "digits_mlp.onnx", *DATA, "-q", "--target", "cpu:new")),
        (
            "synthetic-inputs-never-pass-a-lossy-claim",
            ("apply", "digits_mlp.onnx", "-t", "prune-weights:amount=0.1", "--verify", "-q",
             "--checks", "equivalence", "-o", "o.onnx"),
        ),
        (
            "apply-passes",
            ("apply", "digits_resnet.onnx", "-t", "fold-batchnorm", *DATA, "--verify", "--target",
             "cpu:new", "--target", "cpu:classic:threads=1", "--seed", "7", "-o", "o.onnx"),
        ),
        (
            "apply-fails",
            ("apply", "digits_resnet.onnx", "-t", "fold-batchnorm", "-t",
             "prune-weights:amount=0.95", *DATA, "--verify", "--target", "cpu:classic",
             "--checks", "equivalence", "-o", "o.onnx"),
        ),
    ],
)  # fmt: skip
def test_screen(
    desk: Path, name: str, arguments: tuple[str, ...], file_regression: FileRegressionFixture
) -> None:
    before = sorted(desk.iterdir())
    shown = screen(*arguments, cwd=desk)
    assert "Traceback" not in shown
    if "exit 0" not in shown:
        assert sorted(desk.iterdir()) == before, "something was left behind"
    file_regression.check(shown, basename=name)


def test_a_pass_releases_exactly_the_model_that_passed(desk: Path) -> None:
    screen(
        "apply", "digits_mlp.onnx", "-t", "identity", *DATA, "--verify", "-o", "o.onnx", cwd=desk
    )
    assert "exit 0" in screen("check-report", "o.onnx", cwd=desk)
    screen("apply", "digits_mlp.onnx", "-t", "prune-weights:amount=0.01", "-o", "p.onnx", cwd=desk)
    shutil.copy(desk / "p.onnx", desk / "o.onnx")
    shown = screen("check-report", "o.onnx", cwd=desk)
    assert "exit 1" in shown
    assert "FAILED" in shown
