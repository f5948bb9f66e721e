"""Where a model shall run."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from modelcheck.errors import UsageError, did_you_mean, printable

_OPTIONAL = "optional"
_MOST_THREADS = 1024
_OPTIONS = ("threads=", "python=", _OPTIONAL)  # what may stand beside an engine


class Device(StrEnum):
    """What cv2.dnn calls backend and target, as one word."""

    CPU = "cpu"
    CPU_FP16 = "cpu-fp16"
    OPENCL = "opencl"
    OPENCL_FP16 = "opencl-fp16"
    CUDA = "cuda"
    CUDA_FP16 = "cuda-fp16"

    @property
    def is_half(self) -> bool:
        """Whether it computes in half floats."""
        return self.endswith("-fp16")

    @property
    def is_cpu(self) -> bool:
        return self in (Device.CPU, Device.CPU_FP16)

    @property
    def is_opencl(self) -> bool:
        return self in (Device.OPENCL, Device.OPENCL_FP16)

    @property
    def is_cuda(self) -> bool:
        return self in (Device.CUDA, Device.CUDA_FP16)

    @property
    def unsteadiness(self) -> float:
        """How far apart, of the scale, two runs of one net on one input may lie.

        Not at all on a CPU. CUDA's libraries sum products in whatever order the GPU is ready:
        seen on an H200, transformers differ from run to run by up to 2e-5, in half floats by 2e-2
        (docs/cuda.md). So they may by what OpenCV's own tests allow there.
        """
        return _UNSTEADINESS.get(self, 0.0)


_UNSTEADINESS = {Device.CUDA: 1e-4, Device.CUDA_FP16: 2e-2}


class Engine(StrEnum):
    """OpenCV 5's two implementations of dnn. `auto` is new, with classic for unknown operators."""

    AUTO = "auto"
    NEW = "new"
    CLASSIC = "classic"


@dataclass(frozen=True, slots=True)
class Target:
    """A place where a model shall run.

    `threads` None leaves OpenCV's own choice. `python` is another interpreter that has numpy and
    cv2, so that one run compares versions of OpenCV. An optional target that is not there is
    skipped and never changes the verdict.
    """

    device: Device = Device.CPU
    engine: Engine = Engine.AUTO
    threads: int | None = None
    python: str | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(
                f"threads={self.threads}: a target needs at least one thread",
                remedy="Leave `threads` out for OpenCV's own choice.",
            )
        if self.threads is not None and self.threads > _MOST_THREADS:
            raise UsageError(
                f"threads={self.threads} is more than any processor has cores",
                remedy=f"A target may have up to {_MOST_THREADS}.",
            )

    @property
    def name(self) -> str:
        """'cpu new, 1 thread'."""
        words = [f"{self.device} {self.engine}"]
        if self.threads is not None:
            words.append(f"{self.threads} thread" + "s" * (self.threads != 1))
        if self.python is not None:
            words.append(self.python)
        return ", ".join(words)

    @classmethod
    def parse(cls, text: str) -> Target:
        """'cpu', 'cpu:new', 'cpu:classic:threads=1', 'cpu:python=/opt/cv4/bin/python:optional'."""
        head, *options = text.split(":")
        target = cls(device=Device(word(Device, head, "device")))
        given: set[str] = set()
        for option in options:
            key, equals, value = option.partition("=")
            kind = key if equals or option == _OPTIONAL else "engine"
            if kind in given:
                raise UsageError(f"'{text}' gives its {kind} twice", where="target")
            given.add(kind)
            if kind == _OPTIONAL and not equals:
                target = replace(target, optional=True)
            elif kind == "threads":
                target = replace(target, threads=_whole_number(value))
            elif kind == "python":
                if not value:
                    raise UsageError(
                        "python= names no interpreter",
                        where="target",
                        remedy="Write for example cpu:python=/opt/cv4/bin/python.",
                    )
                target = replace(target, python=value)
            else:
                target = replace(target, engine=Engine(word(Engine, option, "engine", *_OPTIONS)))
        return target


def word(kind: type[StrEnum], given: str, what: str, *others: str) -> str:
    """The word as it is where `kind` knows it; else an error that names the nearest."""
    known = [str(k) for k in kind]
    if given in known:
        return given
    raise UsageError(
        f"unknown {what} '{printable(given)}'",
        where="target",
        remedy=did_you_mean(given, [*known, *others]) or f"Known: {', '.join([*known, *others])}.",
    )


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise UsageError(
            f"threads={printable(text)} is not a whole number",
            where="target",
            remedy="Write for example cpu:new:threads=1.",
        )
    return int(text)
