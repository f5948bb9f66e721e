"""What a worker process costs beyond the cv2 that it runs.

    python benchmarks/bench_worker.py

Two figures, each from interleaved runs on a small net with a 1x3x224x224 input:
 - from the start of a worker to its first output, beyond a bare script's import of cv2, reading
   and first forward. Goal: at most 0.5 s.
 - a forward that is asked for from outside, beyond the same forward timed inside the same
   worker. Goal: at most 0.3 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from modelcheck import units
from modelcheck.targets import Engine, Target, TargetSession

_STARTS = 15
_ROUNDS, _FORWARDS = 50, 40  # a round is short, so that some fall into quiet spells
_SHAPE = (1, 3, 224, 224)
_CLASSES = 1_000
# What any program that uses cv2 pays too: prints the seconds from its first line to an output.
_BARE = """
import sys, time
start = time.perf_counter()
import cv2, numpy as np
cv2.setNumThreads(1)
net = cv2.dnn.readNetFromONNX(sys.argv[1], engine=cv2.dnn.ENGINE_NEW)
net.setInput(np.zeros((1, 3, 224, 224), np.float32))
net.forward(["scores"])
print(time.perf_counter() - start)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "small.onnx"
        _save_small_net(model)
        _starting(model)
        _sending(model)


def _starting(model: Path) -> None:
    bare, ours = [], []
    for _ in range(_STARTS):
        bare.append(_bare_start_s(model))
        ours.append(_seconds(lambda: _worker_start(model)))
    print(f"start to first output, {_STARTS} interleaved starts (goal: 0.5 s beyond cv2's own)")
    _print("a worker", ours)
    _print("cv2's own import, load and forward", bare)
    beyond = [a - b for a, b in zip(ours, bare, strict=True)]
    _print("beyond", beyond)


def _sending(model: Path) -> None:
    x = {"image": np.random.default_rng(0).random(_SHAPE, np.float32)}
    asked: list[float] = []
    inside: list[float] = []
    with TargetSession(Target(engine=Engine.NEW, threads=1), name="the worker") as session:
        session.load(model, ["scores"])
        session.prepare([x], ["net"])
        for _ in range(_ROUNDS * _FORWARDS):
            asked.append(_seconds(lambda: session.forward(x)))
            inside += session.block(["net"], sample=0, repeats={"net": 1}).seconds
    print(f"\none forward, {len(asked)} interleaved (goal: 0.3 ms beyond the forward itself)")
    _print("asked for from outside", asked)
    _print("inside the worker", inside)
    beyond = [a - b for a, b in zip(asked, inside, strict=True)]
    _print("beyond", beyond)
    medians = [
        statistics.median(beyond[i : i + _FORWARDS]) for i in range(0, len(beyond), _FORWARDS)
    ]
    print(f"  beyond, in the quietest of {_ROUNDS} rounds: {units.duration(min(medians))}")


def _worker_start(model: Path) -> None:
    with TargetSession(Target(engine=Engine.NEW, threads=1), name="the worker") as session:
        session.load(model, ["scores"])
        session.forward({"image": np.zeros(_SHAPE, np.float32)})


def _bare_start_s(model: Path) -> float:
    command = [sys.executable, "-I", "-c", _BARE, str(model)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _seconds(run: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    run()
    return time.perf_counter() - start_s


def _print(name: str, seconds: Sequence[float]) -> None:
    """The lower quartile is what a busy machine leaves nearest to the truth."""
    low, middle, high = (units.duration(s) for s in statistics.quantiles(seconds, n=4))
    print(f"  {name:36} median {middle:>8}   quartiles {low:>8} to {high}")


def _save_small_net(path: Path) -> None:
    """A forward of a fraction of a millisecond, so that what comes on top is seen clearly."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((8, 3, 4, 4)).astype(np.float32),
        "fc": random.standard_normal((8, _CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "fc"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, _CLASSES))],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


if __name__ == "__main__":
    main()
