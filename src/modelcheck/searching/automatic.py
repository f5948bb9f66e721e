"""What `auto` in a step stands for, found by measuring before anything is applied.

    steps ─► quantize: the form that every target computes rightly ─► layers to keep in float
          ─► the same steps, explicit: applying them again measures nothing

A target computes a file rightly if its outputs are as near to the original's as onnxruntime's are
of the same file. One file is for all targets; `search` makes the fastest for each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from modelcheck import gate, units
from modelcheck.data import SplitSamples, ThreeSets, split_in_three
from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import EquivalenceEvidence
from modelcheck.judge.limits import default_limit
from modelcheck.model import Model
from modelcheck.model.patterns import NEW, column_of
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Workspace
from modelcheck.recipe import Automatic, Recipe, TargetSettings
from modelcheck.reference import Reference, ReferenceActivations, open_reference
from modelcheck.searching.integers import RememberedRanges
from modelcheck.searching.looking import compare, holds, limit_for, look, worst_db
from modelcheck.searching.sensitivity import Fewest, Sensitivity, weight_layers
from modelcheck.searching.stopwatch import NotRun, Runner, Stopwatch, Times
from modelcheck.targets import Engine
from modelcheck.transforms import Claim, Context, Transform, build
from modelcheck.tune.rightness import Expected
from modelcheck.verification import Progressed, StageStarted

FORMS = ("qdq", "qoperator")
# A target that is so much worse than onnxruntime with the same file computes something else; above
# the second, both are as good as exact.
_WRONG_BY_DB, _AS_GOOD_AS_EXACT_DB = 3.0, 50.0
_RACE_ROUNDS, _RACE_S = 30, 6.0
_KEY = "automatic"


@dataclass(frozen=True)
class Expanded:
    """Explicit steps, and in words what was found and why."""

    steps: tuple[Transform, ...]
    notes: tuple[str, ...]


def expand(
    model: Model,
    steps: Sequence[Transform],
    samples: ThreeSets,
    targets: Sequence[TargetSettings],
    *,
    seed: int = 0,
    child_limits: ChildLimits | None = None,
) -> Iterator[StageStarted | Progressed | Expanded]:
    """Make explicit what steps leave to measuring; the last event has the result.

    Each step is looked at as if it were the last one. Raises Unsupported where a target that is not
    optional is not there, or no target runs the original rightly.
    """
    with Workspace() as workspace, ExitStack() as stack:
        yield StageStarted("running the reference", None)
        bench = _Bench.open(model, samples, targets, workspace, stack, seed, child_limits)
        made: list[Transform] = []
        for step in steps:
            explicit = step
            if isinstance(step, Automatic):
                yield StageStarted(f"choosing the options of {step.name}", None)
                choice = _Quantizing(step, model, bench)
                for done, _ in enumerate(choice.run(), start=1):
                    yield Progressed(done)
                explicit = choice.step()
            made.append(explicit)
            model = explicit(model, bench.context)
        if len(bench.places) > 1:
            bench.notes.append(
                "one file serves all targets; `modelcheck search` makes the fastest for each"
            )
        yield Expanded(tuple(made), tuple(bench.notes))


@dataclass(frozen=True)
class Planned:
    """A recipe whose steps are explicit, and samples to judge by that nothing was chosen by."""

    recipe: Recipe
    inputs: gate.Inputs
    notes: tuple[str, ...]


def planned(
    original: Model, recipe: Recipe, *, limits: ChildLimits | None = None, emit: gate.Emit
) -> Planned:
    """The recipe with everything explicit, and its samples, opened and split in three."""
    data, calibration = gate.open_sets(original, recipe, emit=emit)
    samples = split_in_three(
        data, calibration, calibrate=any(step.calibrates for step in recipe.steps),
        allow_synthetic=recipe.data.allow_synthetic,
    )  # fmt: skip
    found: Expanded | None = None
    for event in expand(
        original, recipe.steps, samples, recipe.targets, seed=recipe.seed, child_limits=limits
    ):
        if isinstance(event, Expanded):
            found = event
        else:
            emit(event)
    assert found is not None
    parts = SplitSamples(samples.verdict, samples.calibration, 0, samples.text)
    return Planned(replace(recipe, steps=found.steps), gate.Inputs(original, parts), found.notes)


@dataclass(frozen=True)
class _Place:
    """A target, and the process that runs nets there."""

    settings: TargetSettings
    watch: Stopwatch
    is_new: bool  # OpenCV 5's new engine
    has_new: bool  # so that a program which names no engine gets it

    @property
    def name(self) -> str:
        return self.settings.target.name


@dataclass
class _Bench:
    """All that a choice is measured with."""

    places: tuple[_Place, ...]
    expected: Expected
    reference: Reference
    context: Context
    workspace: Workspace
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls, model: Model, samples: ThreeSets, targets: Sequence[TargetSettings],
        workspace: Workspace, stack: ExitStack, seed: int, limits: ChildLimits | None,
    ) -> _Bench:  # fmt: skip
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
            raise error.at(target.name) from None
        is_new = target.device.is_cpu and column_of(opencv.version, target.engine) == NEW
        has_new = column_of(opencv.version, Engine.AUTO) == NEW
        seen = compare(self.expected, outputs, target, settings.limits)
        if seen is not None and holds(default_limit(Claim.EXACT.value), seen):
            self.places = (*self.places, _Place(settings, watch, is_new, has_new))
        else:
            self.notes.append(f"{target.name}: left out, the original does not run rightly there")

    def look(self, made: Model) -> _Trial:
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
        return _Trial(made, seen, db, held)


@dataclass(frozen=True)
class _Trial:
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


@dataclass
class _Quantizing:
    """The choice of one quantize step. Iterate `run`, then `step` says it."""

    asked: Automatic
    model: Model
    bench: _Bench

    def __post_init__(self) -> None:
        self.layers = list(weight_layers(self.model))
        self.options: dict[str, object] = dict(self.asked.given)
        self.kept: tuple[str, ...] = ()

    def step(self, kept: Sequence[str] | None = None, form: str | None = None) -> Transform:
        """The explicit step, with these layers in float besides those excluded by name."""
        options = dict(self.options)
        if form is not None:
            options["form"] = form
        excluded = build("quantize", options).options["exclude"]
        assert isinstance(excluded, tuple)
        kept = self.kept if kept is None else kept
        if kept:
            options["exclude"] = [*excluded, *(name for name in kept if name not in excluded)]
        return build("quantize", options)

    def run(self) -> Iterator[None]:
        """Yields after everything that was measured."""
        if "form" in self.asked.open:
            yield from self._choose_form()
        if "skip" in self.asked.open:
            yield from self._skip()

    def _look(self, kept: Sequence[str], form: str | None = None) -> _Trial:
        return self.bench.look(self.step(kept, form)(self.model, self.bench.context))

    def _choose_form(self) -> Iterator[None]:
        places = self.bench.places
        if "spare" not in self.asked.given and not any(place.has_new for place in places):
            self.options["spare"] = False  # what it spares are faults of the new engine
        trials: dict[str, _Trial] = {}
        preferred = FORMS if any(place.is_new for place in places) else FORMS[::-1]
        for form in preferred:
            trials[form] = self._look((), form)
            yield
        for form, trial in trials.items():
            if trial.wrong:
                self._say(f"form={form} is not computed rightly on {', '.join(trial.wrong)}")
        right = [form for form in preferred if not trials[form].wrong]
        if right:
            self.options["form"] = self._faster(right, trials) if len(right) > 1 else right[0]
            everywhere = "on every target" if len(places) > 1 else f"on {places[0].name}"
            self._say(f"form={self.options['form']} is computed rightly {everywhere}")
            return
        form = min(preferred, key=lambda f: (len(trials[f].wrong), trials[f].excess_db))
        self.options["form"] = form
        yield from self._keep_wrong_ones(form)

    def _faster(self, forms: Sequence[str], trials: Mapping[str, _Trial]) -> str:
        """The one of two that is faster on the whole, or the first where timings do not tell."""
        total, variance = 0.0, 0.0
        for place in self.bench.places:
            times = place.watch.race(
                {form: Runner(trials[form].model) for form in forms},
                self.bench.expected.arrays, rounds=_RACE_ROUNDS, seconds=_RACE_S,
            )  # fmt: skip
            first, other = (times[form] for form in forms)
            if isinstance(first, NotRun) or isinstance(other, NotRun):
                continue
            gain = other.gain_over(first)
            total += math.log(max(gain.ratio, 1e-9))
            variance += (gain.error / gain.ratio) ** 2
            self._say(self._gain_text(place, forms, first, other))
        if abs(total) <= 2 * math.sqrt(variance):
            self._say(f"timings do not tell the forms apart: form={forms[0]} is taken")
            return forms[0]
        return forms[1] if total > 0 else forms[0]

    def _gain_text(self, place: _Place, forms: Sequence[str], first: Times, other: Times) -> str:
        return (
            f"{place.name}: {forms[0]} takes {units.duration(first.median_s)}, {forms[1]} "
            f"{units.duration(other.median_s)}"
        )

    def _keep_wrong_ones(self, form: str) -> Iterator[None]:
        """Keep those layers in float that a target gets wrong: as few as will do."""
        excess: dict[str, float] = {}
        for layer in self.layers:
            alone = self._look([other for other in self.layers if other != layer], form)
            excess[layer] = alone.excess_db
            yield
        order = sorted(excess, key=excess.__getitem__, reverse=True)
        fewest = Fewest(1, len(order), lambda count: not self._look(order[:count], form).wrong)
        yield from fewest.run()
        self._keep(order[: fewest.found or len(order)], "which a target gets wrong in int8")

    def _skip(self) -> Iterator[None]:
        if self._look(self.kept).holds:
            yield
            self._say("the limits hold with every layer in int8 that can be")
            return
        study = Sensitivity(
            self.model, self.step, self.bench.context, [self.bench.reference],
            self.bench.expected.arrays, self.bench.expected.outputs,
        )  # fmt: skip
        noise: dict[str, float] = {}
        members = [layer for layer in self.layers if layer not in self.kept]
        for layer, cost in study.order(members, self.bench.workspace):
            noise[layer] = cost
            yield
        before = self.kept
        order = sorted(noise, key=noise.__getitem__, reverse=True)
        fewest = Fewest(1, len(order), lambda n: self._look((*before, *order[:n])).holds)
        yield from fewest.run()
        if fewest.found is None:
            self._say("the limits do not hold even with every layer in float")
            return
        self._keep(order[: fewest.found], "which cost the most")

    def _keep(self, layers: Sequence[str], why: str) -> None:
        self.kept = (*self.kept, *layers)
        text = f"{len(layers)} of {units.plural(len(self.layers), 'layer')} stay in float, {why}: "
        self._say(text + ", ".join(layers))
        if self.step()(self.model, self.bench.context) is self.model:
            self._say("so nothing is left to write in int8")

    def _say(self, text: str) -> None:
        self.bench.notes.append(f"{self.asked.name}: {text}")
