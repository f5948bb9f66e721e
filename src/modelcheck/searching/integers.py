"""int8 where it pays and holds: which layers, found on the choosing samples.

1. some sets of layers (all of them, only wide kernels, only 1x1) are written in int8 and raced
2. from the fastest on, kinds of layers go into the set or out of it, as a cost model proposes that
   learns from the races; on the new engine, layers that it gets wrong for their number of pixels
   are given more of them, if that is faster
3. a set that is faster than the fastest exact form is held to the limits, with its steps found in
   one way after another; of one that misses them all the costliest layers stay in float
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
_INT8 = "int8"  # the form of a kind of layers that is in the set
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
        # What each engine runs fast, and rightly.
        self.form = "qdq" if self.exact.engine is Engine.NEW else "qoperator"
        # What `spare` avoids are faults of the new engine, which a program gets that names none.
        self.common: Mapping[str, object] = {} if self.has_new else {"spare": False}

    def run(self, until_s: float) -> Iterator[None]:
        """Yields after every race and every look at outputs; nothing new begins after `until_s`."""
        named = sets_to_try(self.layers)
        first = {i: g for i, g in self._gains(None, list(named.values())).items() if g is not None}
        yield
        if not first or max(gain.ratio for gain in first.values()) < _HOPELESS:
            return
        name, members = list(named.items())[max(first, key=lambda i: first[i].ratio)]
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
        gain = gains_over(
            self.watch, plain, [self._runner(members)], self.samples,
            rounds=NET_ROUNDS, seconds=NET_S,
        ).get(0)  # fmt: skip
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
        name = f"{name}, {way}" if way else name
        steps = (*self.before, *self._after(members, way))
        return self.contender(name, self.exact.engine, steps)

    def _after(self, members: Members, way: str = "") -> tuple[Transform, ...]:
        """The steps that write these layers in int8, and the others as the exact search has."""
        keep = [name for name in self.layers if name not in members]
        rest = {layer: form for layer, form in self.exact.forms().items() if layer in set(keep)}
        before = with_more_pixels(self.make.model, members) if self.more_pixels else ()
        step = quantizer(self.form, list(self.layers), keep, {**self.common, **WAYS[way]})
        return (*before, step, *steps_of(rest))

    def _gains(self, now: Members | None, rivals: Sequence[Members]) -> dict[int, Gain | None]:
        """Over a set, or over the fastest exact form."""
        return gains_over(
            self.watch, self.rival if now is None else self._runner(now),
            [self._runner(rival) for rival in rivals], self.samples,
            rounds=NET_ROUNDS, seconds=NET_S,
        )  # fmt: skip

    def _runner(self, members: Members) -> Runner:
        return Runner(self.make(self._after(members)), self.exact.engine)


def quantizer(
    form: str, layers: Sequence[str], keep: Sequence[str], way: Mapping[str, object] = WAYS[""]
) -> Transform:
    """The step that writes `layers` in int8, but for those to keep in float."""
    return build(
        "quantize", {"form": form, "exclude": [n for n in layers if n in set(keep)], **way}
    )


def with_more_pixels(model: Model, members: Members) -> tuple[Transform, ...]:
    """The step that gives convolutions more pixels for the new engine; none where it does not."""
    named = [
        name for n in model.graph if is_standard(n, "Conv") and (name := layer_name(n)) in members
    ]
    if not named:
        return ()
    step = build("rewrite", {"rules": ["pixels-in-eights"], "only": named})
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
