"""Every target of a recipe, and what each of them makes of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from modelcheck import units
from modelcheck.data import ThreeSets
from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import EquivalenceEvidence
from modelcheck.judge.limits import default_limit
from modelcheck.model import Model
from modelcheck.model.patterns import NEW, column_of
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Workspace
from modelcheck.recipe import TargetSettings
from modelcheck.reference import Reference, ReferenceActivations, open_reference
from modelcheck.searching.looking import compare, holds, limit_for, look, worst_db
from modelcheck.searching.remembered import RememberedRanges
from modelcheck.searching.stopwatch import NotRun, Runner, Stopwatch
from modelcheck.targets import Engine
from modelcheck.transforms import Claim, Context
from modelcheck.tune.rightness import Expected

# A target that is so much worse than onnxruntime with the same file computes something else; above
# the second, both are as good as exact.
_WRONG_BY_DB, _AS_GOOD_AS_EXACT_DB = 3.0, 50.0
_KEY = "automatic"


@dataclass(frozen=True)
class Place:
    """A target, and the process that runs nets there."""

    settings: TargetSettings
    watch: Stopwatch
    is_new: bool  # OpenCV 5's new engine
    has_new: bool  # so that a program which names no engine gets it

    @property
    def name(self) -> str:
        return self.settings.target.name


@dataclass
class Bench:
    """All that a choice is measured with."""

    places: tuple[Place, ...]
    expected: Expected
    reference: Reference
    context: Context
    workspace: Workspace
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls, model: Model, samples: ThreeSets, targets: Sequence[TargetSettings],
        workspace: Workspace, stack: ExitStack, seed: int, limits: ChildLimits | None,
    ) -> Bench:  # fmt: skip
        threads = os.cpu_count() or 1
        reference = stack.enter_context(
            open_reference(model, workspace, threads=threads, limits=limits)
        )
        chosen = samples.choosing
        expected = Expected.of(model, list(chosen), reference, synthetic=chosen.synthetic)
        context = Context(seed=seed)
        if samples.calibration is not None:
            own = stack.enter_context(Reference(threads=threads, limits=limits))
            folder = stack.enter_context(Workspace())
            activations = ReferenceActivations(own, samples.calibration, folder)
            context = Context(seed=seed, activations=RememberedRanges(activations))
        bench = cls((), expected, reference, context, workspace)
        for settings in targets:
            watch = stack.enter_context(Stopwatch(settings.target, workspace, limits, seed=seed))
            bench._add(settings, watch, model)
        if not bench.places:
            raise Unsupported(
                "no target runs the original rightly, so nothing can be chosen for any",
                remedy="`modelcheck verify MODEL` says more. " + " ".join(bench.notes),
            )
        return bench

    def _add(self, settings: TargetSettings, watch: Stopwatch, model: Model) -> None:
        target = settings.target
        try:
            opencv = watch.opencv()
            outputs = watch.outputs(Runner(model), self.expected.arrays)
            if isinstance(outputs, NotRun):
                raise Unsupported(outputs.reason)
        except (Unsupported, ContainedFailure) as error:
            if target.optional:
                self.notes.append(f"{target.name}: left out, {error.what}")
                return
            raise (error if error.where else error.at(target.name)) from None
        is_new = target.device.is_cpu and column_of(opencv.version, target.engine) == NEW
        has_new = column_of(opencv.version, Engine.AUTO) == NEW
        seen = compare(self.expected, outputs, target, settings.limits)
        if seen is not None and holds(default_limit(Claim.EXACT.value), seen):
            self.places = (*self.places, Place(settings, watch, is_new, has_new))
        else:
            self.notes.append(f"{target.name}: left out, the original does not run rightly there")

    def look(self, made: Model) -> Trial:
        """What a model gives on every target, and in onnxruntime."""
        seen = {
            place.name: look(
                place.watch, Runner(made), self.expected, place.settings.target,
                place.settings.limits,
            )
            for place in self.places
        }  # fmt: skip
        path = self.workspace.path / "automatic.onnx"
        write_private(made, path)
        self.reference.load(path, _KEY)
        try:
            outputs = [self.reference.run(arrays, key=_KEY) for arrays in self.expected.arrays]
        finally:
            self.reference.unload(_KEY)
        first = self.places[0].settings
        in_reference = compare(self.expected, outputs, first.target, first.limits)
        db = float("nan") if in_reference is None else worst_db(in_reference)
        held = all(
            (found := seen[place.name]) is not None
            and holds(limit_for(place.settings.limits, Claim.LOSSY), found)
            for place in self.places
        )
        return Trial(made, seen, db, held)


@dataclass(frozen=True)
class Trial:
    """A model, as every target and onnxruntime compute it; `holds` the limits, everywhere."""

    model: Model
    seen: Mapping[str, EquivalenceEvidence | None]
    reference_db: float
    holds: bool

    @property
    def excess_db(self) -> float:
        """By how much the worst target is worse than onnxruntime."""
        return max((self.reference_db - _db(found) for found in self.seen.values()), default=0.0)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The targets that do not compute it rightly, with their figures."""
        return tuple(
            f"{name} ({_said(found)}; onnxruntime {units.decibels(self.reference_db)})"
            for name, found in self.seen.items()
            if found is None or _db(found) < min(self.reference_db, _AS_GOOD_AS_EXACT_DB)
            - _WRONG_BY_DB
        )  # fmt: skip


def _db(found: EquivalenceEvidence | None) -> float:
    return float("-inf") if found is None else worst_db(found)


def _said(found: EquivalenceEvidence | None) -> str:
    return "it does not run" if found is None else units.decibels(worst_db(found))
