"""The judging stage: every lane that has run is probed and judged, while its processes live."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelcheck import units
from modelcheck.judge import (
    Check,
    ComparisonEvidence,
    EquivalenceCase,
    EquivalenceEvidence,
    NoiseFloor,
    Outcome,
    judge_equivalence,
)
from modelcheck.judge.saturation import judge_constant_outputs
from modelcheck.model.permutation import longest_reduction
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.transforms import Claim
from modelcheck.verification import probes
from modelcheck.verification.equivalence import Tally
from modelcheck.verification.events import Event, Progressed, StageStarted
from modelcheck.verification.floors import Ground, lane_floors, limit_warnings, with_noise_floor
from modelcheck.verification.in_reference import (
    RefusedThere,
    check_in_reference,
    check_weights,
    drift_in_reference,
)
from modelcheck.verification.lane import Files, Lane
from modelcheck.verification.metrics import judge_metrics
from modelcheck.verification.plan import Plan
from modelcheck.verification.precision import two_engines
from modelcheck.verification.saturation import Look, check_before_saturation

_LOST_SCORES_DB = 10.0


@dataclass
class JudgingStage:
    """Judges the lanes. Iterate `run()`; then there are checks by lane, and warnings."""

    plan: Plan
    files: Files
    lanes: Sequence[Lane]
    tallies: Mapping[int, Tally]
    reference: Reference
    workspace: Workspace
    checks: dict[int, list[Check]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    reference_drift: ComparisonEvidence | RefusedThere | None = (
        None  # of the candidate, in onnxruntime
    )

    def __post_init__(self) -> None:
        self.checks = {i: [] for i in range(len(self.lanes))}
        self._cases = {i: self._case(i) for i, tally in self.tallies.items() if tally.samples}

    def run(self) -> Iterator[Event]:
        yield StageStarted("checking repeats, batches, noise and threads", len(self.lanes))
        batch_is_free = all(s.batch_is_free for s in self.plan.original.signature.inputs)
        for i, lane in enumerate(self.lanes):
            kept = self.tallies[i].kept
            if lane.alive and kept:
                self._add(i, probes.check_repeatable(lane, kept))
            if lane.alive and kept and batch_is_free:
                self._add(i, probes.check_batch(lane, self.reference, kept))
            if self.tallies[i].samples:
                check = self._judge(i)
                self.checks[i].insert(0, check)
                self._warn_of_lost_scores(check)
                before = self._before_saturation(i, check)
                if before is None and self.plan.candidate is not None:
                    before = judge_constant_outputs(self._cases[i], check)
                self._add(i, before)
                self.checks[i] += judge_metrics(self.plan, i, self.tallies[i].metrics)
            if lane.alive and kept:  # last, because it is the likeliest to end the processes
                self._add(i, probes.check_concurrent(lane, kept))
            yield Progressed(i + 1)
        for i, tally in self.tallies.items():  # last, because the candidate may end the reference
            if tally.samples:
                self._add(i, self._weights(self.checks[i][0]))
                self._add(i, self._in_reference(i, self.checks[i][0]))

    def _weights(self, judged: Check) -> Check | None:
        """What is not finite and shows on no target."""
        if self.plan.candidate is None or judged.outcome is not Outcome.PASS:
            return None
        return check_weights(self.plan.candidate, judged)

    def _in_reference(self, i: int, judged: Check) -> Check | None:
        """Once for all targets: what onnxruntime says of the candidate depends on none of them."""
        plan = self.plan
        if plan.candidate is None or judged.outcome is not Outcome.PASS:
            return None
        if not self._cases[i].effective_limit.exact:  # a declared number is what counts
            return None
        if self.reference_drift is None:
            kept = self.tallies[i].kept
            drift = drift_in_reference(self.reference, plan.candidate, kept, self.workspace)
            self.reference_drift = drift
        return check_in_reference(self.reference_drift, judged)

    def _before_saturation(self, i: int, judged: Check) -> Check | None:
        plan, lane = self.plan, self.lanes[i]
        if plan.candidate is None or not lane.alive or judged.outcome is not Outcome.PASS:
            return None
        look = Look.of(plan, lane, self.reference, self._cases[i], judged, self.tallies[i].kept)
        check, warnings = check_before_saturation(look, self.workspace)
        self.warnings += warnings
        return check

    def _warn_of_lost_scores(self, check: Check) -> None:
        """Agreement may pass where the scores are gone: who thresholds them must know."""
        evidence = check.evidence
        if check.outcome is not Outcome.PASS or not isinstance(evidence, EquivalenceEvidence):
            return
        scores = [o for o in evidence.total.outputs if o.name in evidence.total_agreement]
        lowest = min((output.sqnr_db for output in scores), default=math.inf)
        if lowest < _LOST_SCORES_DB:
            self.warnings.append(
                f"{check.target}: the top classes agree, but the scores have an SQNR of only "
                f"{units.decibels(lowest)}: thresholds on them will not hold. Declare min-sqnr to "
                "judge them."
            )

    def _judge(self, i: int) -> Check:
        case = self._cases[i]
        if self.plan.claim is Claim.PRECISION and self.plan.candidate is not None:
            found = two_engines(self.files, self.tallies[i].kept, self.plan.child_limits)
            case = replace(case, two_engines=found)
        if self.lanes[i].alive:
            case = with_noise_floor(case, self._floors(i))
        self.warnings += limit_warnings(case)
        return judge_equivalence(case)

    def _floors(self, i: int) -> Iterator[NoiseFloor]:
        plan, ground = self.plan, Ground.of_kept(self.plan.original, self.tallies[i].kept)
        return lane_floors(
            self.lanes[i], ground, self.workspace,
            seed=plan.seed, memory=plan.memory, samples=plan.samples.digest,
        )  # fmt: skip

    def _case(self, i: int) -> EquivalenceCase:
        plan, tally = self.plan, self.tallies[i]
        settings = plan.targets[i]
        transform_drift = tally.transform_drift
        return EquivalenceCase(
            target=settings.target.name,
            claim=plan.claim,
            target_drift=tally.target_drift.result(),
            transform_drift=None if transform_drift is None else transform_drift.result(),
            total=tally.total.result(),
            judged_samples=tally.samples,
            limit=settings.limits.equivalence,
            judged_by_metrics=frozenset(o for m in tally.metrics for o in m.total.outputs),
            target_agreement={k: a.result() for k, a in tally.target_agreement.items()},
            total_agreement={k: a.result() for k, a in tally.total_agreement.items()},
            reduction_length=longest_reduction(plan.original),
            synthetic=plan.samples.synthetic,
            optional=settings.target.optional,
            half_floats=settings.target.device.is_half,
        )

    def _add(self, i: int, check: Check | None) -> None:
        if check is not None:
            self.checks[i].append(check)
