"""What tests of several packages share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelcheck.testing.runner import Runner


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """One child for onnx's checker and onnxruntime, for the whole session."""
    with Runner() as started:
        yield started


@pytest.fixture
def pocl(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCL on the CPU, which OpenCV takes only if it is told to."""
    if not any(Path("/etc/OpenCL/vendors").glob("pocl*.icd")):
        pytest.skip("there is no PoCL (Debian: pocl-opencl-icd)")
    monkeypatch.setenv("OPENCV_OPENCL_DEVICE", ":CPU:")
    monkeypatch.setenv("OPENCV_DNN_OPENCL_ALLOW_ALL_DEVICES", "1")
