"""The first look: stage after stage, each setting beside the default, for as long as there is time.

A first look chooses what is worth a proof; it proves nothing and its figures are never printed as
results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge.limits import EquivalenceLimit
from modelcheck.judge.serving import Stretch
from modelcheck.targets import Target
from modelcheck.tune.rightness import Expected, judge_outputs, standing_of
from modelcheck.tune.settings import Setting
from modelcheck.tune.space import (
    Space,
    batch_settings,
    engine_settings,
    pool_settings,
    switch_settings,
    thread_settings,
)
from modelcheck.tune.tried import Standing, Tried, finalists
from modelcheck.tune.workbench import Workbench, stretch_seconds

_DEFAULT = "default"
_CANDIDATE = "candidate"
_LOOKED_AT = 4  # samples of a first look: enough to find an engine that is wrong
_LONGEST_LOOK_S = 0.6
_FINALISTS = 3  # by each measure
_SECOND_LOOKS = 2  # each in fresh processes, which differ in speed


@dataclass
class Exploration:
    """Tries the settings of some spaces. Iterate `run()`; `tried` is the result at any time.

    `make_bench` starts worker processes anew: the best settings get a second look in fresh ones.
    """

    spaces: Sequence[Space]
    expected: Expected
    limit: EquivalenceLimit | None
    make_bench: Callable[[], Workbench]
    deadline_s: float  # of time.monotonic()
    optional: frozenset[Target] = frozenset()  # places that need not be there
    tried: list[Tried] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    actual_engine: str = ""
    default_stretches: list[Stretch] = field(default_factory=list)
    default: Setting = field(init=False)
    out_of_time: bool = False

    @property
    def default_latency_s(self) -> float:
        return median(s.latency_s for s in self.default_stretches)

    @property
    def default_samples_per_s(self) -> float:
        return median(s.samples_per_s for s in self.default_stretches)

    def run(self) -> Iterator[int]:
        """Yields how many settings were tried."""
        with self.make_bench() as bench:
            self._find_default(bench)
            for stage in _STAGES:
                for space in self.spaces:
                    for setting in self._new(stage(self, space)):
                        if self._late():
                            return
                        self.tried.append(self._try(bench, setting))
                        yield len(self.tried)
                if stage is Exploration._engines:
                    self._check_all_there()
        for _ in range(_SECOND_LOOKS):
            with self.make_bench() as bench:
                self._load_default(bench)
                for one in finalists(self.tried, _FINALISTS):
                    if self._late():
                        return
                    self._look_again(bench, one)
                    yield len(self.tried)

    def _find_default(self, bench: Workbench) -> None:
        """The first space's default; where that cannot run, the first engine there that can.

        It is judged like any other: it is the setting that most programs have.
        """
        first = self.spaces[0]
        reason: Unsupported | ContainedFailure | None = None
        engines = [first.default.target.engine, *first.engines]
        for engine in engines:
            target = replace(first.default.target, engine=engine)
            self.default = replace(first.default, target=target)
            try:
                self._load_default(bench)
                self._try_default(bench)
            except (Unsupported, ContainedFailure) as error:
                reason = reason or error
                bench.restart(self.default.place)
                continue
            if reason is not None:
                self.notes.append(
                    f"{first.default.name} cannot run this model ({reason.what}); "
                    f"{self.default.name} stands in for the default"
                )
            return
        assert reason is not None
        raise reason

    def _load_default(self, bench: Workbench) -> None:
        placement = bench.load(self.default, _DEFAULT)
        self.actual_engine = placement.actual.split()[1]

    def _try_default(self, bench: Workbench) -> None:
        run = bench.run(self.default, _DEFAULT, samples=_LOOKED_AT)
        check = judge_outputs(self.expected, self.default, run, self.limit)
        self.default_stretches.append(bench.measure(self.default, _DEFAULT, 0.0))
        standing = _so_far(standing_of(check))
        self.tried.append(Tried(self.default, standing, check.message, 1.0, 1.0))

    def _try(self, bench: Workbench, setting: Setting) -> Tried:
        try:
            bench.load(setting, _CANDIDATE)
            run = bench.run(setting, _CANDIDATE, samples=_LOOKED_AT)
            check = judge_outputs(self.expected, setting, run, self.limit)
            standing = _so_far(standing_of(check))
            if standing is not Standing.RIGHT:
                bench.unload(setting, _CANDIDATE)
                return Tried(setting, standing, check.message)
            gains = self._gains(bench, setting)
            bench.unload(setting, _CANDIDATE)
        except Unsupported as error:
            return Tried(setting, Standing.CANNOT, error.what)
        except ContainedFailure as error:
            bench.restart(setting.place)
            if setting.place == self.default.place:
                self._load_default(bench)
            return Tried(setting, Standing.CANNOT, error.what)
        return Tried(setting, Standing.RIGHT, "", *gains)

    def _look_again(self, bench: Workbench, one: Tried) -> None:
        if one.setting == self.default:
            return
        try:
            bench.load(one.setting, _CANDIDATE)
            gains = self._gains(bench, one.setting)
            bench.unload(one.setting, _CANDIDATE)
        except (Unsupported, ContainedFailure) as error:
            self.tried[self.tried.index(one)] = Tried(one.setting, Standing.CANNOT, error.what)
            bench.restart(one.setting.place)
            if one.setting.place == self.default.place:
                self._load_default(bench)
            return
        self.tried[self.tried.index(one)] = one.seen_again(*gains)

    def _gains(self, bench: Workbench, setting: Setting) -> tuple[float, float]:
        """Latency and throughput, as ratios to the default before and after it."""
        per_request = self.default_latency_s * setting.batch * setting.nets
        seconds = min(stretch_seconds([per_request]), _LONGEST_LOOK_S)
        before, setting_did, after = (
            bench.measure(one, key, seconds)
            for one, key in (
                (self.default, _DEFAULT), (setting, _CANDIDATE), (self.default, _DEFAULT),
            )
        )  # fmt: skip
        self.default_stretches += [before, after]
        latency_s = (before.latency_s * after.latency_s) ** 0.5
        rate = (before.samples_per_s * after.samples_per_s) ** 0.5
        return latency_s / setting_did.latency_s, setting_did.samples_per_s / rate

    def _new(self, settings: list[Setting]) -> list[Setting]:
        known = {t.setting for t in self.tried}
        return [s for s in dict.fromkeys(settings) if s not in known]

    def _late(self) -> bool:
        self.out_of_time = self.out_of_time or time.monotonic() > self.deadline_s
        return self.out_of_time

    def _check_all_there(self) -> None:
        """Raise where nothing at all runs on a target that is not optional."""
        for space in self.spaces:
            here = self._on(space.default.place)
            if space.default.place in self.optional or not here:
                continue
            if all(t.standing is Standing.CANNOT for t in here):
                raise Unsupported(here[0].why, where=space.default.target.name)

    def _on(self, place: Target) -> list[Tried]:
        return [t for t in self.tried if t.setting.place == place]

    def _engines(self, space: Space) -> list[Setting]:
        if space is self.spaces[0]:
            return engine_settings(replace(space, default=self.default), self.actual_engine)
        return [space.default, *engine_settings(space, "")]

    def _switches(self, space: Space) -> list[Setting]:
        return switch_settings(self._on(space.default.place))

    def _threads(self, space: Space) -> list[Setting]:
        return thread_settings(space, self._on(space.default.place))

    def _pools(self, space: Space) -> list[Setting]:
        return pool_settings(space, self._on(space.default.place))

    def _batches(self, space: Space) -> list[Setting]:
        return batch_settings(space, self._on(space.default.place))


_STAGES = (
    Exploration._engines,
    Exploration._switches,
    Exploration._threads,
    Exploration._pools,
    Exploration._batches,
)


def _so_far(standing: Standing) -> Standing:
    """A few samples can only show that a setting is wrong; all are judged before a proof."""
    return Standing.WRONG if standing is Standing.WRONG else Standing.RIGHT
