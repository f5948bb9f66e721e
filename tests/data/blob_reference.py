"""Child process of the tests: makes images, and blobs straight from blobFromImageWithParams.

    python blob_reference.py images FOLDER      a few images of many kinds
    python blob_reference.py blobs JOB OUT      JOB: JSON list of settings; OUT: .npz of blobs

It shares no code with modelcheck: cv2.imread, then one call with the settings written out.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

_EXIF_TURNED = bytes.fromhex(
    "ffe100224578696600004d4d002a00000008000101120003000000010006000000000000"
)


def make_images(folder: Path) -> None:
    random = np.random.default_rng(7)

    def image(height: int, width: int) -> np.ndarray:
        coarse = random.integers(0, 256, (9, 9, 3)).astype(np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    cv2.imwrite(str(folder / "landscape.jpg"), image(48, 97))
    cv2.imwrite(str(folder / "portrait.png"), image(101, 33))
    cv2.imwrite(str(folder / "exact.bmp"), image(24, 32))
    cv2.imwrite(str(folder / "small.webp"), image(7, 9))
    cv2.imwrite(str(folder / "deep.tiff"), image(40, 40).astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "gray.pgm"), image(30, 50)[..., 0])
    alpha = np.dstack([image(30, 44), random.integers(0, 256, (30, 44), np.uint8)])
    cv2.imwrite(str(folder / "alpha.png"), alpha)
    encoded = cv2.imencode(".jpg", image(25, 60))[1].tobytes()
    (folder / "turned.jpeg").write_bytes(encoded[:2] + _EXIF_TURNED + encoded[2:])
    cv2.imwrite(str(folder / "photo.JPG"), image(480, 640))


def make_blobs(job: Path, out: Path) -> None:
    blobs = {}
    for key, task in json.loads(job.read_text()).items():
        flag = cv2.IMREAD_GRAYSCALE if task["gray"] else cv2.IMREAD_COLOR
        params = cv2.dnn.Image2BlobParams()
        params.size = tuple(task["size"])
        params.scalefactor = tuple(1 / s for s in task["std"])
        params.mean = tuple(task["mean"])
        params.swapRB = task["rgb"]
        layouts = cv2 if hasattr(cv2, "DATA_LAYOUT_NCHW") else cv2.dnn
        prefix = "DATA_LAYOUT_" if layouts is cv2 else "DNN_LAYOUT_"
        params.datalayout = getattr(layouts, prefix + task["layout"])
        params.paddingmode = {"stretch": 0, "crop": 1, "letterbox": 2}[task["resize"]]
        params.borderValue = tuple(task["border_bgr"])
        blobs[key] = cv2.dnn.blobFromImageWithParams(cv2.imread(task["image"], flag), params)
    np.savez(out, **blobs)


if __name__ == "__main__":
    if sys.argv[1] == "images":
        make_images(Path(sys.argv[2]))
    else:
        make_blobs(Path(sys.argv[2]), Path(sys.argv[3]))
