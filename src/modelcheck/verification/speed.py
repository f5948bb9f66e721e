"""The speed stage: every target whose models ran is timed, and judged where a limit asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import Blame, Check, Outcome, SpeedEvidence, judge_speed, measure_speed
from modelcheck.recipe import Baseline, CheckKind, TargetSettings
from modelcheck.targets import Target
from modelcheck.verification.events import Event, Progressed, StageStarted
from modelcheck.verification.lane import Arrays, Files, Lane
from modelcheck.verification.plan import Plan
from modelcheck.verification.timing import Timer, TimingRequest, original_latency_s

_FASTER_ELSEWHERE = 1.1


@dataclass
class SpeedStage:
    """Times the lanes. Iterate `run()`; then there are speeds and checks by lane, and warnings."""

    plan: Plan
    files: Files
    lanes: Sequence[Lane]
    samples: Sequence[Arrays]  # of one shape
    speeds: dict[int, SpeedEvidence] = field(default_factory=dict)
    checks: dict[int, Check] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _original_s: dict[int, float] = field(default_factory=dict)

    def run(self) -> Iterator[Event]:
        yield from self._find_fastest_engines()
        for i, lane in enumerate(self.lanes):
            if not lane.alive:
                continue
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
        if self.checks:
            return
        for i, lane in enumerate(self.lanes):
            target = lane.settings.target
            if lane.alive and lane.simulated and self._request(i).required is not None:
                self.checks[i] = Check(
                    CheckKind.SPEED,
                    target.name,
                    Outcome.INCONCLUSIVE,
                    f"{target.name}: the speed limit was not judged, because the OpenCL device "
                    "is a CPU. Judge it on the GPU, or on a target that is a CPU.",
                    Blame.TARGET,
                    optional=target.optional,
                )

    def _time(self, i: int, lane: Lane) -> Iterator[Event]:
        request = self._request(i)
        yield StageStarted(f"timing {lane.settings.target.name}", None)
        timer = Timer(request)
        try:
            for done in timer.run():
                yield Progressed(done)
        except (Unsupported, ContainedFailure) as error:
            lane.fail(Outcome.UNSUPPORTED, Blame.TARGET, f"a timing worker failed: {error.what}")
            return
        case = timer.case()
        evidence = measure_speed(case)
        if evidence is not None:
            self.speeds[i] = evidence
        if request.required is not None:
            self.checks[i] = judge_speed(case)

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
            baseline=baseline.engine if other else None,
            note=f"The original ran on {baseline.name}, where it is fastest" if other else None,
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


def _same_place(a: Target, b: Target) -> bool:
    """Whether two targets differ in nothing but the engine."""
    return replace(a, engine=b.engine, optional=b.optional) == b
