"""The worker hands cv2 views of memory that the next request overwrites: setInput must copy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from small_nets import save

_SCRIPT = """
import sys
import cv2
import numpy as np

path, engine = sys.argv[1:]
arguments = {"engine": getattr(cv2.dnn, engine)} if hasattr(cv2.dnn, engine) else {}
net = cv2.dnn.readNetFromONNX(path, **arguments)
for type_of in (np.float32, np.float64):
    x = np.ones((1, 3, 8, 8), type_of)
    net.setInput(x, "x")
    x[...] = -1
    for _ in range(2):
        assert net.forward("y").min() == 1, (engine, type_of)
print("copied", end="")
"""


@pytest.mark.parametrize("engine", ["ENGINE_NEW", "ENGINE_CLASSIC"])
def test_cv2_copies_what_setinput_is_given(tmp_path: Path, engine: str) -> None:
    net = save(
        tmp_path / "relu.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        {"x": np.ones((1, 3, 8, 8), np.float32)},
        ("y",),
    )
    words = [sys.executable, "-c", _SCRIPT, str(net.path), engine]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "copied", done.stderr
