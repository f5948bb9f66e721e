"""How to write a net anew for one engine: as a whole, and layer by layer.

A layer by itself says which forms are worth a try; what it costs beside others differs (engines
keep tensors in layouts of their own), so only races of whole nets decide:

    1. rules that write a whole net anew, one after the other: what is faster stays
    2. every kind of layer, in every form that a rule gives it, in one race
    3. the net with the forms that were faster there; then nets with other forms of many kinds, as
       a cost model proposes them that begins with what layers took by themselves and learns from
       every race. What is provably faster stays, until nothing is, or the time is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from modelcheck.model import Model
from modelcheck.searching.climbing import Climb, pays
from modelcheck.searching.cost_model import Assignment, Choice, CostModel, Prior
from modelcheck.searching.layers import Kind, kinds
from modelcheck.searching.making import Maker
from modelcheck.searching.stopwatch import (
    Arrays,
    Gain,
    NotRun,
    Runner,
    Stopwatch,
    Times,
    gains_over,
)
from modelcheck.targets import Engine
from modelcheck.transforms import Transform, build
from modelcheck.transforms.rewrite import RULES

# What is tried on a whole net, before its layers are looked at and after they are chosen.
WHOLE = (
    "channels-first", "pad-into-conv", "residual-into-gate", "affine-into-conv",
    "shuffle-into-weights", "convtranspose-as-conv", "transpose-in-4d", "maxpool-in-turns",
    "channels-in-eights",
)  # fmt: skip
# What may pay only with other forms of the layers: a search begins with each of them, and without.
OPENINGS = ("siblings-as-one",)
AFTERWARDS = ("activation-apart", "globalpool-as-mean")
# What writes a layer as another operator. None is the layer as it stands.
FORMS = (
    "rows-into-channels", "groups-in-eights", "depthwise-in-threes",
    "conv1x1-as-matmul", "conv-as-matmul", "conv1x1-as-gemm", "conv-as-gemm",
    "activation-apart", "gemm-as-matmul", "matmul-as-gemm",
)  # fmt: skip

_ALONE_ROUNDS, _ALONE_S = 15, 0.4
NET_ROUNDS, NET_S = 15, 4.0
_UNSTEADY = 0.03  # a standard error of a race that a neighbour must have disturbed
_WORTH_A_TRY = 0.9  # what takes at most 1/0.9 of the time by itself may pay within the net
# What is left, within a net, of what a form saves a layer by itself; how far off that may be, as a
# part of it and in parts of the net's time.
_LEFT, _OFF, _OFF_AT_LEAST = 0.7, 0.5, 0.002


@dataclass(frozen=True)
class LayerCost:
    """What a kind of layer takes by itself: as it stands, and in each form that it can have."""

    kind: Kind
    as_it_is: Times
    forms: Mapping[str, Times]

    def saved_s(self, form: str) -> float:
        """By all layers of the kind together; negative where the form is slower."""
        one = self.as_it_is.median_s - self.forms[form].median_s
        return one * len(self.kind.layers)


@dataclass
class Rewriting:
    """The search on one engine: `begin`, then `improve`. What is chosen is the best at any time.

    Both yield what was done, in words. `whole` and `afterwards` are rules for the whole net, before
    and after those for layers.
    """

    make: Maker
    samples: Sequence[Arrays]
    watch: Stopwatch
    engine: Engine
    deadline_s: float  # of time.monotonic()
    whole: tuple[str, ...] = ()
    known: dict[str, dict[str, Times | NotRun]] = field(default_factory=dict)  # races, by kind
    costs: list[LayerCost] = field(default_factory=list)
    chosen: Assignment = field(default_factory=dict)
    afterwards: tuple[str, ...] = ()
    out_of_time: bool = False

    def begin(self) -> Iterator[str]:
        """The rules for the whole net, and every layer in the form that is faster by itself."""
        for rule in WHOLE:
            if self._try(replace(self, whole=(*self.whole, rule))):
                yield rule
        yield from self._look_at_layers()
        yield from self._start()
        for rule in AFTERWARDS:
            if self._try(replace(self, afterwards=(*self.afterwards, rule))):
                yield rule

    def improve(self) -> Iterator[str]:
        """Race nets with other forms of many kinds, for as long as any is faster."""
        plain_s = self._plain_s() if self.costs else None
        if plain_s is None:
            return
        climb = Climb(self.chosen, CostModel(self._priors(plain_s)), self._gains, self._late)
        for chosen in climb.run():
            self.chosen = chosen
            yield f"{len(self.chosen)} kinds of layers written anew"

    def prepared(self) -> tuple[Transform, ...]:
        """The steps before those for layers."""
        return tuple(_rewrite(rule) for rule in self.whole)

    def steps(self, assignment: Assignment | None = None) -> tuple[Transform, ...]:
        """The steps that write the net so."""
        after = tuple(_rewrite(rule) for rule in self.afterwards)
        return (*self.prepared(), *steps_of(self.forms(assignment)), *after)

    def forms(self, assignment: Assignment | None = None) -> dict[str, str]:
        """Layer by layer, the rule that writes it anew."""
        chosen = self.chosen if assignment is None else assignment
        return {
            layer: chosen[cost.kind.digest]
            for cost in self.costs
            if cost.kind.digest in chosen
            for layer in cost.kind.layers
        }

    def by_cost(self, layers: Iterable[str]) -> list[tuple[frozenset[str], float]]:
        """These layers in groups that cost the same, the dearest first, with their part of it all.

        Those of unknown cost are groups by themselves, and cost nothing.
        """
        wanted = set(layers)
        taken_s = {c.kind.digest: c.as_it_is.median_s * len(c.kind.layers) for c in self.costs}
        all_s = sum(taken_s.values())
        found = [
            (group, taken_s[c.kind.digest] / all_s) for c in self.costs
            if (group := frozenset(c.kind.layers) & wanted)
        ]  # fmt: skip
        known = frozenset[str]().union(*(group for group, _ in found))
        rest = [(frozenset((name,)), 0.0) for name in layers if name not in known]
        return sorted(found, key=lambda one: -one[1]) + rest

    def net(self, assignment: Assignment | None = None) -> Model:
        """The model as the steps write it."""
        return self.make(self.steps(assignment))

    def _try(self, other: Self) -> bool:
        """Take another's rules for the whole net if they make it faster; whether they change it."""
        now, then = self.net(), other.net()
        if then == now:
            return False
        looks = [self._race(now, [then]).get(0)]
        if looks[0] is not None and looks[0].error > _UNSTEADY and not self._late():
            looks.append(self._race(now, [then]).get(0))
        gain = min((g for g in looks if g is not None), key=lambda g: g.error, default=None)
        # One look at each, and few of them: what is no faster, in one of six, does little harm.
        if gain is not None and pays(gain, errors=1.0):
            self.whole, self.afterwards = other.whole, other.afterwards
        return True

    def _look_at_layers(self) -> Iterator[str]:
        operators = frozenset[str]().union(*(RULES[form].operators for form in FORMS))
        shapes = {name: array.shape for name, array in self.samples[0].items()}
        for kind in kinds(self.make(self.prepared()), operators, shapes):
            changed = {
                form: model
                for form in FORMS
                if kind.operator in RULES[form].operators
                and (model := _rewrite(form)(kind.alone)) is not kind.alone
            }
            if not changed:
                continue
            if self._late():
                return
            if kind.digest not in self.known:
                self.known[kind.digest] = self.watch.race(
                    {f: Runner(m, self.engine) for f, m in {"": kind.alone, **changed}.items()},
                    [kind.sample()], rounds=_ALONE_ROUNDS, seconds=_ALONE_S,
                )  # fmt: skip
            found = dict(self.known[kind.digest])
            as_it_is = found.pop("")
            runs = {form: t for form, t in found.items() if isinstance(t, Times)}
            if isinstance(as_it_is, Times) and runs:
                self.costs.append(LayerCost(kind, as_it_is, runs))
                yield f"layer {kind.layers[0]}"

    def _start(self) -> Iterator[str]:
        """The net with everything that was faster by itself, beside the net as it is."""
        best = {cost.kind.digest: form for cost in self.costs if (form := _best_form(cost))}
        if best:  # however late: one race is what the looks at layers were for
            gain = self._gains(self.chosen, [best]).get(0)
            self.chosen = best if gain is not None and pays(gain) else self.chosen
            yield "the fastest form of every layer"

    def _priors(self, plain_s: float) -> dict[Choice, Prior]:
        """What each form that may pay is thought to do to a net that takes so long."""
        found: dict[Choice, Prior] = {}
        for cost in self.costs:
            for form, times in cost.forms.items():
                saved = cost.saved_s(form) / plain_s
                worth = times.median_s * _WORTH_A_TRY <= cost.as_it_is.median_s
                if worth or self.chosen.get(cost.kind.digest) == form:
                    off = _OFF * abs(saved) + _OFF_AT_LEAST
                    found[cost.kind.digest, form] = Prior(-_LEFT * saved, off)
        return found

    def _plain_s(self) -> float | None:
        """What the net takes with its layers as they are; None where it does not run."""
        found = self.watch.race(
            {"": Runner(self.net({}), self.engine)}, self.samples, rounds=NET_ROUNDS, seconds=NET_S
        )[""]
        return found.median_s if isinstance(found, Times) else None

    def _gains(self, chosen: Assignment, rivals: Sequence[Assignment]) -> dict[int, Gain | None]:
        """How much faster each net is than the chosen one."""
        return self._race(self.net(chosen), [self.net(rival) for rival in rivals])

    def _race(self, first: Model, rivals: Sequence[Model]) -> dict[int, Gain | None]:
        return gains_over(
            self.watch, Runner(first, self.engine), [Runner(net, self.engine) for net in rivals],
            self.samples, rounds=NET_ROUNDS, seconds=NET_S,
        )  # fmt: skip

    def _late(self) -> bool:
        self.out_of_time = self.out_of_time or time.monotonic() > self.deadline_s
        return self.out_of_time


def _best_form(cost: LayerCost) -> str | None:
    """The form that is faster by itself, if one is."""
    best = max(cost.forms, key=cost.saved_s)
    return best if pays(cost.forms[best].gain_over(cost.as_it_is)) else None


def steps_of(forms: Mapping[str, str]) -> tuple[Transform, ...]:
    """A step for each rule, with the layers that it writes."""
    steps = []
    for rule in FORMS:
        only = [layer for layer, form in forms.items() if form == rule]
        if only:
            steps.append(_rewrite(rule, only=only))
    return tuple(steps)


def _rewrite(rule: str, **options: object) -> Transform:
    return build("rewrite", {"rules": [rule], **options})
