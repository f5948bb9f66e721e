"""One way to run a model: what tuning varies, and what a deployment sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelcheck import units
from modelcheck.errors import UsageError
from modelcheck.targets import Engine, NetOptions, Target
from modelcheck.targets.pool import PoolSettings


@dataclass(frozen=True, slots=True)
class Setting:
    """A target with its engine and OpenCV's threads, and the pool of nets that runs there.

    `nets` run side by side, each in a Python thread of its own; a request is a `batch` of samples.
    """

    target: Target
    nets: int = 1
    batch: int = 1
    options: NetOptions = NetOptions()

    @property
    def place(self) -> Target:
        """What decides the process: the device and the interpreter."""
        return replace(self.target, engine=Engine.AUTO, threads=None, optional=False)

    @property
    def pool(self) -> PoolSettings:
        return PoolSettings(
            self.target.engine, self.target.threads, self.nets, self.batch, self.options
        )

    @property
    def name(self) -> str:
        """'cpu new, 1 thread, 2 nets, batch 4, no Winograd'."""
        words = [self.target.name]
        if self.target.threads is None:
            words.append("own threads")
        words.append(units.plural(self.nets, "net"))
        if self.batch > 1:
            words.append(f"batch {self.batch}")
        return ", ".join([*words, *switches(self.options)])


@dataclass(frozen=True, slots=True)
class ServingLimits:
    """What some setting must provably reach; None where nothing is asked."""

    max_latency_s: float | None = None
    min_samples_per_s: float | None = None

    @property
    def declared(self) -> bool:
        return self.max_latency_s is not None or self.min_samples_per_s is not None

    def describe(self) -> str:
        """'latency <= 20.0 ms and throughput >= 100/s'."""
        parts = []
        if self.max_latency_s is not None:
            parts.append(f"latency <= {units.duration(self.max_latency_s)}")
        if self.min_samples_per_s is not None:
            parts.append(f"throughput >= {units.rate(self.min_samples_per_s)}")
        return " and ".join(parts) or "nothing is asked"

    def check_possible(self, most_in_flight: int) -> None:
        """Raise UsageError where no setting could hold both.

        Little's law: samples a second times seconds a request are samples in flight, of which
        the largest pool with the largest batch has `most_in_flight`.
        """
        if self.max_latency_s is None or self.min_samples_per_s is None:
            return
        wanted = self.max_latency_s * self.min_samples_per_s
        if wanted > most_in_flight:
            most = units.rate(most_in_flight / self.max_latency_s)
            raise UsageError(
                f"the limits contradict each other: {self.describe()} keeps "
                f"{wanted:.3g} samples in flight, and no pool here holds more than "
                f"{most_in_flight}",
                where="--min-throughput",
                remedy=f"With that latency at most {most} can be asked for.",
            )


def switches(options: NetOptions) -> list[str]:
    """['no Winograd', 'no fusion'] for those that are off."""
    named = (("Winograd", options.winograd), ("fusion", options.fusion))
    return [f"no {name}" for name, value in named if value is False]
