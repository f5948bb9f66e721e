"""Choosing: what a search finds by point estimates, on samples that nothing is judged by.

original ─► its fastest engine ─► engine by engine: exact rewrites, then int8 on top ─► one race
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property

from modelcheck import units
from modelcheck.errors import ContainedFailure, NotEnoughEvidence, Unsupported
from modelcheck.judge import EquivalenceEvidence
from modelcheck.model import Model
from modelcheck.model.patterns import NEW, column_of
from modelcheck.process import Workspace
from modelcheck.reference import Reference, ReferenceActivations, open_reference
from modelcheck.searching.integers import Integers
from modelcheck.searching.looking import holds, limit_for, look, worst_agreement, worst_db
from modelcheck.searching.making import Maker
from modelcheck.searching.plan import Contender, Goal, SearchPlan
from modelcheck.searching.remembered import RememberedRanges
from modelcheck.searching.rewriting import OPENINGS, Rewriting
from modelcheck.searching.stopwatch import Gain, NotRun, Runner, Stopwatch, Times
from modelcheck.targets import Engine, Target
from modelcheck.transforms import Claim, Context, Transform, build
from modelcheck.tune.rightness import Expected
from modelcheck.verification import Progressed, StageStarted

RACE_ROUNDS, RACE_S = 40, 12.0
# The part of the time for choosing; the gate needs what is left.
_CHOOSING = 0.6
_REWRITING = 0.6  # of that, where int8 is tried too
_BEGINNING = 0.5  # of the time for rewrites, on all engines; then those go on that are near
_FAR_BEHIND = 1.3  # times the latency of the fastest engine
_LEAST_CLIMBING_S = 5.0
# A standard error of the original against itself above which nothing could be told apart.
_TOO_NOISY, _ATTEMPTS = 0.2, 3
_AGAIN = " again"
_WRONG = "its outputs are not those of onnxruntime"
_MENDING = build("rewrite", {})  # known faults; a model that has none stays as it is


@dataclass
class Choosing:
    """What one search chooses by, and what it has found so far: `contenders` and `notes`.

    First `expect`, then `time_original`, `explore` for as long as there is time, and `race`.
    """

    plan: SearchPlan
    workspace: Workspace
    stack: ExitStack
    contenders: list[Contender] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    original: dict[Engine, float] = field(default_factory=dict)  # seconds, where it is right
    mended: list[Engine] = field(default_factory=list)  # that are right without a known fault

    def __post_init__(self) -> None:
        plan = self.plan
        place = replace(plan.settings.target, engine=Engine.AUTO, optional=False)
        self.watch = self.stack.enter_context(
            Stopwatch(place, self.workspace, plan.child_limits, seed=plan.seed, memory=plan.memory)
        )

    def expect(self) -> None:
        """Read the samples to choose by, and what the reference makes of them."""
        plan, cores = self.plan, os.cpu_count() or 1
        first = self.stack.enter_context(
            open_reference(plan.model, self.workspace, threads=cores, limits=plan.child_limits)
        )
        self.opencv = self.watch.opencv()
        self.engines = _engines(plan.settings.target, self.opencv.engines)
        chosen = plan.samples.choosing
        self.expected = Expected.of(plan.model, list(chosen), first, synthetic=chosen.synthetic)
        context = Context(seed=plan.seed)
        calibration = plan.samples.calibration
        if plan.claim is Claim.LOSSY and calibration is not None:
            reference = self.stack.enter_context(Reference(threads=cores, limits=plan.child_limits))
            threads = max(1, cores // plan.workers)
            self.references = [
                self.stack.enter_context(Reference(threads=threads, limits=plan.child_limits))
                for _ in range(plan.workers)
            ]
            folder = self.stack.enter_context(Workspace())
            activations = ReferenceActivations(reference, calibration, folder)
            context = Context(seed=plan.seed, activations=RememberedRanges(activations))
        self.context = context
        self.make = Maker(plan.model, context)

    def time_original(self) -> None:
        """What the original takes on every engine that runs it rightly.

        Raises Unsupported where none does, NotEnoughEvidence where the original timed against
        itself tells that no race here would mean anything.
        """
        refused = []
        times = self._steady_times()
        for engine in self.engines:
            found = times[str(engine)]
            if isinstance(found, Times) and self._is_right(self.plan.model, engine):
                self.original[engine] = found.median_s
                continue
            reason = found.reason.splitlines()[0] if isinstance(found, NotRun) else _WRONG
            mended = self.made((_MENDING,))
            if mended != self.plan.model and self._is_right(mended, engine):
                self.mended.append(engine)
                reason += "; with known faults mended (`rewrite`) it does"
            refused.append(f"{engine}: {reason}")
        self.notes += [f"the original does not run rightly on {text}" for text in refused]
        if not self.original:
            raise Unsupported(
                "the original runs rightly on no engine there: " + "; ".join(refused),
                where=self.plan.settings.target.name,
                remedy="Search on what `modelcheck apply MODEL -t rewrite` makes of it."
                if self.mended
                else "`modelcheck verify MODEL` says more of each.",
            )
        self.baseline = min(self.original, key=self.original.__getitem__)

    def _steady_times(self) -> dict[str, Times | NotRun]:
        """A race of the original on all engines, each twice; of some, the first that is steady."""
        model = self.plan.model
        runners = {str(engine): Runner(model, engine) for engine in self.engines}
        runners |= {f"{engine}{_AGAIN}": Runner(model, engine) for engine in self.engines}
        worst = 0.0
        for attempt in range(_ATTEMPTS):
            found = self.watch.race(
                runners, self.expected.arrays, rounds=RACE_ROUNDS, seconds=RACE_S / 2,
                anew=attempt > 0,
            )  # fmt: skip
            gains = [
                again.gain_over(first) for engine in self.engines
                if isinstance(first := found[str(engine)], Times)
                and isinstance(again := found[f"{engine}{_AGAIN}"], Times)
            ]  # fmt: skip
            worst = max((gain.error for gain in gains), default=0.0)
            if worst <= _TOO_NOISY:
                return found
        raise NotEnoughEvidence(
            f"timings are too noisy to choose by: the original against itself is uncertain by "
            f"{units.percent(worst)} after {units.plural(RACE_ROUNDS, 'round')}",
            where=self.plan.settings.target.name,
            remedy="Stop what else runs on the machine, and search again.",
        )

    def explore(self) -> Iterator[StageStarted | Progressed]:
        lossy = self.context.activations is not None
        choosing_s = _CHOOSING * self.plan.time_budget_s
        begin_s = time.monotonic()
        rewriting_s = choosing_s * (_REWRITING if lossy else 1.0)
        done = 0
        yield StageStarted("looking for exact rewrites", None)
        exact: dict[Engine, Rewriting] = {}
        for _ in self._rewritings(exact, begin_s, rewriting_s):
            done += 1
            yield Progressed(done)
        for engine, found in exact.items():
            self._add("exact rewrites", engine, (*self._base(engine), *found.steps()))
            if found.out_of_time:
                self.notes.append(
                    f"{engine}: the time for rewrites was over; a larger --max-time tries more"
                )
        if not lossy:
            return
        if self.plan.goal is Goal.SMALLEST:
            self._shrink(exact)
        yield StageStarted("looking for layers to compute in int8", None)
        for number, found in enumerate(exact.values(), start=1):
            until_s = begin_s + rewriting_s + (choosing_s - rewriting_s) * number / len(exact)
            fastest = next(iter(exact.values()))
            integers = self._integers(found, Runner(fastest.net(), fastest.engine))
            for _ in integers.run(max(until_s, time.monotonic() + _LEAST_CLIMBING_S)):
                done += 1
                yield Progressed(done)
            self.contenders += integers.found

    def _rewritings(
        self, found: dict[Engine, Rewriting], begin_s: float, seconds: float
    ) -> Iterator[str]:
        """Fill `found` with the rewriting for each engine, the fastest first.

        All engines begin; those that are not far behind then go on, with the best opening.
        """
        engines = (*self.original, *self.mended)
        begun: list[Rewriting] = []
        for number, engine in enumerate(engines, start=1):
            until_s = begin_s + seconds * _BEGINNING * number / len(engines)
            make = Maker(self.made(self._base(engine)), Context())
            begun.append(
                Rewriting(make, self.expected.arrays, self.watch, engine, until_s, known={})
            )
            yield from begun[-1].begin()
        run = self._by_latency(begun)
        found.update({rewriting.engine: rewriting for _, rewriting in run})
        near = [r for latency_s, r in run if latency_s < _FAR_BEHIND * run[0][0]]
        for number, first in enumerate(near, start=1):
            share = _BEGINNING + (1 - _BEGINNING) * number / len(near)
            until_s, rivals = begin_s + seconds * share, [first]
            for rule in OPENINGS:
                other = replace(first, whole=(rule,), costs=[], chosen={}, afterwards=())
                if other.net() != first.make.model:
                    other.deadline_s, other.out_of_time = until_s, False
                    yield from other.begin()
                    rivals.append(other)
            ranked = self._by_latency(rivals) if len(rivals) > 1 else []
            best = ranked[0][1] if ranked else first
            best.deadline_s, best.out_of_time = until_s, False
            found[best.engine] = best
            yield from best.improve()

    def _by_latency(self, rewritings: Sequence[Rewriting]) -> list[tuple[float, Rewriting]]:
        """Those that run, the fastest first, each with its seconds a forward."""
        times = self.watch.race(
            {str(i): Runner(r.net(), r.engine) for i, r in enumerate(rewritings)},
            self.expected.arrays, rounds=RACE_ROUNDS, seconds=RACE_S / 2,
        )  # fmt: skip
        run = [
            (t.median_s, r) for i, r in enumerate(rewritings)
            if isinstance(t := times[str(i)], Times)
        ]  # fmt: skip
        return sorted(run, key=lambda one: one[0])

    def _integers(self, exact: Rewriting, rival: Runner) -> Integers:
        """The search for int8 layers on an engine, the rest as the exact search has written it."""
        before = (*self._base(exact.engine), *exact.prepared(), build("equalize", {}))
        return Integers(
            exact, rival, before, Maker(self.made(before), self.context), self.watch,
            self.expected.arrays, self.expected.outputs, self.references, self.workspace,
            self._contender, has_new=column_of(self.opencv.version, Engine.AUTO) == NEW,
        )  # fmt: skip

    def _shrink(self, exact: Mapping[Engine, Rewriting]) -> None:
        """What makes files smaller, whatever it does to their speed."""
        int8 = (build("equalize", {}), build("quantize", {"form": "qoperator"}))
        ways: dict[str, tuple[Transform, ...]] = {
            "weights in half floats": (build("fp16", {"scope": "weights"}),),
            "weights in int8": (build("quantize-weights", {}),),
            "int8": int8,
        }
        for engine, found in exact.items():
            for name, steps in ways.items():
                self._add(name, engine, (*self._base(engine), *found.prepared(), *steps))

    def _base(self, engine: Engine) -> tuple[Transform, ...]:
        """What every candidate on an engine begins with."""
        return (_MENDING, *self._tidying) if engine in self.mended else self._tidying

    @cached_property
    def _tidying(self) -> tuple[Transform, ...]:
        """Steps that change the model and keep it right on every engine."""
        steps: tuple[Transform, ...] = ()
        for step in (build("simplify", {}), build("fold-batchnorm", {})):
            if self.made((*steps, step)) != self.made(steps) and all(
                self._is_right(self.made((*mending, *steps, step)), engine)
                for mending, engines in (((), self.original), ((_MENDING,), self.mended))
                for engine in engines
            ):
                steps = (*steps, step)
        return steps

    def _is_right(self, model: Model, engine: Engine) -> bool:
        evidence = self._evidence(model, engine)
        return evidence is not None and self._holds(Claim.EXACT, evidence)

    def _add(self, name: str, engine: Engine, steps: tuple[Transform, ...]) -> Contender:
        found = self._contender(name, engine, steps)
        self.contenders.append(found)
        return found

    def _contender(self, name: str, engine: Engine, steps: tuple[Transform, ...]) -> Contender:
        """What the choosing samples say of these steps; their time is for the race."""
        model = self.made(steps)
        evidence = self._evidence(model, engine)
        target = replace(self.plan.settings.target, engine=engine)
        made = Contender(
            name, target, steps, Gain(0.0, 0.0), float("nan"), model.nbytes, float("nan"), None,
            holds=False,
        )  # fmt: skip
        if evidence is None:
            return made
        return replace(
            made,
            db=worst_db(evidence),
            agreement=worst_agreement(evidence),
            holds=self._holds(made.claim, evidence),
        )

    def made(self, steps: Sequence[Transform]) -> Model:
        return self.make(steps)

    def _evidence(self, model: Model, engine: Engine) -> EquivalenceEvidence | None:
        settings = self.plan.settings
        target = replace(settings.target, engine=engine)
        return look(self.watch, Runner(model, engine), self.expected, target, settings.limits)

    def _holds(self, claim: Claim, evidence: EquivalenceEvidence) -> bool:
        return holds(limit_for(self.plan.settings.limits, claim), evidence)

    def race(self) -> None:
        """All candidates and the original, in turn in one process: whose time is whose share."""
        runners = {"": Runner(self.plan.model, self.baseline)}
        for i, found in enumerate(self.contenders):
            if found.holds:
                runners[str(i)] = Runner(self.made(found.steps), found.target.engine)
        times = self.watch.race(runners, self.expected.arrays, rounds=RACE_ROUNDS, seconds=RACE_S)
        original = times.pop("")
        if isinstance(original, NotRun):
            raise ContainedFailure(f"the original no longer runs: {original.reason}")
        for key, one in times.items():
            if isinstance(one, Times):
                i = int(key)
                self.contenders[i] = replace(
                    self.contenders[i], gain=one.gain_over(original), latency_s=one.median_s
                )


def _engines(target: Target, known: Sequence[str]) -> tuple[Engine, ...]:
    """Those to try: all that there are for the device, or the one that was asked for."""
    if target.engine is not Engine.AUTO:
        return (target.engine,)
    named = tuple(Engine(name) for name in known if name != Engine.AUTO)
    if not target.device.is_cpu:  # OpenCV 5's new engine runs on the CPU only
        named = tuple(engine for engine in named if engine is not Engine.NEW)
        return named or (Engine.AUTO,)
    return named if len(named) > 1 else (Engine.AUTO,)
