"""One model and what the peers made of it, judged and raced on cv2 as `modelcheck search` does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modelcheck.data import Sample, Samples, ThreeSets, split_in_three
from modelcheck.errors import ModelcheckError
from modelcheck.judge import Limits, default_limit
from modelcheck.model import Model, load
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Workspace
from modelcheck.reference import open_reference
from modelcheck.searching.looking import compare, holds, worst_agreement, worst_db
from modelcheck.searching.stopwatch import Gain, NotRun, Runner, Stopwatch, Times
from modelcheck.targets import Engine, Target
from modelcheck.tune.rightness import Expected
from zoo import ZooModel

NEW, CLASSIC, OPENCV414 = "5.0 new", "5.0 classic", "4.14"
ENGINES = {NEW: Engine.NEW, CLASSIC: Engine.CLASSIC, OPENCV414: None}
_ROUNDS = 40
_LABELLED = 300  # images at most, where top classes are compared
_RACED = 24  # samples that a race is run on
_LIMITS = ChildLimits(request_s=60.0)


@dataclass(frozen=True)
class Subject:
    """A trained model with its samples in three sets, as a search parts them, and files of them."""

    name: str
    original: Model
    samples: ThreeSets
    as_it_is: Path
    in_float32: Path  # what peers are given: half weights widened, as the reference reads them
    calibration: Path

    @classmethod
    def of(cls, entry: ZooModel, folder: Path, count: int) -> Subject:
        """Calibration samples go into `folder`, whose files are the peers' to read."""
        original = entry.load()
        found = entry.samples(original.signature, folder, count)
        samples = split_in_three(found, None, calibrate=True)
        path, wide = entry.path, as_float32(original)
        if wide.digest != original.digest:
            path = folder / "float32.onnx"
            write_private(wide, path)
        calibration = samples.calibration
        assert calibration is not None
        if entry.labelled:
            samples = replace(samples, verdict=_more(entry, folder / "more", original, samples))
        stored = folder / "calibration.npz"
        write_samples(calibration, stored)
        return cls(entry.name, original, samples, entry.path, path, stored)


def _more(entry: ZooModel, folder: Path, original: Model, samples: ThreeSets) -> Samples:
    """All images that neither calibrate nor choose: a few cannot tell 93 % of classes from 99 %."""
    folder.mkdir()
    images = entry.samples(original.signature, folder, _LABELLED)
    assert samples.calibration is not None
    seen = {*samples.calibration.digests(), *samples.choosing.digests()}
    first = {digest: i for i, digest in reversed(list(enumerate(images.digests())))}
    return images.select(sorted(i for digest, i in first.items() if digest not in seen))


def write_samples(samples: Iterable[Sample], path: Path) -> None:
    """As peers_tools.py reads them; half floats widened, as everyone here takes them."""

    def wide(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float32) if array.dtype == np.float16 else array

    arrays = {f"{i}:{n}": wide(a) for i, s in enumerate(samples) for n, a in s.arrays.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate runs somewhere, and how right it is there."""

    runs: bool
    reason: str = ""
    db: float = float("nan")
    agreement: float | None = None
    right: bool = False


class Trial:
    """The judge and the stopwatch of one subject. Use as a context manager."""

    def __init__(self, subject: Subject, opencv414: str | None) -> None:
        self.subject = subject
        self._stack = ExitStack()
        self._workspace = self._stack.enter_context(Workspace())
        self.columns = [c for c in ENGINES if c != OPENCV414 or opencv414 is not None]
        cores = os.cpu_count() or 1
        self._places = {
            c: Target(threads=cores, python=opencv414 if c == OPENCV414 else None)
            for c in self.columns
        }
        self._watches: dict[Target, Stopwatch] = {}
        reference = self._stack.enter_context(
            open_reference(subject.original, self._workspace, threads=cores, limits=_LIMITS)
        )
        self.expected = Expected.of(
            subject.original, list(subject.samples.verdict), reference, synthetic=False
        )

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def opencv(self) -> str:
        """'5.0.0, 4.14.0'."""
        found = (self._watch(place).opencv().version for place in self._places.values())
        return ", ".join(dict.fromkeys(found))

    def read(self, path: Path) -> Model | str:
        """A candidate, or why it is none."""
        try:
            model = load(path)
        except ModelcheckError as error:
            return f"modelcheck does not take it to any cv2: {error.what.splitlines()[0]}"
        mine, theirs = self.subject.original.signature, model.signature
        for what in ("inputs", "outputs"):
            names = [[spec.name for spec in getattr(s, what)] for s in (mine, theirs)]
            if sorted(names[0]) != sorted(names[1]):
                return f"its {what} are {', '.join(names[1])}, not {', '.join(names[0])}"
        return model

    def judge(self, model: Model, column: str) -> Verdict:
        runner = Runner(model, ENGINES[column])
        watch = self._watch(self._places[column])
        outputs = watch.outputs(runner, self.expected.arrays)
        if isinstance(outputs, NotRun):
            return Verdict(False, outputs.reason.splitlines()[0])
        return self.verdict_on(outputs, column)

    def verdict_on(self, outputs: Sequence[Mapping[str, np.ndarray]], column: str) -> Verdict:
        """Strict, by the figures as they are: 99 % of top classes, or 25 dB of every output."""
        evidence = compare(self.expected, outputs, self._places[column], Limits())
        if evidence is None:
            return Verdict(True, "it cannot be compared")
        return Verdict(
            True,
            db=worst_db(evidence),
            agreement=worst_agreement(evidence),
            right=holds(default_limit("lossy"), evidence),
        )

    def race(
        self, entrants: Mapping[tuple[str, str], Model], threads: int, seconds: float
    ) -> dict[tuple[str, str], Times | NotRun]:
        """All (peer, column) of one OpenCV in turn in one process."""
        columns = {column for _, column in entrants}
        place = replace(self._places[next(iter(columns))], threads=threads)
        runners = {
            f"{peer}|{column}": Runner(model, ENGINES[column])
            for (peer, column), model in entrants.items()
        }
        with Stopwatch(place, self._workspace, _LIMITS) as watch:
            samples = self.expected.arrays[:_RACED]
            found = watch.race(runners, samples, rounds=_ROUNDS, seconds=seconds)
        return {(p, c): found[f"{p}|{c}"] for p, c in entrants}

    def _watch(self, place: Target) -> Stopwatch:
        if place not in self._watches:
            watch = Stopwatch(place, self._workspace, _LIMITS)
            self._watches[place] = self._stack.enter_context(watch)
        return self._watches[place]


def gain_over(times: Times | NotRun, original: Times | None) -> Gain:
    if isinstance(times, NotRun) or original is None:
        return Gain(float("nan"), float("nan"))
    return times.gain_over(original)
