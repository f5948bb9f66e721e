"""The time of `verify` against the bare forward passes that it needs.

    python benchmarks/bench_verify.py [MODEL...]

The bare run, in one process each, loads what verify loads and runs the same samples: onnxruntime on
the original, cv2 on original and candidate, one after the other, with the inputs ready in memory.
Verify decodes the images, starts its processes, compares and judges. Goal: at most 1.3x.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from measure import cost_of, interleaved, report
from modelcheck.data import open_samples
from zoo import DATA, available, zoo

_COUNT = 100
_BARE = """
import sys, numpy as np, cv2, onnxruntime
model, data, out = sys.argv[1:4]
x = np.load(data)
outputs = sys.argv[4:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
for i in range(len(x)):
    session.run(None, {name: x[i:i+1]})
for _ in range(2):
    net = cv2.dnn.readNetFromONNX(model, engine=2)
    for i in range(len(x)):
        net.setInput(x[i:i+1])
        net.forward(outputs)
"""


def main() -> None:
    if not available():
        print("skipped: ../shared/models is absent")
        return
    names = sys.argv[1:] or ["yolox_nano", "ultraface_rfb_320", "prisma_seg"]
    for model in (m for m in zoo() if m.name in names):
        with tempfile.TemporaryDirectory() as folder:
            loaded = model.load()
            settings = model.data(Path(folder), _COUNT)
            samples = open_samples(
                settings.path, loaded.signature, preprocessing=settings.preprocessing, count=_COUNT
            )
            name = loaded.signature.inputs[0].name
            arrays = np.concatenate([s.arrays[name] for s in samples])
            np.save(Path(folder) / "x.npy", arrays)
            outputs = [o.name for o in loaded.signature.outputs]
            bare = [
                sys.executable,
                "-c",
                _BARE,
                str(model.path),
                str(Path(folder) / "x.npy"),
                "",
                *outputs,
            ]
            ours = _verify(model.path, settings.preprocessing, model.facts["data"])
            costs = interleaved(
                {"verify": lambda: cost_of(ours), "bare forward passes": lambda: cost_of(bare)},  # noqa: B023
                rounds=3,
            )
        title = f"verify {model.name}, {len(arrays)} images (goal: 1.3x the bare passes)"
        report(title, costs, of="verify", to="bare forward passes")


def _verify(path: Path, how: object, data: str) -> list[str]:
    tool = str(Path(sys.executable).with_name("modelcheck"))
    size = f"{how.size[0]}x{how.size[1]}"  # type: ignore[attr-defined]
    command = [
        tool, "verify", str(path), str(path), "--data", str(DATA / data), "--count", str(_COUNT),
        "--size", size, "--resize", how.resize, "--target", "cpu:new",  # type: ignore[attr-defined]
        "--checks", "equivalence", "--quiet",
        "--rgb" if how.rgb else "--bgr",  # type: ignore[attr-defined]
    ]  # fmt: skip
    for option in ("mean", "std"):
        value = getattr(how, option)
        values = value if isinstance(value, tuple) else (value,)
        command += [f"--{option}", ",".join(map(str, values))]
    return command


if __name__ == "__main__":
    main()
