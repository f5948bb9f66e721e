"""The orchestrator of tuning: a plan goes in, events come out, the last one with the result."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from modelcheck import units
from modelcheck.errors import ContainedFailure, NotEnoughEvidence, Unsupported
from modelcheck.judge import Outcome
from modelcheck.judge.serving import Measure
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import open_reference
from modelcheck.targets import OpenCV, Target
from modelcheck.tune.decision import MEASURES, proven, race_keys, recommend, verdict
from modelcheck.tune.events import Event, Tuned
from modelcheck.tune.exploration import Exploration
from modelcheck.tune.plan import Proven, TunePlan, Tuning
from modelcheck.tune.race import DEFAULT, ROUNDS_BEFORE_DECISIONS, WORKERS, Race
from modelcheck.tune.rightness import Expected
from modelcheck.tune.settings import Setting
from modelcheck.tune.space import Space, space_of
from modelcheck.tune.tried import Standing, Tried, choose
from modelcheck.tune.workbench import Workbench
from modelcheck.verification import Foreseen, Progressed, StageStarted
from modelcheck.verification.known import faults_of, findings
from modelcheck.verification.placing import macs_by_layer

# The part of the time that looks for settings; the rest proves the best ones.
_LOOKING = 0.55


def tune(plan: TunePlan) -> Iterator[Event]:
    """Find the settings of least latency and most throughput, and prove them against the default.

    Raises ModelcheckError where nothing can be measured: a reference or a target that does not
    run, limits that contradict each other, a budget that is too small for a proof.
    """
    with Workspace() as workspace:
        yield from _Run(plan, workspace).events()


@dataclass
class _Run:
    plan: TunePlan
    workspace: Workspace
    start_s: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)
    opencv: dict[Target, OpenCV] = field(default_factory=dict)

    def events(self) -> Iterator[Event]:
        plan = self.plan
        self.path = self.workspace.path / "model.onnx"
        write_private(plan.model, self.path)
        yield StageStarted("running the reference", None)
        self._expect()
        spaces = self._spaces()
        yield from self._foresee(spaces)
        plan.limits.check_possible(max(one.most_in_flight for one in spaces))
        exploration = Exploration(
            spaces, self.expected, plan.targets[0].limits.equivalence, self._bench,
            self.start_s + _LOOKING * plan.time_budget_s,
            frozenset(Setting(t.target).place for t in plan.targets if t.target.optional),
        )  # fmt: skip
        yield StageStarted("trying settings", None)
        for done in exploration.run():
            yield Progressed(done)
        self._take_notes(exploration)
        yield from self._prove(exploration)

    def _expect(self) -> None:
        """Read the samples and what the reference makes of them."""
        plan = self.plan
        threads = os.cpu_count() or 1
        with open_reference(
            plan.model, self.workspace, threads=threads, limits=plan.child_limits
        ) as reference:
            reference.check(self.path)
            samples = list(islice(plan.samples, plan.samples.count))
            self.expected = Expected.of(
                plan.model, samples, reference, synthetic=plan.samples.synthetic
            )
            self.unbatched = self.expected.why_not_batched(reference)
            shapes = {n: a.shape for n, a in self.expected.samples[0].arrays.items()}
            self.macs = macs_by_layer(plan.model, reference, shapes)
            self.findings = findings(plan.model, shapes, reference)
        left_out = len(samples) - len(self.expected.samples)
        if left_out:
            self.notes.append(
                f"{units.plural(left_out, 'sample')} of another shape than the first left out"
            )
        if self.unbatched:
            self.notes.append(f"one sample a request: {self.unbatched}")

    def _spaces(self) -> list[Space]:
        """What may be varied on each target; optional ones that are not there are left out."""
        found = []
        for settings in self.plan.targets:
            target = settings.target
            place = Setting(target).place
            try:
                with self._bench() as bench:
                    self.opencv[place] = bench.opencv(place)
            except (Unsupported, ContainedFailure) as error:
                if not target.optional:
                    raise
                self.notes.append(f"{target.name} was left out: {error.what}")
                continue
            batchable = self.unbatched is None
            found.append(
                space_of(target, self.opencv[place], batchable, self.expected.sample_bytes)
            )
        if not found:
            raise Unsupported("no target is there", where="--target")
        return found

    def _foresee(self, spaces: list[Space]) -> Iterator[Event]:
        """Say what is known to go wrong on the engines that will be tried."""
        for space in spaces:
            target = space.default.target
            engines = space.engines or (target.engine,)
            for engine in engines:
                tried = replace(target, engine=engine)
                models = {"the model": (self.findings, None)}
                for fault in faults_of(tried, self.opencv[space.default.place], models):
                    if fault.foreseeable:
                        yield Foreseen(tried.name, fault)
                        self.notes.append(f"{tried.name}: {fault.describe()}")

    def _bench(self) -> Workbench:
        return Workbench(
            self.path,
            self.expected,
            name="a tuning worker",
            limits=self.plan.child_limits,
            macs=self.macs,
            max_fallback=self.plan.targets[0].limits.fallback_allowed(),
        )

    def _take_notes(self, exploration: Exploration) -> None:
        self.notes += exploration.notes
        if exploration.out_of_time:
            tried = units.plural(len(exploration.tried), "setting")
            self.notes.append(f"the time was over after {tried}; a larger --time-budget tries more")

    def _prove(self, exploration: Exploration) -> Iterator[Event]:
        tried = list(exploration.tried)
        while True:
            race = self._race(exploration, tried)
            yield StageStarted("judging the best settings", None)
            judging_s = time.monotonic()
            race.judge()
            judging_s = time.monotonic() - judging_s
            self._check_evidence(race)
            self._check_device(race)
            wrong = [key for key, c in race.checks.items() if c.outcome is not Outcome.PASS]
            if not any(key != DEFAULT for key in wrong):
                break
            for key in wrong:  # found wrong by more samples: the next best takes its place
                tried = [_refuted(t, race, key) for t in tried]
        self._check_time(race, judging_s)
        yield StageStarted("proving the best settings", None)
        for done in race.run(self.start_s + self.plan.time_budget_s):
            yield Progressed(done)
        if not race.rounds:
            raise NotEnoughEvidence(
                "the time was over before anything was proven",
                where="--time-budget",
                remedy="Give it more.",
            )
        yield Tuned(self._result(race, tried))

    def _race(self, exploration: Exploration, tried: list[Tried]) -> Race:
        plan, default = self.plan, exploration.default
        chosen: dict[Measure, Setting | None] = {}
        for measure in MEASURES:
            best = choose(
                tried, measure, plan.limits,
                default_latency_s=exploration.default_latency_s,
                default_samples_per_s=exploration.default_samples_per_s,
            )  # fmt: skip
            chosen[measure] = None if best is None else best.setting
        rivals = race_keys(chosen, default)
        settings = {DEFAULT: default, **rivals}
        latency = {t.setting: exploration.default_latency_s / t.latency_gain for t in tried}
        wanted: dict[str, tuple[Measure, ...]] = {
            key: tuple(m for m in MEASURES if chosen[m] == setting)
            for key, setting in rivals.items()
        }
        return Race(
            settings=settings,
            wanted=wanted,
            expected=self.expected,
            limit=plan.targets[0].limits.equivalence,
            limits=plan.limits,
            make_bench=self._bench,
            seed=plan.seed,
            request_s={key: latency[setting] for key, setting in settings.items()},
        )

    def _check_evidence(self, race: Race) -> None:
        """Samples that do not even decide on the default decide on nothing."""
        check = race.checks[DEFAULT]
        if check.outcome is Outcome.INCONCLUSIVE:
            raise NotEnoughEvidence(check.message)

    def _check_device(self, race: Race) -> None:
        """A CPU that plays an OpenCL device shows right and wrong, not the speed of a GPU."""
        simulated = {p.actual for p in race.placements.values() if p.simulated}
        if not simulated:
            return
        where = ", ".join(sorted(simulated))
        if self.plan.limits.declared:
            raise Unsupported(
                "speed limits are not judged on an OpenCL device that is a CPU",
                where=where,
                remedy="Leave the limits out, or tune on the GPU.",
            )
        note = f"{where}: the OpenCL device is a CPU, so its speed says nothing about a GPU's"
        if note not in self.notes:
            self.notes.append(note)

    def _check_time(self, race: Race, judging_s: float) -> None:
        """Raise before the proof where it could not be finished, so that nothing is half known.

        `judging_s` is what it took to start one set of processes and to load every setting there.
        """
        spent_s = time.monotonic() - self.start_s
        needed_s = WORKERS * judging_s + ROUNDS_BEFORE_DECISIONS * race.round_s
        if spent_s + needed_s > self.plan.time_budget_s:
            # Trying takes its share of whatever is given.
            enough_s = max(spent_s + needed_s, needed_s / (1 - _LOOKING))
            at_least = units.duration(1.3 * enough_s)
            raise NotEnoughEvidence(
                f"{units.duration(self.plan.time_budget_s)} are not enough to prove anything: "
                f"{units.duration(spent_s)} went into starting and trying, and "
                f"{ROUNDS_BEFORE_DECISIONS} rounds in {WORKERS} sets of fresh processes take "
                f"about {units.duration(needed_s)}",
                where="--time-budget",
                remedy=f"Give it {at_least} or more.",
            )

    def _result(self, race: Race, tried: list[Tried]) -> Tuning:
        found: dict[str, Proven] = {
            key: proven(
                race.rounds, key, setting, DEFAULT,
                workers=WORKERS, meets=race.meets(key), check=race.checks[key],
            )
            for key, setting in race.settings.items()
        }  # fmt: skip
        default = found.pop(DEFAULT)
        rivals = tuple(found.values())
        outcome, message = verdict(default, rivals, self.plan.limits)
        return Tuning(
            plan=self.plan,
            default=default,
            rivals=rivals,
            best=recommend(default, rivals, self.plan.limits),
            tried=tuple(tried),
            outcome=outcome,
            message=message,
            rounds=len(race.rounds),
            workers=WORKERS,
            opencv=self.opencv,
            notes=tuple(self.notes),
            seconds=time.monotonic() - self.start_s,
        )


def _refuted(one: Tried, race: Race, key: str) -> Tried:
    if key == DEFAULT or one.setting != race.settings[key]:
        return one
    check = race.checks[key]
    standing = Standing.WRONG if check.outcome is Outcome.FAIL else Standing.UNPROVEN
    return replace(one, standing=standing, why=check.message)
