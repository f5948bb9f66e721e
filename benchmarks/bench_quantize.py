"""quantize on 100 images of yolox_nano: min-max against onnxruntime's quantize_static, and the
other ways to calibrate against min-max.

    python benchmarks/bench_quantize.py

Both read the same image files, preprocessed alike, and write a QDQ model; each run is a fresh
process with whatever children it has. Goals: min-max no slower than onnxruntime's, and in less
memory; the other ways within 1.5x of its time and 1.2x of its memory.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from measure import cost_of, interleaved, report
from zoo import DATA, available, zoo

_WAYS = ("minmax", "percentile", "mse", "entropy", "average")
_THEIRS = """
import sys, pathlib, cv2, numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
class Reader(CalibrationDataReader):
    def __init__(self, folder):
        self.files = iter(sorted(pathlib.Path(folder).iterdir())[:100])
        self.how = cv2.dnn.Image2BlobParams()
        self.how.size = (416, 416)
        self.how.paddingmode = cv2.dnn.DNN_PMODE_LETTERBOX
        self.how.borderValue = (114, 114, 114, 114)
    def get_next(self):
        file = next(self.files, None)
        if file is None:
            return None
        return {"images": cv2.dnn.blobFromImageWithParams(cv2.imread(str(file)), self.how)}
model, folder, out = sys.argv[1:]
quantize_static(model, out, Reader(folder), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)
"""


def main() -> None:
    if not available():
        print("skipped: ../shared/models is absent")
        return
    model = next(m for m in zoo() if m.name == "yolox_nano")
    tool = str(Path(sys.executable).with_name("modelcheck"))
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out.onnx")
        theirs = [sys.executable, "-c", _THEIRS, str(model.path), str(DATA / "coco_val100"), out]
        runs = {way: partial(cost_of, _ours(tool, model.path, way, out)) for way in _WAYS}
        costs = interleaved({**runs, "onnxruntime": partial(cost_of, theirs)}, rounds=3)
    report(
        "quantize min-max, yolox_nano, 100 images (goal: no slower, less memory)",
        costs, of="minmax", to="onnxruntime",
    )  # fmt: skip
    for way in _WAYS[1:]:
        report(f"{way} (goal: 1.5x the time, 1.2x the memory)", costs, of=way, to="minmax")


def _ours(tool: str, model: Path, way: str, out: str) -> list[str]:
    return [
        tool, "apply", str(model), "-t", f"quantize:form=qdq,calibration={way}",
        "--calibration-data", str(DATA / "coco_val100"), "--size", "416x416",
        "--resize", "letterbox", "--pad-value", "114", "--force", "--quiet", "-o", out,
    ]  # fmt: skip


if __name__ == "__main__":
    main()
