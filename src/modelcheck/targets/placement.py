"""Where a model ran, and the proof of it.

cv2.dnn takes a request for another device than the CPU and may run on the CPU without a word
(OpenCV's own log lines, quoted below, say so sometimes). So a placement needs evidence that the
device worked: kernel launches for OpenCL, the process's use of the device for CUDA. What is not
proven is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelcheck.errors import Unsupported, printable
from modelcheck.targets.target import Device, Target
from modelcheck.units import percent

# Layers that move or rename data: none of their work is missing where they launch no kernel.
_MOVES_DATA = frozenset({
    "", "Concat", "Const", "Dropout", "Expand", "Flatten", "Identity", "Padding", "Permute",
    "Reorg", "Reshape", "ShuffleChannel", "Slice", "Split", "Tile",
})  # fmt: skip
_SHOWN_LAYERS = 6
_CUDA_HALF = "CUDA/CUDA_FP16"
_LABEL = re.compile(r'\[label="(?P<body>[^"]*?)(?P<where>(?:CUDA|OCV)/\w+?)\\n[ }]*"')
_LEAVES_CUDA = re.compile(
    r'CUDA backend will fallback to the CPU implementation for the layer "(?P<layer>[^"]*)"'
)


@dataclass(frozen=True, slots=True)
class FallbackLayer:
    """A layer that ran on the CPU, by cv2's name and type."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model ran. Without proof there is no pass.

    `fallback_share` is the part of the MACs that ran elsewhere than asked for, in 0..1; None
    where layers fell back and the share is not known yet.
    """

    requested: str
    actual: str
    proof: tuple[str, ...] = ()
    fallback_layers: tuple[FallbackLayer, ...] = ()
    fallback_share: float | None = 0.0
    simulated: bool = False  # on a device that is a CPU: right or wrong, but no measure of speed

    @property
    def proven(self) -> bool:
        return bool(self.proof)

    @property
    def partial(self) -> bool:
        """Whether some layers ran elsewhere."""
        return bool(self.fallback_layers)


class FellBack(Unsupported):
    """The model ran, but not where it was asked to."""


class NotProven(Unsupported):
    """Nothing shows that the model ran where it was asked to."""


@dataclass(frozen=True, slots=True)
class _LogLine:
    """A line of OpenCV's log that says that the whole net does not run as asked."""

    pattern: re.Pattern[str]
    what: str
    remedy: str


_WHOLE_NET = (
    _LogLine(
        re.compile(r"not supported by the new graph engine"),
        "fell back to the CPU: OpenCV's new engine runs on the CPU only",
        "Ask for the classic engine, or for cpu.",
    ),
    _LogLine(
        re.compile(r"OpenCL target is not supported with current OpenCL device"),
        "fell back to the CPU: OpenCV uses OpenCL on GPUs only, and finds none",
        "To test on a CPU device set OPENCV_OPENCL_DEVICE=:CPU: and "
        "OPENCV_DNN_OPENCL_ALLOW_ALL_DEVICES=1.",
    ),
    _LogLine(
        re.compile(r"fall back to DNN_TARGET_CPU\b"),
        "fell back to float32: only ARM CPUs (v8) compute in half floats",
        "Ask for cpu.",
    ),
    _LogLine(
        re.compile(r"switching to OpenCL with fp32 precision"),
        "fell back to float32: OpenCV uses half floats on Intel's GPUs only",
        "Ask for opencl.",
    ),
    _LogLine(
        re.compile(r"OpenCL target is not available in this OpenCV build"),
        "fell back to the CPU: this OpenCV is built without OpenCL",
        "Use another build of OpenCV, or ask for cpu.",
    ),
    _LogLine(
        re.compile(r"does not support FP16 target; switching to FP32 target"),
        "fell back to float32: the CUDA device does not compute in half floats",
        "Ask for cuda.",
    ),
    _LogLine(
        re.compile(r"(unable to use|not built with) CUDA backend; switching to CPU"),
        "fell back to the CPU: OpenCV cannot use CUDA here",
        "See `modelcheck targets`.",
    ),
    _LogLine(
        re.compile(r"backends support quantized networks|supported by quantized networks"),
        "fell back to the CPU: OpenCV runs quantized nets on the CPU only",
        "Ask for cpu, or leave the model in float.",
    ),
)


def net_fallback(log: str) -> tuple[str, str] | None:
    """What OpenCV's log says about the whole net (what, remedy); None where it says nothing."""
    for line in _WHOLE_NET:
        if line.pattern.search(log):
            return line.what, line.remedy
    return None


@dataclass(frozen=True, slots=True)
class TracedLayer:
    """One layer of a traced forward. A layer that is fused into another is not executed."""

    name: str
    kind: str
    executed: bool
    launches: int

    @property
    def fell_back(self) -> bool:
        """Whether it computed something without the device."""
        return self.executed and not self.launches and self.kind not in _MOVES_DATA


@dataclass(frozen=True, slots=True)
class OpenCLDevice:
    """What OpenCV takes for its OpenCL device. `fp16`: whether it has half floats."""

    name: str
    version: str
    on_cpu: bool
    fp16: bool


def place_on_cpu(target: Target, engine: str, log: str) -> Placement:
    """Proof: what the net reports, and for fp16 that OpenCV's log knows of no fallback.

    Raises FellBack where the log does.
    """
    raise_for(target, net_fallback(log))
    proof = [f"the net reports the {engine} engine", "the device is the CPU"]
    if target.device is Device.CPU_FP16:
        proof.append("OpenCV took the request for half floats, which it declines where it cannot")
    return Placement(target.name, f"{target.device} {engine}", tuple(proof))


def place_on_opencl(
    target: Target,
    engine: str,
    device: OpenCLDevice | None,
    launches: int,
    layers: Sequence[TracedLayer],
    log: str,
) -> Placement:
    """Proof: kernel launches in a forward, and which layers made them.

    Raises FellBack where the whole net ran on the CPU, or in float32 where half was asked for.
    """
    raise_for(target, net_fallback(log))
    if device is None:
        raise FellBack(
            "fell back to the CPU: there is no OpenCL device",
            where=target.name,
            remedy="Install the driver of the GPU with its ICD (Debian: ocl-icd-libopencl1 and the "
            "vendor's package; pocl-opencl-icd for a CPU device).",
        )
    if launches == 0:
        raise FellBack(
            f"fell back to the CPU: {_quoted(device.name)} ran no kernel in a forward",
            where=target.name,
            remedy="OpenCV has no OpenCL code for these layers; ask for cpu.",
        )
    if target.device is Device.OPENCL_FP16 and not device.fp16:
        raise FellBack(
            f"fell back to float32: {_quoted(device.name)} has no half floats (cl_khr_fp16)",
            where=target.name,
            remedy="Ask for opencl, or for another device.",
        )
    fell_back = tuple(FallbackLayer(y.name, y.kind) for y in layers if y.fell_back)
    proof = (
        f"{launches} kernel launches a forward on {printable(device.name)} ({device.version})",
        f"the net reports the {engine} engine",
    )
    share = None if fell_back else 0.0
    actual = f"{target.device} {engine} on {printable(device.name)}"
    return Placement(target.name, actual, proof, fell_back, share, simulated=device.on_cpu)


@dataclass(frozen=True, slots=True)
class DumpedLayer:
    """A layer as Net.dump shows it; `where` is 'CUDA/CUDA', or 'OCV/CUDA' where it fell back."""

    name: str
    kind: str
    where: str


def dumped_layers(dump: str) -> list[DumpedLayer]:
    """The layers in the text of Net.dump (classic engine); fused ones stand in one label.

    The net's input, which computes nothing, is left out.
    """
    layers = []
    for label in _LABEL.finditer(dump):
        where = label["where"]
        for part in label["body"].split(" | "):
            words = part.lstrip("{").split(r"\n")
            if len(words) > 1 and not words[1].startswith("__NetInputLayer"):
                layers.append(DumpedLayer(words[0], words[1], where))
    return layers


def place_on_cuda(
    target: Target, engine: str, layers: Sequence[DumpedLayer], use: Sequence[str], log: str
) -> Placement:
    """Proof: the process's use of a device (`use`, in words), and the net's own dump.

    Raises FellBack where all layers did, or half floats did; NotProven where nothing shows that
    the device was used.
    """
    raise_for(target, net_fallback(log))
    if not use:
        raise NotProven(
            "placement not proven: the process uses no NVIDIA device",
            where=target.name,
            remedy="See that the driver works (nvidia-smi) and that this OpenCV is built with CUDA "
            "(`modelcheck targets`).",
        )
    logged = {match["layer"] for match in _LEAVES_CUDA.finditer(log)}
    working = [layer for layer in layers if layer.kind not in _MOVES_DATA]
    there = [y for y in working if y.where.startswith("CUDA/") and y.name not in logged]
    if not there:
        raise FellBack(
            f"fell back to the CPU: none of {len(working)} layers ran on CUDA",
            where=target.name,
            remedy="Ask for cpu. Quantized nets leave CUDA as a whole.",
        )
    if target.device is Device.CUDA_FP16 and not any(y.where == _CUDA_HALF for y in there):
        raise FellBack(
            "fell back to float32: the device does not compute in half floats",
            where=target.name,
            remedy="Ask for cuda, or for another device.",
        )
    fell_back = tuple(FallbackLayer(y.name, y.kind) for y in working if y not in there)
    share = None if fell_back else 0.0
    proof = (*use, f"the net shows {len(there)} of {len(working)} layers on {there[0].where}")
    return Placement(target.name, f"{target.device} {engine}", proof, fell_back, share)


def check_share(placement: Placement, most: float) -> None:
    """Raises FellBack where more of the MACs ran elsewhere than `most` allows, in 0..1.

    An unknown share is allowed only where any is.
    """
    share = placement.fallback_share
    if not placement.partial or (1.0 if share is None else share) <= most:
        return
    how_much = "an unknown part" if share is None else percent(share)
    raise FellBack(
        f"fell back in part: {how_much} of the MACs ran on the CPU, in {listed_layers(placement)}",
        where=placement.requested,
        remedy=f"At most {most:.0%} may (--max-fallback).",
    )


def listed_layers(placement: Placement) -> str:
    """'3 layers (conv1, conv2, fc)': how many fell back, and the first few by name."""
    names = [layer.name.partition("!")[2] or layer.name for layer in placement.fallback_layers]
    shown = ", ".join(printable(name) for name in names[:_SHOWN_LAYERS])
    more = ", …" if len(names) > _SHOWN_LAYERS else ""
    return f"{len(names)} layer{'s' * (len(names) != 1)} ({shown}{more})"


def raise_for(target: Target, fallback: tuple[str, str] | None) -> None:
    """FellBack, where there is one."""
    if fallback is not None:
        what, remedy = fallback
        raise FellBack(what, where=target.name, remedy=remedy)


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"
