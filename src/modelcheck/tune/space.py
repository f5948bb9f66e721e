"""What can be varied on a target, and in which order it is tried. Pure.

    engines    one net, OpenCV's own threads
    switches   the engines that are not clearly slower, with Winograd or fusion off
    threads    the same, with fewer threads
    nets       pools of them
    batches    the best of all so far, with several samples a request

Each stage starts from what the stages before have shown, so that a setting is not tried where one
of its parts is clearly slower by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from modelcheck.targets import Engine, NetOptions, OpenCV, Target
from modelcheck.tune.settings import Setting
from modelcheck.tune.tried import Tried, best_first

# A part of a setting that is by itself this much slower than the best is not combined further.
CLEARLY_SLOWER = 1.35
_SWITCHES = (NetOptions(winograd=False), NetOptions(fusion=False))
_BATCHES = (2, 4, 8)
_MOST_BATCH_BYTES = 64 << 20
_KEPT = 3  # engines and settings that go on into the next stage


@dataclass(frozen=True, slots=True)
class Space:
    """The values of each axis on one target. What the target pins has that value alone."""

    default: Setting
    engines: tuple[Engine, ...]  # beside the default's
    threads: tuple[int, ...]  # fewer than OpenCV's own
    cpus: int
    batches: tuple[int, ...]

    @property
    def most_in_flight(self) -> int:
        """Samples that the largest pool with the largest batch works on."""
        nets = (n for t in (self.default.target.threads or self.cpus, *self.threads)
                for n in self.net_counts(t))  # fmt: skip
        return max(nets, default=1) * max(self.batches, default=1)

    def net_counts(self, threads: int) -> tuple[int, ...]:
        """Pools that fill the cores, or have a little more than that to do."""
        full = max(1, self.cpus // threads)
        return tuple(sorted({n for n in (full, full + 1, 2 * full) if n > 1}))


def space_of(target: Target, opencv: OpenCV, batchable: bool, sample_bytes: int) -> Space:
    """The axes on a target, which pins the engine and the threads that it names."""
    default = default_setting(target, opencv)
    engines: tuple[Engine, ...] = ()
    if default.target.engine is Engine.AUTO and len(opencv.engines) > 1:
        engines = (Engine.NEW, Engine.CLASSIC)
    threads: tuple[int, ...] = ()
    if target.threads is None and target.device.is_cpu:
        powers = (2**k for k in range(16))
        threads = tuple(t for t in powers if t < opencv.threads)
    batches: tuple[int, ...] = ()
    if batchable:
        batches = tuple(b for b in _BATCHES if b * sample_bytes <= _MOST_BATCH_BYTES)
    # OpenCV's own number is that of the cores it may use; elsewhere it says nothing of the device.
    return Space(default, engines, threads, max(1, opencv.threads), batches)


def default_setting(target: Target, opencv: OpenCV) -> Setting:
    """What a program does that sets nothing but what the target pins."""
    if not target.device.is_cpu and target.engine is Engine.AUTO and len(opencv.engines) > 1:
        # OpenCV's new engine runs on the CPU only, so that `auto` would not get there.
        target = replace(target, engine=Engine.CLASSIC)
    return Setting(replace(target, optional=False))


def engine_settings(space: Space, actual: str) -> list[Setting]:
    """The other engines; `actual` is the one that holds the default's net."""
    default = space.default
    return [
        replace(default, target=replace(default.target, engine=engine))
        for engine in space.engines
        if engine != actual
    ]


def switch_settings(tried: Sequence[Tried]) -> list[Setting]:
    """The engines that are worth it, with each switch off."""
    return [replace(s, options=options) for s in _worth_it(tried) for options in _SWITCHES]


def thread_settings(space: Space, tried: Sequence[Tried]) -> list[Setting]:
    """The engines and switches that are worth it, with fewer threads."""
    return [
        replace(s, target=replace(s.target, threads=threads))
        for s in _worth_it(t for t in tried if _is_single(t.setting))
        for threads in space.threads
    ]


def pool_settings(space: Space, tried: Sequence[Tried]) -> list[Setting]:
    """Pools of what is worth it by itself, compared among those of as many threads."""
    found = []
    single = [t for t in tried if _is_single(t.setting)]
    for threads in dict.fromkeys(t.setting.target.threads for t in single):
        alike = [t for t in single if t.setting.target.threads == threads]
        for setting in _worth_it(alike)[:2]:
            counts = space.net_counts(threads or space.cpus)
            found += [replace(setting, nets=n) for n in counts]
    return found


def batch_settings(space: Space, tried: Sequence[Tried]) -> list[Setting]:
    """The settings of most throughput so far, and the best single net, with larger requests."""
    best = best_first(tried, "throughput")
    chosen = [t.setting for t in best[:2]]
    chosen += [t.setting for t in best if _is_single(t.setting)][:1]
    distinct = dict.fromkeys(chosen)
    return [replace(s, batch=b) for b in space.batches for s in distinct]


def _worth_it(tried: Iterable[Tried]) -> list[Setting]:
    """The best few, best first, without those that are clearly slower than the best."""
    ranked = best_first(list(tried), "latency")
    near = [t for t in ranked if t.latency_gain * CLEARLY_SLOWER >= ranked[0].latency_gain]
    return [t.setting for t in near[:_KEPT]]


def _is_single(setting: Setting) -> bool:
    return setting.nets == setting.batch == 1
