"""The far ends of the pipes run under any Python from 3.8 with numpy and cv2, and nothing else."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "modelcheck"
FILES = [
    "targets/worker.py", "targets/worker_opencl.py", "targets/worker_pool.py",
    "process/frames.py", "process/serve.py", "data/decoder.py",
]  # fmt: skip
# Since 3.9 and later: they parse on 3.8 and fail when they are reached.
NEWER_NAMES = {"removeprefix", "removesuffix", "batched", "pairwise", "bit_count", "cache", "lcm"}


@pytest.mark.parametrize("name", FILES)
class TestFarEnds:
    def tree(self, name: str) -> ast.Module:
        return ast.parse((SOURCE / name).read_text(encoding="utf-8"), feature_version=(3, 8))

    def test_it_is_written_in_the_grammar_of_python_3_8(self, name: str) -> None:
        for node in ast.walk(self.tree(name)):
            assert not isinstance(node, ast.Match)
            assert not (isinstance(node, ast.Attribute) and node.attr in NEWER_NAMES)
            assert not (isinstance(node, ast.keyword) and node.arg == "strict"), "zip(strict=)"

    def test_it_imports_the_standard_library_numpy_and_cv2_only(self, name: str) -> None:
        imported = set()
        for node in ast.walk(self.tree(name)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "relative: it is loaded from its path"
                imported.add(str(node.module).partition(".")[0])
        assert imported <= sys.stdlib_module_names | {"numpy", "cv2"}
        assert "pickle" not in imported

    def test_annotations_of_newer_pythons_are_left_out(self, name: str) -> None:
        """`list[int]` and `X | None` in a signature are evaluated, and fail, on 3.8."""
        for node in ast.walk(self.tree(name)):
            if isinstance(node, (ast.FunctionDef, ast.AnnAssign)):
                text = ast.unparse(node).partition("\n")[0]
                assert "->" not in text
