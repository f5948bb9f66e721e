"""Worker processes that hold pools of several settings, one process a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from modelcheck.judge import NoiseFloor
from modelcheck.judge.serving import Stretch
from modelcheck.process import ChildLimits, Closing, Workspace
from modelcheck.targets import OpenCV, Placement, Target, check_share
from modelcheck.targets.pool import PoolRun, PoolSession
from modelcheck.tune.rightness import Expected
from modelcheck.tune.settings import Setting
from modelcheck.verification.equivalence import Kept
from modelcheck.verification.floors import Ground, Measurement, Meter
from modelcheck.verification.placing import with_share

# Long enough that starting and ending threads is lost in it.
_SHORTEST_S = 0.05
_PROOF = "placement"


class Workbench(Closing):
    """Loads, runs and measures settings. Those of one device and interpreter share a process.

    Every method raises as TargetSession does. A process that died is started anew when the next
    setting is loaded there.
    """

    def __init__(
        self,
        path: Path,
        expected: Expected,
        *,
        name: str,
        limits: ChildLimits | None,
        macs: Mapping[str, int] | None = None,
        max_fallback: float = 0.0,
    ) -> None:
        """At most `max_fallback` of the MACs, which `macs` has by layer, may run on the CPU."""
        self._path, self._expected = path, expected
        self._outputs = [spec.name for spec in expected.model.signature.outputs]
        self._name, self._limits = name, limits
        self._macs, self._max_fallback = macs, max_fallback
        self._sessions: dict[Target, PoolSession] = {}

    def opencv(self, place: Target) -> OpenCV:
        return self._session(place).opencv()

    def load(self, setting: Setting, key: str) -> Placement:
        """Make the setting's pool; its placement, proven."""
        session = self._session(setting.place)
        placement = session.load_pool(self._path, self._outputs, setting.pool, key=key)
        if not setting.target.device.is_cpu:
            session.load(self._path, self._outputs, key=_PROOF, engine=setting.target.engine)
            placement = session.prove(self._expected.samples[0].arrays, key=_PROOF)
            session.unload(_PROOF)
            placement = with_share(placement, self._macs)
            check_share(placement, self._max_fallback)
        return placement

    def run(self, setting: Setting, key: str, *, samples: int | None = None) -> PoolRun:
        """The outputs of the first samples, or of all, from all nets at the same time."""
        count = len(self._expected.samples) if samples is None else samples
        return self._session(setting.place).run_pool(-(-count // setting.batch), key=key)

    def measure(self, setting: Setting, key: str, seconds: float) -> Stretch:
        """One stretch of the busy pool."""
        timing = self._session(setting.place).measure_pool(max(seconds, _SHORTEST_S), key=key)
        return Stretch(timing.latency_s, timing.samples_per_s)

    def noise_floors(self, setting: Setting, kept: Sequence[Kept]) -> Iterator[NoiseFloor]:
        """How far equivalent models lie apart with this engine and these switches."""
        ground = Ground.of_kept(self._expected.model, kept)
        with (
            Workspace() as workspace,
            Meter(setting.place, self._limits, setting.options) as meter,
        ):
            measurement = Measurement(
                ground, meter, workspace, 0, half_floats=setting.target.device.is_half
            )
            yield from measurement.floors([setting.target.engine])

    def unload(self, setting: Setting, key: str) -> None:
        self._session(setting.place).unload_pool(key)

    def restart(self, place: Target) -> None:
        """Give up a process that has died; its pools are gone."""
        session = self._sessions.pop(place, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions = {}

    def _session(self, place: Target) -> PoolSession:
        if place not in self._sessions:
            session = PoolSession(place, name=self._name, limits=self._limits)
            self._sessions[place] = session
            session.keep_samples(self._expected.arrays)
        return self._sessions[place]


def stretch_seconds(settings: Sequence[float]) -> float:
    """How long a stretch has to be for requests that take so long: a few of the longest."""
    return max(_SHORTEST_S, 3 * max(settings, default=0.0))
