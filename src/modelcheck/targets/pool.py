"""Several nets of one model in several threads of one worker process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modelcheck.targets.placement import FellBack, Placement
from modelcheck.targets.session import NetOptions, TargetSession
from modelcheck.targets.target import Engine

_PREFIX = "pool "  # pools and single nets are told apart by their keys


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How a pool runs a model: so many nets, each in a thread of its own, fed so many at a time.

    `threads` is OpenCV's own number for the process, None its own choice.
    """

    engine: Engine = Engine.AUTO
    threads: int | None = None
    nets: int = 1
    batch: int = 1
    options: NetOptions = NetOptions()


@dataclass(frozen=True, slots=True)
class Difference:
    """Where one net of a pool gave other bits than the first one, and how far apart they lie.

    `apart` is the largest difference over the output's largest value; -1 where there is none.
    """

    net: int
    request: int
    output: str
    apart: float = -1.0


@dataclass(frozen=True, slots=True)
class PoolRun:
    """The outputs of the pool's first net by request, and where the others differ from them.

    What is rounding on that device is no difference.
    """

    outputs: tuple[Mapping[str, np.ndarray], ...]
    differing: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class PoolTiming:
    """One stretch of a busy pool: the mean time of a request, the samples a second."""

    latency_s: float
    p95_s: float
    samples_per_s: float
    requests: int
    cpu_wall: float  # CPU seconds a second: how many cores it kept busy

    @property
    def seconds_per_sample(self) -> float:
        return 1 / self.samples_per_s


class PoolSession(TargetSession):
    """A worker process that holds pools of nets by key, beside its single nets."""

    def keep_samples(self, samples: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Hand over the samples, all of one shape, that every pool is fed; forgets earlier ones."""
        for i, arrays in enumerate(samples):
            self._request("pool_sample", arrays, first=i == 0)

    def load_pool(
        self, path: Path, outputs: Sequence[str], settings: PoolSettings, *, key: str = "net"
    ) -> Placement:
        """Read a private model file once for each net of the pool.

        Raises as `load` does. What runs elsewhere than on the CPU is proven by `prove`.
        """
        target = replace(self.target, engine=settings.engine, threads=settings.threads)
        return self._read_net(
            "pool_load", path, outputs, _PREFIX + key, target, settings.options,
            nets=settings.nets, batch=settings.batch,
        )  # fmt: skip

    def run_pool(self, requests: int, *, key: str = "net") -> PoolRun:
        """Let every net run the first requests, all nets at the same time.

        A request is a batch of kept samples in their order; the last is filled up from the start.
        """
        answer = self._request("pool_run", key=_PREFIX + key, requests=requests)
        if self.target.device.is_opencl and not answer.fields["launches"]:
            raise FellBack("fell back to the CPU: no kernel ran", where=self.target.name)
        outputs: list[dict[str, np.ndarray]] = [{} for _ in range(answer.fields["requests"])]
        for name, array in answer.arrays.items():
            number, _, output = name.partition(":")
            outputs[int(number)][output] = array
        most = self.target.device.unsteadiness
        found = (Difference(*place) for place in answer.fields["differing"])
        differing = tuple(d for d in found if not 0 <= d.apart <= most)
        return PoolRun(tuple(outputs), differing)

    def measure_pool(self, seconds: float, *, key: str = "net") -> PoolTiming:
        """Keep the pool busy for so long."""
        return PoolTiming(
            **self._request("pool_measure", key=_PREFIX + key, seconds=seconds).fields
        )

    def unload_pool(self, key: str = "net") -> None:
        self._loaded.pop(_PREFIX + key, None)
        self._request("pool_unload", key=_PREFIX + key)
