"""How much faster onnxruntime runs the same float nets on this machine: the room that there is.

    python benchmarks/bench_room.py [MODEL...] [--seconds 8]

Without names: the ten nets of bench_search.py. For each, one thread, a process for both engines of
this OpenCV and for onnxruntime, which take turns; medians, and the ratio of the fastest engine's
time to onnxruntime's. A Markdown table. Processors differ in it: one with more vector units helps
onnxruntime more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

from bench_search import TEN
from modelcheck import units
from modelcheck.model import Model
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from zoo import ZooModel, available, zoo

_TURN = """
import sys, time
import cv2, numpy, onnxruntime
path, arrays, runner = sys.argv[1], dict(numpy.load(sys.argv[2])), sys.argv[3]
if runner == "onnxruntime":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    run = lambda: session.run(None, arrays)
else:
    cv2.setNumThreads(1)
    engine = {"classic": cv2.dnn.ENGINE_CLASSIC, "new": cv2.dnn.ENGINE_NEW}[runner]
    net = cv2.dnn.readNetFromONNX(path, engine=engine)
    assert not net.empty()
    names = net.getUnconnectedOutLayersNames()
    def run():
        for name, array in arrays.items():
            net.setInput(array, name)
        net.forward(names)
run()
print(flush=True)
for _ in sys.stdin:
    begin = time.perf_counter()
    run()
    print(time.perf_counter() - begin, flush=True)
"""
_RUNNERS = ("classic", "new", "onnxruntime")
_FEWEST = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=TEN, help="names of models.toml")
    parser.add_argument("--seconds", type=float, default=8.0, help="a model")
    asked = parser.parse_args()
    if not available():
        print("skipped: ../shared/models is absent")
        return
    print("| net | classic | new | onnxruntime | room |", "|---|---|---|---|---|", sep="\n")
    room = []
    for entry in zoo():
        if entry.name in asked.names:
            with tempfile.TemporaryDirectory() as folder:
                found = timed(*files(entry, Path(folder)), asked.seconds)
            ratio = min(found[e] for e in _RUNNERS[:2] if e in found) / found["onnxruntime"]
            room.append(ratio)
            cells = [units.duration(found[r]) if r in found else "–" for r in _RUNNERS]
            print(f"| {entry.name} | {' | '.join(cells)} | {units.ratio(ratio)} |", flush=True)
    print(f"\nGeometric mean: {units.ratio(float(np.exp(np.mean(np.log(room)))))}")


def files(entry: ZooModel, folder: Path) -> tuple[Path, Path]:
    """The model in float32, its weights no inputs, and one sample."""
    original = entry.load()
    path, sample = folder / "model.onnx", folder / "sample.npz"
    write_private(without_weights_as_inputs(as_float32(original)), path)
    arrays = next(iter(entry.samples(original.signature, folder, 3))).arrays
    wide = {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in arrays.items()}
    np.savez(sample, **wide)
    return path, sample


def without_weights_as_inputs(model: Model) -> Model:
    """onnxruntime folds nothing into weights that somebody might feed."""
    edited = model.edit()
    kept = [v for v in edited.graph.inputs if v.name not in edited.graph.initializers]
    edited.graph.inputs[:] = kept
    return Model.freeze(edited, name=model.name)


def timed(path: Path, sample: Path, seconds: float) -> dict[str, float]:
    """The median seconds of each runner, taking turns; what does not run is left out."""
    with ExitStack() as stack:
        lines = {}
        for runner in _RUNNERS:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _TURN, str(path), str(sample), runner], text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline():
                lines[runner] = (process.stdin, process.stdout)
        taken: dict[str, list[float]] = {runner: [] for runner in lines}
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + seconds or len(taken["onnxruntime"]) < _FEWEST:
            for runner, (asked, answered) in lines.items():
                print(file=asked, flush=True)
                taken[runner].append(float(answered.readline()))
    return {runner: median(seconds) for runner, seconds in taken.items()}


if __name__ == "__main__":
    main()
