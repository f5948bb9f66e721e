"""What the docs show is run here as it stands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modelcheck.recipe import parse_recipe

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(Path(sys.executable).with_name("modelcheck"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "fixtures", tmp_path / "fixtures")
    return tmp_path


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_first_command_of_the_readme_passes(checkout: Path) -> None:
    command = blocks(README, "sh")[0].strip().split(" && ")[-1]
    words = shlex.split(command)
    assert words[0] == ".venv/bin/modelcheck"
    done = subprocess.run(
        [TOOL, *words[1:]], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED" in done.stdout
    assert (checkout / "digits.onnx").is_file()


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    command = blocks(README, "sh")[1].strip()
    pattern = re.search(r"grep -m1 -E '(.*)' README.md", (ROOT / ".ci" / "run").read_text())
    assert pattern is not None
    found = next(line for line in README.splitlines() if re.search(pattern[1], line))
    assert found == command


def test_the_python_example_of_the_readme_runs(checkout: Path) -> None:
    code = blocks(README, "python")[0]
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True)
    assert (checkout / "digits_pruned.onnx").is_file()


def test_the_policy_of_the_readme_is_valid() -> None:
    recipe = parse_recipe(blocks(README, "toml")[0], file=Path("net.modelcheck.toml"))
    assert len(recipe.models) == 1


@pytest.mark.long
def test_the_complete_recipe_of_the_docs_is_applied_and_verified(checkout: Path) -> None:
    recipe = checkout / "fixtures" / "docs.toml"
    recipe.write_text(blocks(RECIPES, "toml")[0], encoding="utf-8")
    done = subprocess.run(
        [TOOL, "apply", "fixtures/digits_resnet.onnx", "--recipe", str(recipe), "--verify",
         "-o", "o.onnx"],
        cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_the_complete_policy_of_the_metrics_page_passes_in_pytest(checkout: Path) -> None:
    folder = checkout / "fixtures"
    (folder / "digits.modelcheck.toml").write_text(blocks(METRICS, "toml")[0], encoding="utf-8")
    (folder / "test_digits.py").write_text(blocks(METRICS, "python")[0], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


def test_every_policy_of_the_metrics_page_is_valid_and_names_every_kind() -> None:
    from modelcheck.judge.metrics import FUNCTION, KINDS

    for text in blocks(METRICS, "toml"):
        assert parse_recipe(text, file=Path("net.toml")).targets[0].limits.metrics
    for kind in KINDS:
        assert kind == FUNCTION or f"`{kind}`" in METRICS


@pytest.mark.long
def test_the_example_of_the_history_releases_twice_and_shows_both(checkout: Path) -> None:
    commands = blocks((ROOT / "docs" / "history.md").read_text(encoding="utf-8"), "sh")[0]
    environment = {k: v for k, v in os.environ.items() if k != "MODELCHECK_LEDGER"}
    for command in commands.strip().splitlines():
        words = shlex.split(command)
        done = subprocess.run(
            [TOOL, *words[1:]], cwd=checkout, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS") == 2


def test_every_key_of_the_schema_is_in_the_complete_recipe() -> None:
    from modelcheck.recipe import schema

    example = blocks(RECIPES, "toml")[0]
    tables = (schema.DataTable, schema.PreprocessingTable, schema.TargetTable, schema.LimitsTable)
    for table in tables:
        for key in table.model_fields:
            assert re.search(rf"\b{key.replace('_', '-')}\b", example), f"{table.__name__}.{key}"


def test_the_page_of_known_faults_is_the_table() -> None:
    """When this fails: python benchmarks/known_faults.py"""
    from known_faults import page

    assert (ROOT / "docs" / "known-faults.md").read_text(encoding="utf-8") == page()
