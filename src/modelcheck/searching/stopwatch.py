"""Several nets timed in turn in one process, so that all of them meet the same machine."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.model import Model
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Closing, Workspace
from modelcheck.targets import Engine, FellBack, OpenCV, Target, TargetSession
from modelcheck.verification.memory import Memory, key_of

Arrays = Mapping[str, np.ndarray]
_FEWEST_ROUNDS = 5
_OUTPUTS = "outputs"
_RECALLED_FOR_S = 12 * 3600.0  # a machine is hardly the same a day later


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds a forward in each round; round i of all nets of a race lies side by side."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return median(self.seconds)

    def gain_over(self, other: Times) -> Gain:
        """How much longer the other takes: the median of the rounds' ratios."""
        ratios = [b / a for a, b in zip(self.seconds, other.seconds, strict=True)]
        middle = median(ratios)
        spread = 1.4826 * median(abs(r - middle) for r in ratios)
        return Gain(middle, 1.2533 * spread / len(ratios) ** 0.5)


@dataclass(frozen=True, slots=True)
class Gain:
    """A ratio of times, above 1 where something is faster, with its standard error.

    The error is that of a median of rounds, by their median absolute deviation: for a first look,
    not for a verdict.
    """

    ratio: float
    error: float

    def above(self, errors: float) -> float:
        """What it is more than, by so many standard errors."""
        return self.ratio - errors * self.error


@dataclass(frozen=True, slots=True)
class NotRun:
    """A net that gave no time, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Runner:
    """A net in a race, and the engine that runs it; None: the target's own."""

    model: Model
    engine: Engine | None = None


class Stopwatch(Closing):
    """Races of nets on one target, all in one process, which is started anew where it dies."""

    def __init__(
        self,
        target: Target,
        workspace: Workspace,
        limits: ChildLimits | None,
        *,
        seed: int = 0,
        memory: Memory | None = None,
    ) -> None:
        """`memory` keeps what races gave, so that a search that was ended goes on where it was."""
        self.target = target
        self._workspace, self._limits, self._memory = workspace, limits, memory
        self._random = np.random.default_rng(seed)
        self._session: TargetSession | None = None
        self._asked: set[str] = set()  # races of this run: asked for again they are run again

    def race(
        self,
        runners: Mapping[str, Runner],
        samples: Sequence[Arrays],
        *,
        rounds: int,
        seconds: float,
        anew: bool = False,
    ) -> dict[str, Times | NotRun]:
        """Time every net in each of at most so many rounds, each in a new order.

        It ends early after `seconds`, but not before a few rounds. What refuses a net, or dies of
        it, gives no time and takes nothing from the others. A race that an earlier search ran a few
        hours ago is recalled, unless it shall be run `anew`.
        """
        key = self._key(runners, samples, rounds) if self._memory is not None else ""
        anew = anew or self._memory is None or key in self._asked
        self._asked.add(key)
        known = None if anew else self._recall(key, list(runners))
        if known is not None:
            return known
        found = self._race(runners, samples, rounds, seconds)
        if self._memory is not None:
            self._memory.write_note(key, _as_note(found))
        return found

    def _race(
        self,
        runners: Mapping[str, Runner],
        samples: Sequence[Arrays],
        rounds: int,
        seconds: float,
    ) -> dict[str, Times | NotRun]:
        refused: dict[str, Times | NotRun] = {}
        nets: dict[str, _File] = {}
        for number, (key, runner) in enumerate(runners.items()):
            outputs = [spec.name for spec in runner.model.signature.outputs]
            net = _File(self._workspace.path / f"net{number}.onnx", outputs, runner.engine)
            write_private(runner.model, net.path)
            try:
                self._load(key, net, samples[0])
                nets[key] = net
            except (Unsupported, ContainedFailure) as error:
                refused[key] = NotRun(error.what)
                if self._is_lost(error):
                    self.close()
                    for other, known in nets.items():
                        self._load(other, known, samples[0])
        try:
            found = self._run(list(nets), samples, rounds, seconds) if nets else {}
        except ContainedFailure as error:
            found = dict.fromkeys(nets, NotRun(error.what))
            self.close()
        return {key: refused.get(key) or found[key] for key in runners}

    def outputs(self, runner: Runner, samples: Sequence[Arrays]) -> list[Arrays] | NotRun:
        """What a net gives for these samples."""
        path = self._workspace.path / "outputs.onnx"
        net = _File(path, [spec.name for spec in runner.model.signature.outputs], runner.engine)
        write_private(runner.model, path)
        try:
            self._load(_OUTPUTS, net, samples[0])
            assert self._session is not None
            found = [self._session.forward(arrays, key=_OUTPUTS) for arrays in samples]
            self._session.unload(_OUTPUTS)
        except (Unsupported, ContainedFailure) as error:
            if self._is_lost(error):
                self.close()
            return NotRun(error.what)
        return list(found)

    def opencv(self) -> OpenCV:
        """What answers there."""
        return self._started().opencv()

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    @staticmethod
    def _is_lost(error: Exception) -> bool:
        """Whether the process is of no more use.

        It is where it died, and where a net fell back to another device: OpenCV's log, which says
        so, is the process's, and what is loaded next would be taken to have fallen back, too.
        """
        return isinstance(error, ContainedFailure | FellBack)

    def _key(self, runners: Mapping[str, Runner], samples: Sequence[Arrays], rounds: int) -> str:
        content = hashlib.sha256()
        for arrays in samples:
            for name in sorted(arrays):
                content.update(np.ascontiguousarray(arrays[name]).view(np.uint8).data)
        return key_of(
            race=[[key, r.model.digest, str(r.engine)] for key, r in runners.items()],
            samples=content.hexdigest(), rounds=rounds, target=self.target.name,
            build=self.opencv().build_digest,
        )  # fmt: skip

    def _recall(self, key: str, names: Sequence[str]) -> dict[str, Times | NotRun] | None:
        assert self._memory is not None
        note = self._memory.note(key)
        try:
            kept = json.loads(note or "{}")
            if not 0 <= time.time() - kept["at"] < _RECALLED_FOR_S:
                return None
            found = {
                name: NotRun(value) if isinstance(value, str) else Times(tuple(map(float, value)))
                for name, value in kept["found"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError):  # none, or a damaged one
            return None
        return found if list(found) == list(names) else None

    def _load(self, key: str, net: _File, sample: Arrays) -> None:
        session = self._started()
        session.load(net.path, net.outputs, key=key, engine=net.engine)
        session.forward(sample, key=key)

    def _started(self) -> TargetSession:
        if self._session is None:
            self._session = TargetSession(self.target, name="a stopwatch", limits=self._limits)
        return self._session

    def _run(
        self, keys: Sequence[str], samples: Sequence[Arrays], rounds: int, seconds: float
    ) -> dict[str, Times | NotRun]:
        session = self._session
        assert session is not None
        repeats = session.prepare(samples, keys)
        measured: dict[str, list[float]] = {key: [] for key in keys}
        begin_s = time.monotonic()
        for number in range(rounds):
            if number >= _FEWEST_ROUNDS and time.monotonic() - begin_s > seconds:
                break
            order = [keys[i] for i in self._random.permutation(len(keys))]
            timing = session.block(order, sample=number % len(samples), repeats=repeats)
            for key, one in zip(order, timing.seconds, strict=True):
                measured[key].append(one)
        for key in keys:
            session.unload(key)
        return {key: Times(tuple(taken)) for key, taken in measured.items()}


def _as_note(found: Mapping[str, Times | NotRun]) -> str:
    values = {
        name: one.reason if isinstance(one, NotRun) else one.seconds for name, one in found.items()
    }
    return json.dumps({"at": time.time(), "found": values})


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    outputs: list[str]
    engine: Engine | None


def gains_over(
    watch: Stopwatch, first: Runner, rivals: Sequence[Runner], samples: Sequence[Arrays], *,
    rounds: int, seconds: float,
) -> dict[int, Gain | None]:  # fmt: skip
    """How much faster each rival is than the first net, by its place; None where it does not run.

    Empty where the first net does not run: of the others nothing is known then.
    """
    runners = {"": first} | {str(i): rival for i, rival in enumerate(rivals)}
    times = watch.race(runners, samples, rounds=rounds, seconds=seconds)
    slow = times.pop("")
    if not isinstance(slow, Times):
        return {}
    return {int(i): t.gain_over(slow) if isinstance(t, Times) else None for i, t in times.items()}
