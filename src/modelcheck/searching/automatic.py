"""What `auto` in a step stands for, found by measuring before anything is applied.

    steps ─► quantize: the form that every target computes rightly ─► layers to keep in float
          ─► the same steps, explicit: applying them again measures nothing

A target computes a file rightly if its outputs are as near to the original's as onnxruntime's are
of the same file. One file is for all targets; `search` makes the fastest for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from modelcheck import gate, units
from modelcheck.data import SplitSamples, ThreeSets, split_in_three
from modelcheck.model import Model
from modelcheck.process import ChildLimits, Workspace
from modelcheck.recipe import Automatic, Recipe, TargetSettings
from modelcheck.searching.places import Bench, Place, Trial
from modelcheck.searching.sensitivity import Fewest, Sensitivity, weight_layers
from modelcheck.searching.stopwatch import NotRun, Runner, Times
from modelcheck.transforms import Transform, build
from modelcheck.verification import Progressed, StageStarted

FORMS = ("qdq", "qoperator")
_RACE_ROUNDS, _RACE_S = 30, 6.0


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
        bench = Bench.open(model, samples, targets, workspace, stack, seed, child_limits)
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


@dataclass
class _Quantizing:
    """The choice of one quantize step. Iterate `run`, then `step` says it."""

    asked: Automatic
    model: Model
    bench: Bench

    def __post_init__(self) -> None:
        """`options` are what is found, but for the layers to keep: `kept`."""
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

    def _look(self, kept: Sequence[str], form: str | None = None) -> Trial:
        return self.bench.look(self.step(kept, form)(self.model, self.bench.context))

    def _choose_form(self) -> Iterator[None]:
        places = self.bench.places
        if "spare" not in self.asked.given and not any(place.has_new for place in places):
            self.options["spare"] = False  # what it spares are faults of the new engine
        trials: dict[str, Trial] = {}
        preferred = FORMS if any(place.is_new for place in places) else FORMS[::-1]
        for form in preferred:
            trial = self._look((), form)
            yield
            if trial.model is self.model:
                self._say(f"form={form} can write nothing of it in int8")
            else:
                trials[form] = trial
        if not trials:
            return
        for form, trial in trials.items():
            if trial.wrong:
                self._say(f"form={form} is not computed rightly on {', '.join(trial.wrong)}")
        right = [form for form in trials if not trials[form].wrong]
        if right:
            self.options["form"] = self._faster(right, trials) if len(right) > 1 else right[0]
            everywhere = "on every target" if len(places) > 1 else f"on {places[0].name}"
            self._say(f"form={self.options['form']} is computed rightly {everywhere}")
            return
        form = min(trials, key=lambda f: (len(trials[f].wrong), trials[f].excess_db))
        self.options["form"] = form
        yield from self._keep_wrong_ones(form)

    def _faster(self, forms: Sequence[str], trials: Mapping[str, Trial]) -> str:
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

    def _gain_text(self, place: Place, forms: Sequence[str], first: Times, other: Times) -> str:
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
        made = self.step()(self.model, self.bench.context)
        if made is self.model:
            return
        if self.bench.look(made).holds:
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
