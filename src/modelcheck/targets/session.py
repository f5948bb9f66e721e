"""One model on one target, in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modelcheck.errors import Crashed, Unsupported, printable
from modelcheck.process import Answer, Child, ChildLimits, Closing, Refused
from modelcheck.targets import nvidia
from modelcheck.targets.placement import (
    FellBack,
    NotProven,
    OpenCLDevice,
    Placement,
    TracedLayer,
    dumped_layers,
    net_fallback,
    place_on_cpu,
    place_on_cuda,
    place_on_opencl,
    raise_for,
)
from modelcheck.targets.target import Engine, Target
from modelcheck.targets.worker_opencl import TRACE_ENVIRONMENT

_WORKER = Path(__file__).with_name("worker.py")
_ENVIRONMENT = {
    # The new engine's warnings about requests that it ignores are the proof that it did.
    "OPENCV_LOG_LEVEL": "WARNING",
    # A target says which engine and backend are meant; these would overrule it unseen.
    "OPENCV_FORCE_DNN_ENGINE": None,
    "OPENCV_DNN_BACKEND_DEFAULT": None,
}
# Only there does OpenCV say which layers leave CUDA for the CPU.
_CUDA_ENVIRONMENT = {**_ENVIRONMENT, "OPENCV_LOG_LEVEL": "INFO"}
_WARM_UP_RUNS = 3
_PLACEMENT_LOG_BYTES = 16 << 20  # one INFO line a layer, and a few more
# What OpenCV says without CUDA in its build, and with it but without a device.
_NO_CUDA = (
    (
        "IS_DNN_CUDA_TARGET(preferableTarget)",
        "this OpenCV is built without CUDA",
        "Build opencv-contrib-python with CUDA and cuDNN from its source package (docs/cuda.md), "
        "and name that interpreter: python=….",
    ),
    (
        "Gpu API call",
        "CUDA finds no usable device: {}",
        "See that the NVIDIA driver works (nvidia-smi) and is as new as the CUDA of this build.",
    ),
)
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
    build_digest: str  # of what OpenCV says of its build


@dataclass(frozen=True, slots=True)
class Build:
    """What matters of how an OpenCV was built, in its own words; empty where it has it not."""

    cuda: str
    cudnn: str
    opencl: str | None  # the device it would take
    features: str  # of the CPU: '*' marks those that it uses where they are


@dataclass(frozen=True, slots=True)
class Timing:
    """One block: seconds a forward in the order asked for, and CPU time over wall time."""

    seconds: tuple[float, ...]
    cpu_wall: float


@dataclass(frozen=True, slots=True)
class NetOptions:
    """Switches of a cv2.dnn.Net; None leaves OpenCV's own choice."""

    winograd: bool | None = None
    fusion: bool | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a key stands for."""

    request: Mapping[str, Any]
    target: Target  # with the engine that was asked for
    engine: str  # the one that holds the net
    load_s: float | None  # not measured for a pool


class TargetSession(Closing):
    """A worker process that holds one or more nets by key. Use as a context manager.

    `load` and `forward` raise TargetRefused where cv2 says no, and ContainedFailure where the
    process died, hung or ran out of memory.
    """

    def __init__(self, target: Target, *, name: str, limits: ChildLimits | None = None) -> None:
        self.target = target
        self._limits = _device_limits(target, limits)
        self._loaded: dict[str, _Loaded] = {}
        try:
            self._child = Child(
                _WORKER, name=f"{name} on {target.name}", python=target.python,
                limits=self._limits, environment=environment(target),
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
            said["threads"], said["cpus"], said["build_digest"],
        )  # fmt: skip

    def build(self) -> Build:
        """How this OpenCV was built, and the OpenCL device that it would take."""
        said = self._request("build", timeout_s=self._limits.start_s).fields
        lines = [line.strip() for line in said["information"].splitlines()]
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        device = said["opencl"]
        return Build(
            cuda=_yes(facts.get("NVIDIA CUDA", "")),
            cudnn=_yes(facts.get("cuDNN", "")),
            opencl=None if device is None else f"{device['name']}, {device['version']}",
            features=said["features"],
        )

    def load(
        self,
        path: Path,
        outputs: Sequence[str],
        *,
        key: str = "net",
        engine: Engine | None = None,
        options: NetOptions = NetOptions(),
    ) -> Placement:
        """Read a private model file; where it will run, with the proof.

        What runs on another device than the CPU is not proven by loading: see `prove`. `engine`
        is for a baseline that runs on another engine than the target's.
        Raises FellBack where OpenCV's log already says that it will run elsewhere.
        """
        target = replace(self.target, engine=engine or self.target.engine)
        return self._read_net("load", path, outputs, key, target, options)

    def prove(self, arrays: Mapping[str, np.ndarray], *, key: str = "net") -> Placement:
        """Run a loaded net until it is known where it runs; the placement with its proof.

        Raises FellBack where it ran elsewhere, NotProven where nothing shows that it did not.
        """
        loaded = self._loaded[key]
        target = loaded.target
        if target.device.is_cpu:
            return place_on_cpu(target, loaded.engine, self._log())
        for _ in range(2):  # the first one compiles kernels, and tunes them by launching more
            self.send(arrays, key=key)
            launches = int(self._receive().fields["launches"])
        if target.device.is_opencl:
            return self._prove_opencl(loaded, arrays, launches)
        return self._prove_cuda(loaded, key)

    def _prove_cuda(self, loaded: _Loaded, key: str) -> Placement:
        said = self._request("cuda", key=key).fields
        use = []
        pid = self._child.pid
        if pid is not None and (seen := nvidia.use_of_device(pid)) is not None:
            use.append(f"NVML lists the process on {seen}")
        if said["context"]:
            use.append("the process has an active CUDA context")
        layers = dumped_layers(said["dump"])
        return place_on_cuda(loaded.target, loaded.engine, layers, use, self._log())

    def _prove_opencl(
        self, loaded: _Loaded, arrays: Mapping[str, np.ndarray], launches: int
    ) -> Placement:
        said = self._request("opencl").fields["device"]
        device = None if said is None else OpenCLDevice(**said)
        layers: list[TracedLayer] = []
        if launches:
            patience_s = max(self._limits.start_s, self._limits.request_s)
            with Child(
                _WORKER, name=f"the tracer on {self.target.name}", python=self.target.python,
                limits=self._limits, environment={**environment(self.target), **TRACE_ENVIRONMENT},
            ) as tracer:  # fmt: skip
                try:
                    tracer.request("load", key="net", timeout_s=patience_s, **loaded.request)
                    traced = tracer.request("layers", arrays, key="net", timeout_s=patience_s)
                except Refused as error:
                    raise NotProven(
                        f"placement not proven: {_first_line(error.what)}", where=self.target.name
                    ) from error
                layers = [TracedLayer(*layer) for layer in traced.fields["layers"]]
        return place_on_opencl(loaded.target, loaded.engine, device, launches, layers, self._log())

    def send(self, arrays: Mapping[str, np.ndarray], *, key: str = "net") -> None:
        """Start a forward; pair it with `receive`, so that several processes work at a time."""
        self._child.send("forward", arrays, key=key)

    def receive(self) -> dict[str, np.ndarray]:
        """The outputs by the model's own names.

        Raises FellBack where a forward on OpenCL launched no kernel.
        """
        answer = self._receive()
        if self.target.device.is_opencl and not answer.fields["launches"]:
            raise FellBack("fell back to the CPU: a forward ran no kernel", where=self.target.name)
        return answer.arrays

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
        if self.target.device.is_opencl and not said["launches"]:
            raise FellBack("fell back to the CPU: no kernel ran", where=self.target.name)
        return dict(said["repeats"])

    def block(self, order: Sequence[str], *, sample: int, repeats: Mapping[str, int]) -> Timing:
        """Time forwards of nets in the given order, on one of the prepared samples."""
        said = self._request(
            "block", order=list(order), sample=sample, repeats=dict(repeats)
        ).fields
        return Timing(tuple(said["seconds"]), said["cpu_wall"])

    def unload(self, key: str) -> None:
        self._loaded.pop(key, None)
        self._request("unload", key=key)

    def close(self) -> None:
        self._child.close()

    def _read_net(
        self,
        op: str,
        path: Path,
        outputs: Sequence[str],
        key: str,
        target: Target,
        options: NetOptions,
        **more: Any,
    ) -> Placement:
        """Let the worker read a model with the engine and the threads of `target`."""
        request: dict[str, Any] = {
            "path": str(path.absolute()), "engine": target.engine, "device": target.device,
            "threads": target.threads or 0, "outputs": list(outputs),
            "winograd": options.winograd, "fusion": options.fusion, **more,
        }  # fmt: skip
        patience_s = max(self._limits.start_s, self._limits.request_s)
        said = self._request(op, key=key, timeout_s=patience_s, **request).fields
        actual = str(said["engine"])
        if target.engine is not Engine.AUTO and actual != target.engine:
            remedy = "OpenCV before 5.0 has no new engine." if target.engine is Engine.NEW else None
            raise TargetRefused(
                f"cv2 loaded it with the {actual} engine instead",
                where=self.target.name, remedy=remedy,
            )  # fmt: skip
        self._loaded[key] = _Loaded(request, target, actual, said.get("load_s"))
        log = self._log()
        if target.device.is_cpu:
            return place_on_cpu(target, actual, log)
        raise_for(target, net_fallback(log))
        return Placement(target.name, f"{target.device} {actual}")

    def _log(self) -> str:
        return self._child.log_tail(_PLACEMENT_LOG_BYTES)

    def _receive(self) -> Answer:
        try:
            # The time runs from here: other processes were waited for since the request.
            return self._child.receive(timeout_s=self._limits.request_s)
        except Refused as error:
            raise self._refusal(error) from error

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
        if self.target.device.is_cuda:
            for text, reason, remedy in _NO_CUDA:
                if text in what:
                    return Unsupported(reason.format(what), where=self.target.name, remedy=remedy)
        if error.kind == "EmptyNet" and (listed := _UNSUPPORTED.search(self._child.log_tail())):
            what += f": {', '.join(listed[1].split())}"
        return TargetRefused(what, where=self.target.name)


def environment(target: Target) -> dict[str, str | None]:
    """What is laid over the environment of a worker for this target."""
    return dict(_CUDA_ENVIRONMENT if target.device.is_cuda else _ENVIRONMENT)


def _device_limits(target: Target, limits: ChildLimits | None) -> ChildLimits:
    return replace(limits or ChildLimits(), addresses_free=not target.device.is_cpu)


def _yes(fact: str) -> str:
    """'YES (ver 13.0, CUFFT CUBLAS)' -> 'ver 13.0, CUFFT CUBLAS'; '' for NO."""
    text = fact.strip()
    return text.removeprefix("YES").strip(" ()") or "yes" if text.startswith("YES") else ""


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
    if reason.startswith("ended with code"):
        return Unsupported(
            f"is no Python that answers: {printable(reason, 300)}",
            where=target.python or "this interpreter",
            remedy="Name a Python 3.8 or newer that has numpy and cv2.",
        )
    module = "numpy" if "No module named 'numpy'" in reason else "cv2"
    return Unsupported(
        f"{module} cannot be imported: {printable(reason, 300)}",
        where=target.python or "this interpreter",
        remedy=remedy,
    )


def _first_line(text: str) -> str:
    """cv2's errors span lines and name the build machine's paths; keep what they say."""
    return printable(_BUILD_PATH.sub("", " ".join(text.split())), 400)
