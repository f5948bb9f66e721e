"""What can be had on this machine: every target of every interpreter, tried rather than asked.

cv2's own list of targets proves nothing (it names OpenCL where nets run on the CPU), so a small
net is run on each and its placement proved, as for any model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from modelcheck.errors import ContainedFailure, ModelcheckError, Unsupported
from modelcheck.process import ChildLimits, Workspace
from modelcheck.targets import Build, Device, Engine, OpenCV, Placement, Target, TargetSession

_SIDE, _CHANNELS = 16, 8


@dataclass(frozen=True, slots=True)
class Availability:
    """One target: where a small net ran, or why it did not, and what to do about it."""

    target: Target
    placement: Placement | None = None
    reason: str = ""
    remedy: str = ""

    @property
    def available(self) -> bool:
        return self.placement is not None


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python with its OpenCV. Without `opencv` there is none, for the `reason` given."""

    python: str | None  # None: the one that runs modelcheck
    opencv: OpenCV | None
    build: Build | None
    targets: tuple[Availability, ...]
    reason: str = ""
    remedy: str = ""


def survey(
    pythons: Sequence[str | None], limits: ChildLimits | None = None
) -> Iterator[Interpreter]:
    """Try every target of every interpreter, one interpreter at a time."""
    with Workspace() as workspace:
        path = workspace.path / "small.onnx"
        path.write_bytes(_small_net())
        for python in pythons:
            yield _interpreter(python, path, limits)


def _interpreter(python: str | None, path: Path, limits: ChildLimits | None) -> Interpreter:
    try:
        with TargetSession(Target(python=python), name="the survey", limits=limits) as session:
            opencv, build = session.opencv(), session.build()
    except (Unsupported, ContainedFailure) as error:
        return Interpreter(python, None, None, (), error.what, error.remedy or "")
    engines = [Engine(word) for word in opencv.engines]
    cpu = [Target(engine=engine, python=python) for engine in engines]
    # The new engine runs on the CPU only; `auto` shows what a plain request leads to.
    others = [e for e in engines if e is not Engine.NEW]
    rest = [
        Target(device, engine, python=python)
        for device in Device
        if device is not Device.CPU
        for engine in others
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = tuple(pool.map(lambda target: _try(target, path, limits), [*cpu, *rest]))
    return Interpreter(python, opencv, build, found)


def _try(target: Target, path: Path, limits: ChildLimits | None) -> Availability:
    inputs = {"x": np.linspace(-1, 1, 3 * _SIDE * _SIDE, dtype=np.float32)}
    inputs["x"] = inputs["x"].reshape(1, 3, _SIDE, _SIDE)
    named = replace(target, python=None)
    try:
        with TargetSession(target, name="a small net", limits=limits) as session:
            session.load(path, ["y"])
            return Availability(named, session.prove(inputs))
    except ModelcheckError as error:
        return Availability(named, None, error.what, error.remedy or "")


def _small_net() -> bytes:
    """Conv and ReLU: what every device has code for."""
    weights = np.linspace(-1, 1, _CHANNELS * 3 * 9, dtype=np.float32).reshape(_CHANNELS, 3, 3, 3)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        "small",
        [value("x", TensorProto.FLOAT, [1, 3, _SIDE, _SIDE])],
        [value("y", TensorProto.FLOAT, [1, _CHANNELS, _SIDE, _SIDE])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
