"""What a model costs in a process of its own: each forward, the first one, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelcheck.targets.placement import FellBack
from modelcheck.targets.session import TargetSession


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a worker process."""

    resident_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Runs:
    """Forwards one after the other; CPU and wall time of all together."""

    seconds: tuple[float, ...]
    cpu_s: float
    wall_s: float


class MeteredSession(TargetSession):
    """A worker process that measures one net: `load`, `first_forward_s`, `prepare`, `measure`."""

    def load_s(self, key: str = "net") -> float:
        """How long it took to read the loaded net, in seconds."""
        seconds = self._loaded[key].load_s
        assert seconds is not None
        return seconds

    def first_forward_s(
        self, arrays: Mapping[str, np.ndarray], *, key: str = "net", timeout_s: float | None = None
    ) -> float:
        """Seconds of the first forward of a net; raises FellBack where it launched no kernel."""
        said = self._request("first", arrays, key=key, timeout_s=timeout_s).fields
        if self.target.device.is_opencl and not said["launches"]:
            raise FellBack("fell back to the CPU: a forward ran no kernel", where=self.target.name)
        return float(said["seconds"])

    def measure(
        self, seconds: float, *, least: int, most: int, sample: int = 0, key: str = "net"
    ) -> Runs:
        """Time single forwards for so long, and at least and at most so many of them.

        On one of the prepared samples. The clock includes handing over the inputs (setInput).
        """
        patience_s = seconds + least * self._limits.request_s
        answer = self._request(
            "measure", key=key, sample=sample, seconds=seconds, least=least, most=most,
            timeout_s=patience_s,
        )  # fmt: skip
        times = answer.arrays["seconds"].tolist()
        return Runs(tuple(times), answer.fields["cpu_s"], answer.fields["wall_s"])

    def memory(self) -> Memory:
        said = self._request("memory").fields
        return Memory(said["resident"], said["peak"])
