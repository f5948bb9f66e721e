"""How far a candidate's outputs lie from the original's in float64: run in a child process."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx

from modelcheck.testing.float64 import Arrays, Float64

_BARE = Path(__file__).with_name("trust_bare_cv2.py")
COUNTS = 1e-5  # of an output's scale: a fault that moves no output by more is no fault


def movement(original: Path, candidate: Path, data: Path, *, most: int | None = None) -> float:
    """max |Δ| / max |y|, the largest over outputs and samples; y of all samples is the scale.

    Stops at the first sample that shows a fault: from then on it is known to count. `most` bounds
    the samples. Infinite for another shape, a value that is not finite, or no evaluation at all:
    a shape that was moved by a fault may fit nothing behind it.
    """
    samples, expected = _expected(original, data)
    scales = {k: max(float(np.abs(y[k]).max(initial=0)) for y in expected) for k in expected[0]}
    model, worst = Float64(onnx.load(candidate)), 0.0
    for sample, before in list(zip(samples, expected, strict=True))[:most]:
        try:
            after = model.run(sample)
        except Exception as error:  # onnx's evaluation raises whatever NumPy does
            print(f"{candidate.name} cannot be evaluated: {error}", file=sys.stderr)
            return math.inf
        worst = max(worst, *(_moved(before[k], after[k], scales[k]) for k in before))
        if worst > COUNTS:
            break
    return worst


def on_cv2(original: Path, candidate: Path, data: Path, engine: str) -> float:
    """How far OpenCV's own answer for a candidate lies from the original's in float64.

    On the first sample, by a script that knows nothing of modelcheck; infinite where it dies.
    """
    _, expected = _expected(original, data)
    scales = {k: max(float(np.abs(y[k]).max(initial=0)) for y in expected) for k in expected[0]}
    out = candidate.with_name("on-cv2.npz")
    command = [sys.executable, _BARE, candidate, engine, data, out, *scales]
    if subprocess.run(list(map(str, command)), check=False, capture_output=True).returncode:
        return math.inf
    with np.load(out) as found:
        return max(
            _moved(y, found[k].reshape(y.shape) if found[k].size == y.size else found[k], scales[k])
            for k, y in expected[0].items()
        )


def _moved(before: np.ndarray, after: np.ndarray, scale: float) -> float:
    if before.shape != after.shape or not np.isfinite(after).all():
        return np.inf
    error = float(np.abs(after - before).max(initial=0))
    return error / scale if scale else (np.inf if error else 0.0)


@lru_cache(maxsize=1)
def _expected(original: Path, data: Path) -> tuple[list[Arrays], list[Arrays]]:
    """The samples, and what the original makes of them: once a model."""
    with np.load(data) as arrays:
        whole = {name: arrays[name] for name in arrays if name != "labels"}
    count = min(len(array) for array in whole.values())
    samples = [{k: a[i : i + 1] for k, a in whole.items()} for i in range(count)]
    model = Float64(onnx.load(original))
    return samples, [model.run(sample) for sample in samples]
