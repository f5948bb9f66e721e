"""One search for the worst input on one target: so many inputs, and what was found.

saved inputs first → climbing from the worst samples, and Hypothesis → flips of low-margin
samples → shrinking what was found
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from modelcheck.errors import ModelcheckError
from modelcheck.judge import (
    Blame,
    Check,
    Flips,
    FoundInput,
    InputScore,
    WorstCaseEvidence,
    measure,
)
from modelcheck.reference import Reference
from modelcheck.verification.equivalence import aligned
from modelcheck.verification.extremes import Extremes
from modelcheck.verification.kept_inputs import Kept
from modelcheck.verification.lane import Arrays, Lane
from modelcheck.worst_inputs import Neighbourhood, Variant, climb, describe_change, shrink
from modelcheck.worst_inputs.climbing import Search

WORST_SAMPLES, LOW_MARGIN_SAMPLES = 4, 8
_REPLAYED, _FLIPS, _SHRINKING, _HYPOTHESIS = 1 / 4, 1 / 6, 1 / 4, 1 / 4  # parts of what is left
# ±0.02 of the range flips what can be flipped (GATE.md: 20 of 20 labels of low margin).
_FLIP_RADIUS = 1 / 5  # of the radius
_FLIP_PATIENCE = 24


class _Stopped(Exception):
    """Nothing more can be tried, for the reason that it carries."""


@dataclass(frozen=True, slots=True)
class _Found:
    """An input with its score: a variant of a sample, or a saved input (`variant` None)."""

    arrays: Arrays
    score: InputScore
    found_by: str
    text: Callable[[], str]
    origin: tuple[Neighbourhood, Variant] | None = None

    def told(self) -> FoundInput:
        return FoundInput(self.score, self.found_by, self.text())


@dataclass(frozen=True)
class Starts:
    """What a search starts from: the samples by index, and their names."""

    samples: Mapping[int, Arrays]
    names: Mapping[int, str]
    saved: Sequence[Kept] = ()
    synthetic: bool = False


@dataclass
class WorstSearch:
    """Tries at most `asked` inputs. Iterate `run()` for progress; `result()` has the rest.

    `limit`: beyond it nothing worse is looked for, and what was found is shrunk to just beyond.
    """

    lane: Lane
    reference: Reference
    extremes: Extremes
    starts: Starts
    asked: int
    radius: float
    seed: int
    limit: float | None
    rounding: float  # errors that rounding alone explains are not worth telling
    home: Path  # where Hypothesis may write
    tried: int = 0
    found: float = 0.0
    best: _Found | None = None
    shrunk: _Found | None = None
    _flipped: list[_Found] = field(default_factory=list)
    _flips_tried: int = 0
    _replayed: list[InputScore] = field(default_factory=list)
    _stopped: str = ""
    _died: str = ""

    def __post_init__(self) -> None:
        self._scales = self.extremes.scales
        self._starts = self.extremes.starts(WORST_SAMPLES)  # the worst sample first
        self._closest = self.extremes.closest(LOW_MARGIN_SAMPLES)
        samples, ranges = self.starts.samples, self.extremes.ranges
        self._near = Neighbourhood(samples, ranges, radius=self.radius)
        self._nearer = Neighbourhood(samples, ranges, radius=self.radius * _FLIP_RADIUS)

    @staticmethod
    def wanted(extremes: Extremes) -> set[int]:
        """The samples that a search starts from."""
        return {*extremes.starts(WORST_SAMPLES), *extremes.closest(LOW_MARGIN_SAMPLES)}

    def run(self) -> Iterator[int]:
        """Yields how many inputs are tried."""
        if self.limit is not None and self._data_worst > self.limit:
            return  # decided
        if self.lane.failure is not None:
            self._stopped = self._reason(self.lane.failure)
            return
        try:
            yield from self._replay()
            if not self.extremes.ranges.varies():
                raise _Stopped("the data hold no input of real numbers or bytes that varies")
            yield from self._explore()
            yield from self._flip()
            yield from self._shrink()
        except _Stopped as reason:
            self._stopped = str(reason)

    def inputs(self) -> list[Kept]:
        """What is worth keeping for the next run: the plainest, the worst, the clearest flip."""
        found = [self.shrunk, self.best, max(self._flipped, key=_margin, default=None)]
        return [Kept(one.arrays, one.text()) for one in found if one is not None]

    def result(self, file: str) -> WorstCaseEvidence:
        worst, score = next(iter(self._starts.items()))
        flips = Flips(
            self._flips_tried,
            len(self._flipped),
            max(map(_margin, self._flipped), default=0.0),
        )
        return WorstCaseEvidence(
            asked=self.asked,
            tried=self.tried,
            radius=self.radius,
            data_worst=score.error,
            data_target=score.target,
            data_sample=self.starts.names[worst],
            found=self.found,
            worst=None if self.best is None else self.best.told(),
            shrunk=None if self.shrunk is None else self.shrunk.told(),
            flips=flips if self.extremes.classes else None,
            replayed=len(self._replayed),
            replayed_worst=max((score.error for score in self._replayed), default=0.0),
            file=file,
            stopped=self._stopped,
            died=self._died,
            synthetic=self.starts.synthetic,
        )

    @property
    def _data_worst(self) -> float:
        return next(iter(self._starts.values())).error

    @property
    def _known(self) -> float:
        """The largest error so far, that of the data included."""
        return max(self._data_worst, self.found)

    @property
    def _settled(self) -> bool:
        return self._known == math.inf or (self.limit is not None and self._known > self.limit)

    def _after(self, part: float) -> int:
        """How many may be tried when so large a part of those left is used."""
        return self.tried + math.floor(part * (self.asked - self.tried))

    def _replay(self) -> Iterator[int]:
        example = next(iter(self.starts.samples.values()))
        for kept in self.starts.saved:
            if self.tried >= max(1, self.asked * _REPLAYED):
                return
            if _alike(kept.arrays, example) and self.extremes.ranges.contains(kept.arrays):
                self._replayed.append(self._try_saved(kept))
                yield self.tried

    def _explore(self) -> Iterator[int]:
        """Climb, and let Hypothesis draw; enough is left for flips and for shrinking."""
        from modelcheck.worst_inputs.drawing import draw  # Hypothesis: 0.2 s

        left = 1 - _SHRINKING - (_FLIPS if self._closest else 0)
        end = self._after(left)
        scores = {i: score.error for i, score in self._starts.items()}
        climbing_ends = self._after(left * (1 - _HYPOTHESIS))
        yield from self._follow(
            climb(self._near, scores, seed=self.seed), "climbing", climbing_ends
        )
        drawn = draw(
            self._near, list(scores), number=self.seed, examples=max(1, end - self.tried),
            home=self.home,
        )  # fmt: skip
        yield from self._follow(drawn, "Hypothesis", end)

    def _follow(self, search: Search, found_by: str, end: int) -> Iterator[int]:
        """Try what a search yields, until so many are tried or the limit is broken."""
        try:
            variant = next(search)
            while self.tried < end and not self._settled:
                score = self._try_variant(self._near, variant, found_by)
                yield self.tried
                variant = search.send(score.error)
        except StopIteration:
            return
        finally:
            search.close()

    def _flip(self) -> Iterator[int]:
        """Let low-margin samples climb until another class comes first."""
        end = self._after(1 - _SHRINKING)
        for sample, start in self._closest.items():
            if self.tried >= end:
                return
            self._flips_tried += 1
            search = climb(self._nearer, {sample: start.lead}, seed=self.seed + sample)
            variant = next(search)
            for _ in range(_FLIP_PATIENCE):
                score = self._try_variant(self._nearer, variant, "flips")
                yield self.tried
                if score.flipped or self.tried >= end:
                    break
                variant = search.send(score.lead)
            search.close()

    def _shrink(self) -> Iterator[int]:
        """The plainest input that is still beyond the limit, or still half as much worse."""
        best, data = self.best, self._data_worst
        if best is None or best.origin is None:
            return
        near, variant = best.origin
        beyond = self.limit is not None and best.score.error > self.limit
        goal = self.limit if beyond else data + (best.score.error - data) / 2
        assert goal is not None
        shrinking: Generator[Variant, bool, None] = shrink(near, variant)
        holds: bool | None = None
        while self.tried < self.asked:
            try:
                variant = next(shrinking) if holds is None else shrinking.send(holds)
            except StopIteration:
                return
            found = self._found(near, variant, best.found_by)
            self._note(found)
            yield self.tried
            holds = found.score.error > goal or found.score.error == math.inf
            if holds:
                self.shrunk = found

    def _try_variant(self, near: Neighbourhood, variant: Variant, found_by: str) -> InputScore:
        found = self._found(near, variant, found_by)
        self._note(found)
        if found_by == "flips" and found.score.flipped:
            self._flipped.append(found)
        return found.score

    def _try_saved(self, kept: Kept) -> InputScore:
        def text() -> str:
            return kept.text

        found = _Found(kept.arrays, self._score(kept.arrays, text), "replay", text)
        self._note(found)
        return found.score

    def _found(self, near: Neighbourhood, variant: Variant, found_by: str) -> _Found:
        arrays = near.arrays(variant)

        def text() -> str:
            return describe_change(near, variant, self.starts.names[variant.sample])

        return _Found(arrays, self._score(arrays, text), found_by, text, (near, variant))

    def _note(self, found: _Found) -> None:
        negligible = self.rounding if self.limit is None else min(self.rounding, self.limit)
        if found.score.error > max(self._known, negligible):
            self.best = found
        self.found = max(self.found, found.score.error)

    def _score(self, arrays: Arrays, text: Callable[[], str]) -> InputScore:
        """Run an input everywhere. Raises _Stopped where something does not survive it."""
        try:
            self.reference.send(arrays)
            self.lane.send(arrays)
            expected = self.reference.receive()
        except ModelcheckError as error:
            raise _Stopped(f"the reference cannot run an input: {error.what}") from error
        answers = self.lane.receive() if self.lane.alive else None
        self.tried += 1
        if answers is None:
            self._end(arrays, text)
        original, candidate = (None if a is None else aligned(a, expected) for a in answers)
        assert original is not None
        return self._scales.score(measure(expected, original, candidate, self.extremes.classes))

    def _end(self, arrays: Arrays, text: Callable[[], str]) -> NoReturn:
        """A process did not survive an input: if it was the candidate's, that is what was found."""
        failure = self.lane.failure
        assert failure is not None
        reason = self._reason(failure)
        if failure.blame is Blame.TRANSFORM:
            self._died = reason
            score = InputScore("", math.inf, math.inf, math.inf, 0.0)
            self.best = _Found(arrays, score, "search", text)
            self.found = math.inf
        raise _Stopped(reason)

    def _reason(self, failure: Check) -> str:
        return failure.message.removeprefix(f"{self.lane.settings.target.name}: ")


def _margin(found: _Found) -> float:
    return found.score.margin


def _alike(arrays: Arrays, example: Arrays) -> bool:
    """Whether saved arrays have the shapes of the present samples."""
    return {n: a.shape for n, a in arrays.items()} == {n: a.shape for n, a in example.items()}
