"""The speed stage: every target whose models ran is timed, and judged where a limit asks for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import Blame, Check, Outcome, SpeedEvidence, judge_speed, measure_speed
from modelcheck.judge.absolute import BudgetCase, judge_budget
from modelcheck.judge.budgets import KINDS, Budget, Of
from modelcheck.model import Model, wire
from modelcheck.recipe import Baseline, CheckKind, TargetSettings
from modelcheck.targets import Target
from modelcheck.verification.events import Event, Progressed, StageStarted
from modelcheck.verification.fresh import FreshStarts
from modelcheck.verification.lane import Arrays, Files, Lane
from modelcheck.verification.plan import Plan
from modelcheck.verification.timing import Timer, TimingRequest, original_latency_s

_FASTER_ELSEWHERE = 1.1
_FRESH_SHARE = 0.5  # of the time budget, where there are budgets for fresh processes


@dataclass
class SpeedStage:
    """Times the lanes. Iterate `run()`; then there are speeds and checks by lane, and warnings."""

    plan: Plan
    files: Files
    lanes: Sequence[Lane]
    samples: Sequence[Arrays]  # of one shape
    speeds: dict[int, SpeedEvidence] = field(default_factory=dict)
    checks: dict[int, list[Check]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _original_s: dict[int, float] = field(default_factory=dict)

    def run(self) -> Iterator[Event]:
        yield from self._find_fastest_engines()
        for i, lane in enumerate(self.lanes):
            if not lane.alive:
                continue
            self.checks[i] = self._judge_file_size(lane)
            if lane.simulated:
                self.warnings.append(
                    f"{lane.settings.target.name}: speed was not judged, because the OpenCL device "
                    "is a CPU"
                )
                continue
            yield from self._time(i, lane)
        self._judge_without_evidence()
        self._warn_of_faster_targets()

    def _judge_without_evidence(self) -> None:
        """A limit that no target could be judged by is no pass."""
        found = (check for checks in self.checks.values() for check in checks)
        if any(not _is_exact(check.kind) for check in found):
            return
        for i, lane in enumerate(self.lanes):
            limits, target = lane.settings.limits, lane.settings.target
            if not lane.alive or not lane.simulated:
                continue
            kinds = [budget.key for budget in limits.budgets if not _is_exact(budget.key)]
            if self._request(i).required is not None:
                kinds.insert(0, CheckKind.SPEED)
            self.checks[i] += [
                Check(
                    kind,
                    target.name,
                    Outcome.INCONCLUSIVE,
                    f"{target.name}: the {kind} limit was not judged, because the OpenCL "
                    "device is a CPU. Judge it on the GPU, or on a target that is a CPU.",
                    Blame.TARGET,
                    optional=target.optional,
                )
                for kind in kinds
            ]

    def _judge_file_size(self, lane: Lane) -> list[Check]:
        """A file has one size, wherever it runs: that of the model as one file."""
        plan, target = self.plan, lane.settings.target
        original = file_bytes(plan.original)
        judged = original if plan.candidate is None else file_bytes(plan.candidate)
        return [
            judge_budget(
                BudgetCase(
                    target.name,
                    budget,
                    values=[judged],
                    original=[original],
                    alone=plan.candidate is None,
                    optional=target.optional,
                )
            )
            for budget in lane.settings.limits.budgets
            if budget.kind.of is Of.FILE
        ]

    def _time(self, i: int, lane: Lane) -> Iterator[Event]:
        """Fresh processes first, then calls; the time budget is for both together."""
        request, begin_s = self._request(i), time.monotonic()
        target = lane.settings.target
        fresh = FreshStarts(
            lane.settings, self.files, self.samples[0], self._budgets(lane, Of.PROCESS),
            request.checks, _FRESH_SHARE * request.budget_s, request.limits,
        )  # fmt: skip
        yield StageStarted(f"timing {target.name}", None)
        try:
            for done in fresh.run():
                yield Progressed(done)
            left_s = max(0.0, request.budget_s - (time.monotonic() - begin_s))
            timer = Timer(replace(request, budget_s=left_s))
            for done in timer.run():
                yield Progressed(done)
        except (Unsupported, ContainedFailure) as error:
            lane.fail(Outcome.UNSUPPORTED, Blame.TARGET, f"a timing worker failed: {error.what}")
            return
        self._judge(i, timer, fresh)

    def _judge(self, i: int, timer: Timer, fresh: FreshStarts) -> None:
        request, case, fitness = timer.request, timer.case(), timer.fitness()
        evidence = measure_speed(case)
        if evidence is not None:
            self.speeds[i] = evidence
        if request.required is not None:
            self.checks[i].insert(0, judge_speed(case))
        cases = [timer.budget_case(budget) for budget in request.budgets]
        cases += [fresh.case(budget, fitness) for budget in fresh.budgets]
        band = self.plan.bands.get(case.target)
        for found in cases:
            known = band if found.budget.kind.of is Of.CALL else None
            self.checks[i].append(judge_budget(replace(found, band=known)))

    @staticmethod
    def _budgets(lane: Lane, *of: Of) -> tuple[Budget, ...]:
        return tuple(b for b in lane.settings.limits.budgets if b.kind.of in of)

    def _find_fastest_engines(self) -> Iterator[Event]:
        """With --baseline best: how fast the original is on each target."""
        if self.plan.judging.baseline is not Baseline.BEST or self.plan.candidate is None:
            return
        yield StageStarted("finding the original's fastest engine", len(self.lanes))
        for i, lane in enumerate(self.lanes):
            if lane.alive and not lane.simulated:
                self._original_s[i] = original_latency_s(
                    lane.settings, self.files, self.samples[0], self.plan.child_limits
                )
            yield Progressed(i + 1)

    def _baseline(self, i: int) -> TargetSettings:
        """Where the original of lane i is timed: its fastest engine there, if that is asked for.

        One process times both models, so the baseline differs in nothing but the engine.
        """
        own = self.lanes[i].settings
        if self.plan.original_on is not None:
            return replace(own, target=replace(own.target, engine=self.plan.original_on))
        rivals = [
            k for k in self._original_s if _same_place(self.lanes[k].settings.target, own.target)
        ]
        if not rivals:
            return own
        return self.lanes[min(rivals, key=self._original_s.__getitem__)].settings

    def _request(self, i: int) -> TimingRequest:
        plan, settings = self.plan, self.lanes[i].settings
        baseline = self._baseline(i).target
        other = baseline != settings.target
        required = settings.limits.speed_ratio_required() if plan.candidate is not None else None
        return TimingRequest(
            settings=settings,
            files=self.files,
            samples=self.samples,
            required=required,
            checks=plan.speed_checks,
            budget_s=plan.judging.time_budget_s,
            seed=plan.seed,
            limits=plan.child_limits,
            budgets=self._budgets(self.lanes[i], Of.CALL, Of.ROUND),
            samples_per_call=_batch(self.samples[0]),
            baseline=baseline.engine if other else None,
            note=f"The original ran on {baseline.name}, where it is fastest" if other else None,
            comparable=plan.judging.since_last and plan.candidate is not None,
        )

    def _warn_of_faster_targets(self) -> None:
        if self.plan.judging.baseline is Baseline.BEST or len(self.speeds) < 2:
            return
        fastest = min(self.speeds, key=lambda i: self.speeds[i].original_latency_s)
        best, best_s = self.lanes[fastest].settings.target, self.speeds[fastest].original_latency_s
        for i, speed in self.speeds.items():
            here, ratio = self.lanes[i].settings.target, speed.original_latency_s / best_s
            if i == fastest or ratio <= _FASTER_ELSEWHERE:
                continue
            hint = "; --baseline best compares with that" if _same_place(here, best) else ""
            self.warnings.append(
                f"{here.name}: the original is {ratio:.2f}x as fast on {best.name}{hint}."
            )


def _is_exact(kind: str) -> bool:
    """Whether a check needs no timing."""
    return kind in KINDS and KINDS[kind].of is Of.FILE


def file_bytes(model: Model) -> int:
    """The size of the model as one file, with its weights inside."""
    sizes: list[int] = []
    wire.join(model.skeleton, model.payloads, lambda part: sizes.append(len(part)))
    return sum(sizes)


def _batch(sample: Arrays) -> int:
    """How many samples one call takes: the first dimension, where all inputs share it."""
    sizes = {array.shape[0] for array in sample.values() if array.ndim}
    return sizes.pop() if len(sizes) == 1 else 1


def _same_place(a: Target, b: Target) -> bool:
    """Whether two targets differ in nothing but the engine."""
    return replace(a, engine=b.engine, optional=b.optional) == b
