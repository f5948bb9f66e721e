"""int8 where it pays and holds: which layers, found on the choosing samples.

1. some sets of layers (all of them, only wide kernels, only 1x1) are written in int8, in each form
   that the engine knows, and raced
2. from the fastest on, kinds of layers go into the set or out of it, as a cost model proposes that
   learns from the races; on the new engine, layers that it gets wrong for their number of pixels
   are given more of them, if that is faster
3. a set that is faster than the fastest exact form is held to the limits, with its steps found in
   one way after another; of one that misses them all the costliest layers stay in float
4. where nothing holds them in the form that was faster, 2 and 3 in the other one
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from modelcheck import units
from modelcheck.model import Model
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.searching.climbing import Climb, pays
from modelcheck.searching.cost_model import Assignment, Choice, CostModel, Prior
from modelcheck.searching.making import Maker
from modelcheck.searching.plan import Contender
from modelcheck.searching.rewriting import NET_ROUNDS, NET_S, Rewriting, steps_of
from modelcheck.searching.sensitivity import Fewest, Sensitivity, weight_layers
from modelcheck.searching.stopwatch import Arrays, Gain, Runner, Stopwatch, gains_over
from modelcheck.targets import Engine
from modelcheck.transforms import Transform, build
from modelcheck.transforms.graph import is_standard, layer_name

Members = frozenset[str]  # layers in int8, by name
# Ways to find steps, by what they add to a set's name, in the order in which they are tried.
WAYS: Mapping[str, Mapping[str, object]] = {
    "": {},
    "mse ranges": {"calibration": "mse"},
    "mse ranges, of weights too": {"calibration": "mse", "weight_range": "mse"},
    "learned rounding": {
        "calibration": "mse",
        "weight_range": "mse",
        "rounding": "learned",
        "correct_bias": True,
    },
}
_WORTH_INT8 = 1.02
_HOPELESS = 0.7  # times as fast as the fastest exact form, before layers are looked at one by one
_INT8 = "int8"  # what a kind of layers is written as that is in the set
# What an engine runs right: the new one both, one of them faster, net by net.
_NEW_FORMS, _OLD_FORMS = ("qdq", "qoperator"), ("qoperator",)
_SAID = {"qdq": "", "qoperator": " as QOperator"}
# How much int8 may save or cost, as a part of a layer's time and in parts of the net's.
_OFF, _OFF_AT_LEAST = 0.4, 0.002


@dataclass
class Integers:
    """The search on one engine, above an exact one. Iterate `run`; `found` is what came of it.

    `rival` is the fastest exact form of all engines: what is not faster is no use. `before` are the
    steps that come first, and `make` goes on from what they make.
    """

    exact: Rewriting
    rival: Runner
    before: tuple[Transform, ...]
    make: Maker
    watch: Stopwatch
    samples: Sequence[Arrays]
    expected: Sequence[Arrays]  # what the model in float gives
    references: Sequence[Reference]
    workspace: Workspace
    contender: Callable[[str, Engine, tuple[Transform, ...]], Contender]
    has_new: bool = True  # whether this OpenCV has the new engine
    found: list[Contender] = field(default_factory=list)
    more_pixels: bool = False  # so that no layer of the set stays in float for theirs

    def __post_init__(self) -> None:
        self.layers = weight_layers(self.make.model)
        self.forms = _NEW_FORMS if self.exact.engine is Engine.NEW else _OLD_FORMS
        self.form = self.forms[0]
        # What `spare` avoids are faults of the new engine, which a program gets that names none.
        self.common: Mapping[str, object] = {} if self.has_new else {"spare": False}

    def run(self, until_s: float) -> Iterator[None]:
        """Yields after every race and every look at outputs; nothing new begins after `until_s`."""
        best = self._best_sets()
        yield
        for self.form, (ratio, name, members) in best.items():
            if ratio >= _HOPELESS:
                yield from self._from(name, members, until_s)
            if any(one.holds for one in self.found) or time.monotonic() > until_s:
                return

    def _best_sets(self) -> dict[str, tuple[float, str, Members]]:
        """Of each form, the fastest first, the fastest set: how fast, over the rival, and which."""
        tried = [(form, *one) for form in self.forms for one in sets_to_try(self.layers).items()]
        gains = self._race(self.rival, [self._runner(members, form) for form, _, members in tried])
        run = [(gain.ratio, *tried[i]) for i, gain in gains.items() if gain is not None]
        best: dict[str, tuple[float, str, Members]] = {}
        for ratio, form, name, members in sorted(run, key=lambda one: -one[0]):
            best.setdefault(form, (ratio, name, members))
        return best

    def _from(self, name: str, members: Members, until_s: float) -> Iterator[None]:
        """The search from one set of layers on, in one form."""
        climb = self._climb(members, until_s)
        for _ in climb.run():
            yield
        climbed = self._in_int8(climb.chosen)
        if not climbed:
            return
        if climbed != members:
            name, members = f"int8 in {units.plural(len(climbed), 'layer')}", climbed
        if self._take_more_pixels(members):
            name = f"{name}, pixels in eights"
            yield
        over = self._gains(None, [members]).get(0)
        if over is None or over.ratio < _WORTH_INT8:
            return
        tried: dict[str, Contender] = {}
        for way in WAYS:
            tried[way] = self._contender(name, members, way)
            yield
            if tried[way].holds or time.monotonic() > until_s:
                break
        way = max(tried, key=lambda w: (tried[w].holds, tried[w].db))
        self.found.append(tried[way])
        if not tried[way].holds:
            yield from self._spare(name, members, way)

    def _climb(self, members: Members, until_s: float) -> Climb:
        """Kinds of layers go into the set and out of it for as long as that makes it faster."""
        priors: dict[Choice, Prior] = {
            (part, _INT8): Prior(0.0, _OFF * share + _OFF_AT_LEAST)
            for part, (_, share) in self._parts.items()
        }
        first = {part: _INT8 for part, (group, _) in self._parts.items() if group <= members}

        def gains(now: Assignment, rivals: Sequence[Assignment]) -> dict[int, Gain | None]:
            return self._gains(self._in_int8(now), [self._in_int8(rival) for rival in rivals])

        return Climb(first, CostModel(priors), gains, lambda: time.monotonic() > until_s)

    @cached_property
    def _parts(self) -> dict[str, tuple[Members, float]]:
        """Layers that cost the same, by one of them, with their part of the time."""
        return {min(group): (group, share) for group, share in self.exact.by_cost(self.layers)}

    def _in_int8(self, assignment: Assignment) -> Members:
        return frozenset[str]().union(*(self._parts[part][0] for part in assignment))

    def _take_more_pixels(self, members: Members) -> bool:
        """Decide by a race whether layers are given more pixels, where that makes a difference."""
        if self.exact.engine is not Engine.NEW or not with_more_pixels(self.make.model, members):
            return False
        plain = self._runner(members)
        self.more_pixels = True
        gain = self._race(plain, [self._runner(members)]).get(0)
        self.more_pixels = gain is not None and pays(gain)
        return self.more_pixels

    def _spare(self, name: str, members: Members, way: str) -> Iterator[None]:
        """Keep the fewest of the costliest layers in float with which the limits hold."""
        layers = list(self.layers)
        study = Sensitivity(
            self.make.model, lambda keep: quantizer(self.form, layers, keep, self.common),
            self.make.context, self.references, self.samples, self.expected,
        )  # fmt: skip
        noise: dict[str, float] = {}
        for layer, cost in study.order(sorted(members), self.workspace):
            noise[layer] = cost
            yield
        costly = sorted(noise, key=noise.__getitem__, reverse=True)
        trials: dict[int, Contender] = {}

        def holds(count: int) -> bool:
            spared = f"{name}, {units.plural(count, 'layer')} in float"
            trials[count] = self._contender(spared, members - set(costly[:count]), way)
            return trials[count].holds

        fewest = Fewest(1, len(costly) - 1, holds)
        yield from fewest.run()
        if fewest.found is not None:
            self.found.append(trials[fewest.found])

    def _contender(self, name: str, members: Members, way: str) -> Contender:
        said = _SAID[self.form] if len(self.forms) > 1 else ""
        name = f"{name}{said}, {way}" if way else f"{name}{said}"
        steps = (*self.before, *self._after(members, way))
        return self.contender(name, self.exact.engine, steps)

    def _after(self, members: Members, way: str = "", form: str = "") -> tuple[Transform, ...]:
        """The steps that write these layers in int8, and the others as the exact search has."""
        keep = [name for name in self.layers if name not in members]
        rest = {layer: rule for layer, rule in self.exact.forms().items() if layer in set(keep)}
        # What the exact search writes so, or as products, has few channels: int8 is slow at them.
        few = frozenset(self.exact.forms()) & members
        before = rewritten(self.make.model, few, "rows-into-channels")
        if self.more_pixels:
            before += with_more_pixels(self.make.model, members - few)
        step = quantizer(form or self.form, list(self.layers), keep, {**self.common, **WAYS[way]})
        return (*before, step, *steps_of(rest))

    def _gains(self, now: Members | None, rivals: Sequence[Members]) -> dict[int, Gain | None]:
        """Over a set, or over the fastest exact form."""
        first = self.rival if now is None else self._runner(now)
        return self._race(first, [self._runner(rival) for rival in rivals])

    def _race(self, first: Runner, rivals: Sequence[Runner]) -> dict[int, Gain | None]:
        return gains_over(self.watch, first, rivals, self.samples, rounds=NET_ROUNDS, seconds=NET_S)

    def _runner(self, members: Members, form: str = "") -> Runner:
        return Runner(self.make(self._after(members, form=form)), self.exact.engine)


def quantizer(
    form: str, layers: Sequence[str], keep: Sequence[str], way: Mapping[str, object] = WAYS[""]
) -> Transform:
    """The step that writes `layers` in int8, but for those to keep in float."""
    return build(
        "quantize", {"form": form, "exclude": [n for n in layers if n in set(keep)], **way}
    )


def with_more_pixels(model: Model, members: Members) -> tuple[Transform, ...]:
    """The step that gives convolutions more pixels for the new engine; none where it does not."""
    return rewritten(model, members, "pixels-in-eights")


def rewritten(model: Model, members: Members, rule: str) -> tuple[Transform, ...]:
    """The step that rewrites those convolutions by a rule; none where that changes nothing."""
    named = [
        name for n in model.graph if is_standard(n, "Conv") and (name := layer_name(n)) in members
    ]
    if not named:
        return ()
    step = build("rewrite", {"rules": [rule], "only": named})
    return () if step(model) is model else (step,)


def sets_to_try(layers: Mapping[str, tuple[int, ...]]) -> dict[str, Members]:
    """Sets of layers by a name; those that are empty, or like another one, are left out."""
    wide = [n for n, shape in layers.items() if max(shape[2:], default=1) > 1 and shape[1] > 1]
    dense = [n for n, shape in layers.items() if max(shape[2:], default=1) == 1]
    deep = [n for n, shape in layers.items() if len(shape) < 3 or shape[1] > 1]
    found: dict[str, Members] = {}
    named = {"int8": list(layers), "int8 but depthwise": deep, "int8 k×k": wide, "int8 1×1": dense}
    for name, members in named.items():
        if members and frozenset(members) not in found.values():
            found[name] = frozenset(members)
    return found
