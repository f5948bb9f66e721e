"""Image files for the tests, written without cv2, and the script that writes the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

BLOB_REFERENCE = Path(__file__).parent / "blob_reference.py"


def write_ppm(path: Path, rgb: np.ndarray) -> None:
    height, width, _ = rgb.shape
    path.write_bytes(b"P6 %d %d 255\n" % (width, height) + rgb.astype(np.uint8).tobytes())
