"""What one verification is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelcheck.data import Samples
from modelcheck.judge import (
    Check,
    EquivalenceEvidence,
    Outcome,
    SpeedEvidence,
    WorstCaseEvidence,
    gravest,
    overall,
)
from modelcheck.judge.absolute import Band
from modelcheck.judge.budgets import Of
from modelcheck.model import Model
from modelcheck.process import ChildLimits
from modelcheck.recipe import Judging, TargetSettings
from modelcheck.targets import Engine, OpenCV, Placement
from modelcheck.transforms import Claim
from modelcheck.verification.known import KnownFault
from modelcheck.verification.memory import Memory


@dataclass(frozen=True)
class Plan:
    """One model pair (or one model alone), its samples, and the targets it shall run on.

    `bands` hold, by target, between what median latencies (in seconds) the original lay in
    earlier runs on this machine. `original_on` is the engine that the original is timed on, where
    it is another than the target's. Of several `rivals` for one place each gets its share of the
    error rate.
    """

    original: Model
    candidate: Model | None
    samples: Samples
    targets: tuple[TargetSettings, ...]
    claim: Claim = Claim.EXACT
    judging: Judging = Judging()
    seed: int = 0
    child_limits: ChildLimits = ChildLimits()
    memory: Memory | None = None  # None: everything is run
    bands: Mapping[str, Band] = field(default_factory=dict)
    worst_folder: Path | None = None  # where worst inputs are kept; None: nowhere
    original_on: Engine | None = None
    rivals: int = 1

    @property
    def speed_checks(self) -> int:
        """How many speed limits there are: the error rate of a FAIL is shared among them."""
        if not self.judging.speed:
            return 0
        limits = [target.limits for target in self.targets]
        budgets = sum(b.kind.of is not Of.FILE for y in limits for b in y.budgets)
        if self.candidate is None:
            return budgets
        ratios = sum(y.speed_ratio_required() is not None for y in limits)
        return self.rivals * (budgets + ratios)


@dataclass(frozen=True)
class TargetResult:
    """Everything that was found on one target."""

    settings: TargetSettings
    checks: tuple[Check, ...]
    opencv: OpenCV | None = None
    original: Placement | None = None
    candidate: Placement | None = None
    equivalence: EquivalenceEvidence | None = None
    speed: SpeedEvidence | None = None
    worst_case: WorstCaseEvidence | None = None
    native_log: str = ""
    known: tuple[KnownFault, ...] = ()
    recalled: bool = False  # the original's outputs are those of an earlier run

    @property
    def outcome(self) -> Outcome:
        """Of this target by itself, as if it were required."""
        return gravest(check.outcome for check in self.checks)


@dataclass(frozen=True)
class Verification:
    """The result of a plan: its checks decide."""

    plan: Plan
    targets: tuple[TargetResult, ...]
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def checks(self) -> tuple[Check, ...]:
        return tuple(check for target in self.targets for check in target.checks)

    @property
    def outcome(self) -> Outcome:
        return overall(self.checks)

    @property
    def judges_equivalence(self) -> bool:
        return self.plan.judging.equivalence
