"""Signatures, and image files that cv2 made in a child process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import BLOB_REFERENCE, write_ppm

from modelcheck.model import Signature, TensorSpec

MakeSignature = Callable[..., Signature]


@pytest.fixture(scope="session")
def signature() -> MakeSignature:
    """signature(x=("float32", (None, 3, 8, 8)), ...): a model's inputs; free dimensions None."""

    def make(**inputs: tuple[str, tuple[int | None, ...] | None]) -> Signature:
        specs = [
            TensorSpec(name, np.dtype(dtype), shape, (None,) * len(shape or ()))
            for name, (dtype, shape) in inputs.items()
        ]
        return Signature(tuple(specs), ())

    return make


@pytest.fixture(scope="session")
def encoded_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of many formats, sizes and depths."""
    folder = tmp_path_factory.mktemp("encoded")
    subprocess.run([sys.executable, BLOB_REFERENCE, "images", folder], check=True)
    return folder


@pytest.fixture
def ppm_folder(tmp_path: Path) -> Path:
    """Twelve different 6x4 images, written without cv2; image i has the red value i."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(12):
        write_ppm(folder / f"{i:02d}.ppm", np.full((4, 6, 3), (i, 2 * i, 3 * i), np.uint8))
    return folder
