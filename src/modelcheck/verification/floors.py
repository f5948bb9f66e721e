"""The noise floor, measured: the original again in other forms, on every engine that the lane uses.

    on each engine       channels permuted, four times, or where that is not possible sums split
                         twice; then weights rounded anew, twice
    on classic           its convolutions without Winograd
    on two engines       the original on the one against the original on the other
An engine counts only where it runs the original rightly: one that is wrong is no noise. A floor
only grows with each variation, so a caller may stop at the first that lets a candidate pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import (
    Comparison,
    ComparisonEvidence,
    EquivalenceCase,
    NoiseFloor,
    Outcome,
    Variation,
    describe_noise,
    hopeless_limit,
    judge_equivalence,
    needs_noise_floor,
    wants_noise_floor,
)
from modelcheck.judge.findings import error_of, noise_of, structural_fault
from modelcheck.judge.limits import HALF_TOTAL_ERROR_FLOOR, TOTAL_ERROR_FLOOR
from modelcheck.judge.noise import LARGEST_LIMIT
from modelcheck.model import Model
from modelcheck.model.permutation import longest_reduction
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Closing, Workspace
from modelcheck.targets import Engine, Placement, Target, TargetSession
from modelcheck.targets.session import NetOptions
from modelcheck.verification.equivalence import Kept, aligned
from modelcheck.verification.floor_notes import FloorNotes
from modelcheck.verification.lane import Arrays, Lane
from modelcheck.verification.memory import Memory, key_of
from modelcheck.verification.variations import (
    channels_permuted,
    sums_split,
    weights_as_floats,
    weights_rounded,
)

Outputs = Sequence[Arrays]  # one entry a sample
Form = Callable[[Model, int], Model | None]

_PERMUTATIONS, _SPLITS, _ROUNDINGS = 4, 2, 2
_DEFAULTS = NetOptions()
_NAME = "a process that measures"
# The first that a model has is tried, as often as is said.
_FORMS: tuple[tuple[str, int, Form], ...] = (
    ("channels permuted", _PERMUTATIONS, channels_permuted),
    ("sums split", _SPLITS, sums_split),
    ("weights as floats", 1, lambda model, _: weights_as_floats(model)),
)


@dataclass(frozen=True)
class Ground:
    """What floors are measured on: the original, and what it gave for some samples."""

    model: Model
    outputs: tuple[str, ...]
    samples: Sequence[Arrays]
    expected: Outputs  # of the float32 reference
    original: Outputs  # of the original where it runs

    @classmethod
    def of_kept(cls, model: Model, kept: Sequence[Kept]) -> Ground:
        """On the samples that a stream has kept."""
        outputs = tuple(spec.name for spec in model.signature.outputs)
        samples = [k.arrays for k in kept]
        return cls(model, outputs, samples, [k.expected for k in kept], [k.original for k in kept])


class Meter(Closing):
    """A process of its own, on the target of a lane: it may die, and does no harm to the lane."""

    def __init__(
        self, target: Target, limits: ChildLimits | None, options: NetOptions = _DEFAULTS
    ) -> None:
        self._target, self._limits, self._options = target, limits, options
        self._session: TargetSession | None = None

    def load(
        self,
        path: Path,
        outputs: Sequence[str],
        engine: Engine,
        *,
        winograd: bool = True,
        key: str = "net",
    ) -> None:
        """Raises Unsupported or ContainedFailure where it does not run there."""
        if self._session is None:
            self._session = TargetSession(self._target, name=_NAME, limits=self._limits)
        options = self._options if winograd else replace(self._options, winograd=False)
        with self._forgetting_the_dead():
            self._session.load(path, outputs, key=key, engine=engine, options=options)

    def forward(self, arrays: Arrays, expected: Arrays, *, key: str = "net") -> Arrays:
        """The outputs, in the shapes of what is expected; raises as `load` does."""
        assert self._session is not None
        with self._forgetting_the_dead():
            return aligned(self._session.forward(arrays, key=key), expected)

    @contextmanager
    def _forgetting_the_dead(self) -> Iterator[None]:
        """Where the process died, the next model gets another."""
        try:
            yield
        except ContainedFailure:
            self.close()
            raise

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


@dataclass
class Measurement:
    """The measuring of one floor; iterate `floors`."""

    ground: Ground
    meter: Meter
    workspace: Workspace
    seed: int
    notes: FloorNotes = field(default_factory=FloorNotes)
    half_floats: bool = False
    _found: list[Variation] = field(default_factory=list)
    _there: dict[Engine, Outputs] = field(default_factory=dict)
    _length: int = 1

    def floors(
        self, engines: Sequence[Engine], other: Engine | None = None
    ) -> Iterator[NoiseFloor]:
        """The growing floor on the lane's engines, of which the first runs the original.

        `other` is an engine that the lane does not use: the original is compared with itself
        there only where nothing else can be measured. Yields at least once.
        """
        self._there[engines[0]] = self.ground.original
        self._length = longest_reduction(self.ground.model)
        try:
            for engine in engines:
                for _ in self._on(engine):
                    yield self.floor()
            for engine in engines[1:] or ([other] if other and not self._found else []):
                if self._against(engines[0], engine):
                    yield self.floor()
            if not self._found:
                yield self.floor()
        finally:
            self.notes.save()

    def floor(self) -> NoiseFloor:
        """What has been found so far."""
        why_none = "no other form of it can be compared there"
        return NoiseFloor(tuple(self._found), self._length, why_none)

    def _on(self, engine: Engine) -> Iterator[None]:
        for what, count, make in _FORMS:
            done = 0
            while done < count and self._form(what, engine, self.seed + done, make):
                done += 1
                yield
            if done:
                break
        for seed in range(self.seed, self.seed + _ROUNDINGS):
            if self._form("weights rounded anew", engine, seed, weights_rounded):
                yield
        if engine is Engine.CLASSIC and self._without_winograd(engine):
            yield

    def _form(self, what: str, engine: Engine, seed: int, make: Form) -> bool:
        def run() -> Outputs | None:
            model = make(self.ground.model, seed)
            return None if model is None else self._run(model, engine)

        return self._note(f"{what} {seed}", what, engine, run)

    def _without_winograd(self, engine: Engine) -> bool:
        def run() -> Outputs:
            return self._run(self.ground.model, engine, winograd=False)

        return self._note("without Winograd", "without Winograd", engine, run)

    def _against(self, engine: Engine, other: Engine) -> bool:
        what = f"the original on {other}"
        return self._note(what, what, engine, lambda: self._original_on(other))

    def _note(
        self, name: str, what: str, engine: Engine, run: Callable[[], Outputs | None]
    ) -> bool:
        """Recall or measure one variation; whether there is one."""
        key = f"{engine}: {name}"
        if key not in self.notes:
            try:
                self.notes[key] = self._measured(what, engine, run)
            except (Unsupported, ContainedFailure):
                return False  # a form that does not run says nothing, and may run another time
        found = self.notes[key]
        if found is not None:
            self._found.append(found)
        return found is not None

    def _measured(
        self, what: str, engine: Engine, run: Callable[[], Outputs | None]
    ) -> Variation | None:
        before = self._original_on(engine)
        after = None if before is None else run()
        if before is None or after is None:
            return None
        moved = self._compared(before, after)
        if any(structural_fault(output) for output in moved.outputs):
            return None
        errors = {output.name: error_of(output) for output in moved.outputs}
        if not max(errors.values(), default=0.0) <= LARGEST_LIMIT:
            return None  # a target that breaks an equivalent form has no noise to speak of
        return Variation(what, engine, errors, {o.name: noise_of(o) for o in moved.outputs})

    def _original_on(self, engine: Engine) -> Outputs | None:
        """What the original gives there; None where that is another function."""
        if engine not in self._there:
            outputs = self._run(self.ground.model, engine)
            away = self._compared(self.ground.expected, outputs)
            most = HALF_TOTAL_ERROR_FLOOR if self.half_floats else TOTAL_ERROR_FLOOR
            right = all(not structural_fault(o) and error_of(o) <= most for o in away.outputs)
            self._there[engine] = outputs if right else ()
        return self._there[engine] or None

    def _run(self, model: Model, engine: Engine, *, winograd: bool = True) -> Outputs:
        path = self.workspace.path / "variation.onnx"
        write_private(model, path)
        ground = self.ground
        self.meter.load(path, ground.outputs, engine, winograd=winograd)
        pairs = zip(ground.samples, ground.expected, strict=True)
        return [self.meter.forward(arrays, wanted) for arrays, wanted in pairs]

    def _compared(self, before: Outputs, after: Outputs) -> ComparisonEvidence:
        comparison = Comparison(self.ground.outputs)
        for index, (x, y) in enumerate(zip(before, after, strict=True)):
            comparison.update(x, y, index)
        return comparison.result()


def lane_floors(
    lane: Lane,
    ground: Ground,
    workspace: Workspace,
    *,
    seed: int,
    memory: Memory | None = None,
    samples: str = "",
) -> Iterator[NoiseFloor]:
    """The growing noise floor of a lane, on the engines that hold its two models.

    What `memory` has of it is not measured again; `samples` is the digest of the samples. Nothing
    is remembered of a device other than the CPU, whose state no digest describes.
    """
    target, opencv = lane.settings.target, lane.opencv
    assert opencv is not None
    placements = (lane.original_placement, lane.candidate_placement)
    engines = list(dict.fromkeys(engine_of(p) for p in placements if p is not None))
    others = [Engine(word) for word in opencv.engines if word not in (*engines, Engine.AUTO)]
    other = others[0] if others and target.device.is_cpu and len(engines) == 1 else None
    key = key_of(
        floor=ground.model.digest, samples=samples, outputs=list(ground.outputs),
        opencv=asdict(opencv), target=[target.device, target.engine, target.threads],
    )  # fmt: skip
    notes = FloorNotes(memory if target.device.is_cpu else None, key)
    with Meter(target, lane.limits) as meter:
        half = target.device.is_half
        measurement = Measurement(ground, meter, workspace, seed, notes, half_floats=half)
        yield from measurement.floors(engines, other)


def engine_of(placement: Placement) -> Engine:
    """The engine of a placement: 'cpu new' -> new."""
    return Engine(placement.actual.split()[1])


def with_noise_floor(case: EquivalenceCase, floors: Iterable[NoiseFloor]) -> EquivalenceCase:
    """The case with as much of the floor as decides it, or tells why a declared limit failed.

    Where the floor changes nothing, nothing of it is measured.
    """
    if not wants_noise_floor(case):
        return case
    decides = needs_noise_floor(case)
    for floor in floors:
        case = replace(case, noise_floor=floor)
        told = not decides and hopeless_limit(case) is not None
        if told or judge_equivalence(case).outcome is Outcome.PASS:
            break
    return case


def limit_warnings(case: EquivalenceCase) -> list[str]:
    """A warning where a max-error is declared that rounding alone breaks."""
    declared = hopeless_limit(case)
    if declared is None:
        return []
    return [
        f"{case.target}: max-error={declared:g} lies below what rounding alone explains: "
        f"{describe_noise(case)}. Only the very same sums can hold it; max-error=auto asks for the "
        "noise floor."
    ]
