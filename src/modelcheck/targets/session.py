"""One model on one target, in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcheck.errors import Crashed, Unsupported, printable
from modelcheck.process import Answer, Child, ChildLimits, Closing, Refused
from modelcheck.targets.target import Device, Engine, Placement, Target

_WORKER = Path(__file__).with_name("worker.py")
_ENVIRONMENT = {
    # The new engine's warnings about requests that it ignores are the proof that it did.
    "OPENCV_LOG_LEVEL": "WARNING",
    # A target says which engine and backend are meant; these would overrule it unseen.
    "OPENCV_FORCE_DNN_ENGINE": None,
    "OPENCV_DNN_BACKEND_DEFAULT": None,
}
_WARM_UP_RUNS = 3
_UNSUPPORTED = re.compile(r"Unsupported operations:\n((?:\t.*\n)+)")
_BUILD_PATH = re.compile(r"OpenCV\([^)]*\) \S*:-?\d+: error: ")


class TargetRefused(Unsupported):
    """The target is there, but cannot load or run this model."""


@dataclass(frozen=True, slots=True)
class OpenCV:
    """The OpenCV behind a target."""

    version: str
    engines: tuple[str, ...]
    numpy: str
    python: str
    threads: int
    cpus: int


@dataclass(frozen=True, slots=True)
class Timing:
    """One block: seconds a forward in the order asked for, and CPU time over wall time."""

    seconds: tuple[float, ...]
    cpu_wall: float


class TargetSession(Closing):
    """A worker process that holds one or more nets by key. Use as a context manager.

    `load` and `forward` raise TargetRefused where cv2 says no, and ContainedFailure where the
    process died, hung or ran out of memory.
    """

    def __init__(self, target: Target, *, name: str, limits: ChildLimits | None = None) -> None:
        if target.device is not Device.CPU:
            raise Unsupported(
                f"device '{target.device}' is not supported yet",
                where=target.name,
                remedy="Use cpu, or mark the target optional.",
            )
        self.target = target
        self._limits = limits or ChildLimits()
        self._limits = limits or ChildLimits()
        try:
            self._child = Child(
                _WORKER, name=f"{name} on {target.name}", python=target.python,
                limits=self._limits, environment=_ENVIRONMENT,
            )  # fmt: skip
        except Crashed as error:
            raise Unsupported(
                error.what,
                where=target.python or "this interpreter",
                remedy="Name a Python 3.8 or newer that has numpy and cv2.",
            ) from error

    def opencv(self) -> OpenCV:
        """Versions; Unsupported with the remedy where cv2 or numpy cannot be imported."""
        try:
            said = self._child.request("hello", timeout_s=self._limits.start_s).fields
        except Refused as error:
            raise _no_cv2(error.what, self.target) from error
        except Crashed as error:
            raise _no_cv2(f"{error.native_log}\n{error.what}", self.target) from error
        return OpenCV(
            said["opencv"], tuple(said["engines"]), said["numpy"], said["python"],
            said["threads"], said["cpus"],
        )  # fmt: skip

    def load(
        self,
        path: Path,
        outputs: Sequence[str],
        *,
        key: str = "net",
        engine: Engine | None = None,
    ) -> Placement:
        """Read a private model file; where it will run, with the proof.

        `engine` is for a baseline that runs on another engine than the target's.
        """
        engine = engine or self.target.engine
        said = self._request(
            "load", key=key, path=str(path.absolute()), engine=engine,
            threads=self.target.threads or 0, outputs=list(outputs),
            timeout_s=max(self._limits.start_s, self._limits.request_s),
        ).fields  # fmt: skip
        actual = f"cpu {said['engine']}"
        if engine is Engine.CLASSIC and said["engine"] != "classic":
            raise TargetRefused(f"cv2 loaded it with the {said['engine']} engine instead",
                                where=self.target.name)  # fmt: skip
        if engine is Engine.NEW and said["engine"] != "new":
            raise TargetRefused(f"cv2 loaded it with the {said['engine']} engine instead",
                                where=self.target.name,
                                remedy="OpenCV before 5.0 has no new engine.")  # fmt: skip
        proof = (f"the net reports the {said['engine']} engine", "the device is the CPU")
        return Placement(self.target.name, actual, proof)

    def send(self, arrays: Mapping[str, np.ndarray], *, key: str = "net") -> None:
        """Start a forward; pair it with `receive`, so that several processes work at a time."""
        self._child.send("forward", arrays, key=key)

    def receive(self) -> dict[str, np.ndarray]:
        """The outputs by the model's own names."""
        try:
            # The time runs from here: other processes were waited for since the request.
            return self._child.receive(timeout_s=self._limits.request_s).arrays
        except Refused as error:
            raise self._refusal(error) from error

    def forward(
        self, arrays: Mapping[str, np.ndarray], *, key: str = "net"
    ) -> dict[str, np.ndarray]:
        self.send(arrays, key=key)
        return self.receive()

    def prepare(
        self, samples: Sequence[Mapping[str, np.ndarray]], keys: Sequence[str]
    ) -> dict[str, int]:
        """Hand over samples for timing and warm up; how often a timed run of each net repeats."""
        for i, arrays in enumerate(samples):
            self._request("prepare", arrays, first=i == 0)
        said = self._request("warm_up", keys=list(keys), runs=_WARM_UP_RUNS).fields
        return dict(said["repeats"])

    def block(self, order: Sequence[str], *, sample: int, repeats: Mapping[str, int]) -> Timing:
        """Time forwards of nets in the given order, on one of the prepared samples."""
        said = self._request(
            "block", order=list(order), sample=sample, repeats=dict(repeats)
        ).fields
        return Timing(tuple(said["seconds"]), said["cpu_wall"])

    def unload(self, key: str) -> None:
        self._request("unload", key=key)

    def close(self) -> None:
        self._child.close()

    def _request(
        self, op: str, arrays: Mapping[str, np.ndarray] | None = None, **fields: Any
    ) -> Answer:
        try:
            return self._child.request(op, arrays, **fields)
        except Refused as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Refused) -> Unsupported:
        if error.kind in {"ImportError", "ModuleNotFoundError"}:
            return _no_cv2(error.what, self.target)
        what = _first_line(error.what)
        if error.kind == "EmptyNet" and (listed := _UNSUPPORTED.search(self._child.log_tail())):
            what += f": {', '.join(listed[1].split())}"
        return TargetRefused(what, where=self.target.name)


def _no_cv2(said: str, target: Target) -> Unsupported:
    """cv2 cannot be imported: say which of the usual reasons it is, and the remedy."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "it gives no reason"
    reason = next((line for line in reversed(lines) if "Error" in line), last)
    if any(library in reason for library in ("libGL", "libgthread", "libEGL", "libxcb", "libSM")):
        remedy = "Install opencv-python-headless instead of opencv-python, or the system's libgl1."
    elif "numpy" in reason:
        remedy = "Install a numpy that fits into that interpreter's environment."
    else:
        remedy = "Install it there: pip install opencv-python-headless (4.12 to 5.0)."
    return Unsupported(
        f"cv2 cannot be imported: {printable(reason, 300)}",
        where=target.python or "this interpreter",
        remedy=remedy,
    )


def _first_line(text: str) -> str:
    """cv2's errors span lines and name the build machine's paths; keep what they say."""
    return printable(_BUILD_PATH.sub("", " ".join(text.split())), 400)
