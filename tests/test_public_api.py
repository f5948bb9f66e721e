"""The public names, and what importing them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import modelcheck

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("cv2", "onnxruntime", "hypothesis", "onnx_ir", "onnx", "scipy", "pytest", "numpy", "rich")


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after running the code."""
    code += "\nimport sys; print('\\n'.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize("name", modelcheck.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(modelcheck, name)
    assert (value.__doc__ or "").strip()
    assert value.__module__.startswith("modelcheck")


def test_the_lists_of_names_agree() -> None:
    """The list for users, the table of homes, and the imports that type checkers see."""
    assert list(modelcheck.__all__) == sorted(modelcheck.__all__)
    assert set(modelcheck.__all__) == set(modelcheck._HOME) == set(dir(modelcheck))
    tree = ast.parse(Path(modelcheck.__file__).read_text(encoding="utf-8"))
    seen = {
        (alias.name, str(node.module))
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
        for alias in node.names
        if str(node.module).startswith("modelcheck.")
    }
    assert {name for name, _ in seen} == set(modelcheck._HOME)
    assert all(module.startswith(modelcheck._HOME[name]) for name, module in seen)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        modelcheck.quantise  # noqa: B018


def test_every_transform_of_the_catalogue_can_be_called_by_name() -> None:
    from modelcheck.transforms import CATALOGUE

    assert {name.replace("-", "_") for name in CATALOGUE} <= set(modelcheck.__all__)


def test_importing_modelcheck_is_light() -> None:
    assert not loaded_by("import modelcheck") & set(HEAVY)


def test_using_all_of_it_loads_no_native_engine_and_no_test_tools() -> None:
    parts = ("process", "targets", "recipe", "reference", "report", "gate", "cli")
    code = "from modelcheck import *\n" + "\n".join(f"import modelcheck.{part}" for part in parts)
    assert not loaded_by(code) & {"cv2", "onnxruntime", "hypothesis", "pytest"}


def test_the_pytest_plugin_costs_other_projects_no_heavy_import() -> None:
    """It is loaded by every pytest in the environment, whatever is tested there."""
    assert not loaded_by("import modelcheck.pytest_plugin") & set(HEAVY) - {"pytest"}


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src" / "modelcheck" / "py.typed").is_file()


def test_the_version_installed_is_the_one_in_pyproject() -> None:
    from importlib import metadata

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata.version("modelcheck") == declared["project"]["version"]


def test_steps_that_calibrate_are_as_simple_as_on_the_command_line() -> None:
    model = modelcheck.load(ROOT / "fixtures" / "digits_mlp.onnx")
    samples = modelcheck.open_samples(str(ROOT / "fixtures" / "digits_test.npz"), model.signature)
    with modelcheck.calibrated(samples) as context:
        made = modelcheck.chain(modelcheck.equalize(), modelcheck.quantize())(model, context)
    assert any(name.endswith(".int8") for name in made.weights)
