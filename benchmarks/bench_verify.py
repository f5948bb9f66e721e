"""The time of `verify` against the bare forward passes that it needs.

    python benchmarks/bench_verify.py [MODEL...]

The bare run, in one process, loads what verify loads and runs the same samples: onnxruntime on
the original, cv2 on original and candidate, one after the other, with the inputs ready in memory.
Verify decodes the images, starts its processes, compares and judges. Goal: at most 1.3x.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from measure import cost_of, interleaved, report
from modelcheck.data import Preprocessing, open_samples
from zoo import DATA, ZooModel, available, zoo

_COUNT = 100
_BARE = """
import sys, numpy as np, cv2, onnxruntime
model, data, threads = sys.argv[1:4]
x = np.load(data)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
for i in range(len(x)):
    session.run(None, {name: x[i:i+1]})
cv2.setNumThreads(int(threads))
for _ in range(2):
    net = cv2.dnn.readNetFromONNX(model, engine=2)
    for i in range(len(x)):
        net.setInput(x[i:i+1])
        net.forward(sys.argv[4:])
"""


def main() -> None:
    if not available():
        print("skipped: ../shared/models is absent")
        return
    os.environ["MODELCHECK_CACHE"] = ""  # every round runs everything
    names = sys.argv[1:] or ["yolox_nano", "fastestdet", "nanotrack_v2_backbone"]
    for model in (m for m in zoo() if m.name in names):
        for threads in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                _compare(model, Path(folder), threads)


def _compare(model: ZooModel, folder: Path, threads: int) -> None:
    loaded = model.load()
    settings = model.data(folder, _COUNT)
    assert settings.preprocessing is not None
    samples = open_samples(
        settings.path, loaded.signature, preprocessing=settings.preprocessing, count=_COUNT
    )
    name = loaded.signature.inputs[0].name
    np.save(folder / "x.npy", np.concatenate([s.arrays[name] for s in samples]))
    outputs = [o.name for o in loaded.signature.outputs]
    bare = [
        sys.executable, "-c", _BARE, str(model.path), str(folder / "x.npy"), str(threads), *outputs,
    ]  # fmt: skip
    ours = _verify(model, settings.preprocessing, threads)
    costs = interleaved(
        {"verify": lambda: cost_of(ours), "bare forward passes": lambda: cost_of(bare)}, rounds=3
    )
    report(
        f"verify {model.name}, {samples.count} images, threads={threads} (goal: 1.3x)",
        costs, of="verify", to="bare forward passes",
    )  # fmt: skip


def _verify(model: ZooModel, how: Preprocessing, threads: int) -> list[str]:
    assert how.size is not None
    command = [
        str(Path(sys.executable).with_name("modelcheck")), "verify", str(model.path),
        str(model.path), "--data", str(DATA / model.facts["data"]), "--count", str(_COUNT),
        "--size", "x".join(map(str, how.size)), "--resize", how.resize,
        "--target", f"cpu:new:threads={threads}", "--checks", "equivalence", "--quiet",
        "--rgb" if how.rgb else "--bgr",
    ]  # fmt: skip
    for option in ("mean", "std"):
        value = getattr(how, option)
        values = value if isinstance(value, tuple) else (value,)
        command += [f"--{option}", ",".join(map(str, values))]
    return command


if __name__ == "__main__":
    main()
