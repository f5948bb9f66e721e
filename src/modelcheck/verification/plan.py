"""What one verification is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelcheck.data import Samples
from modelcheck.judge import Check, EquivalenceEvidence, Outcome, SpeedEvidence, gravest, overall
from modelcheck.judge.absolute import Band
from modelcheck.judge.budgets import Of
from modelcheck.model import Model
from modelcheck.process import ChildLimits
from modelcheck.recipe import Judging, TargetSettings
from modelcheck.targets import OpenCV, Placement
from modelcheck.transforms import Claim
from modelcheck.verification.known import KnownFault
from modelcheck.verification.memory import Memory


@dataclass(frozen=True)
class EarlierRuns:
    """What is known of earlier runs of the same pair on the same machine.

    `count` is shown, so that re-running until green is seen. `bands` hold, by target, the lowest
    and the highest median latency of the original, in seconds.
    """

    count: int | None = None  # None: nobody keeps count
    bands: Mapping[str, Band] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """One model pair (or one model alone), its samples, and the targets it shall run on."""

    original: Model
    candidate: Model | None
    samples: Samples
    targets: tuple[TargetSettings, ...]
    claim: Claim = Claim.EXACT
    judging: Judging = Judging()
    seed: int = 0
    child_limits: ChildLimits = ChildLimits()
    memory: Memory | None = None  # None: everything is run
    earlier: EarlierRuns = EarlierRuns()

    @property
    def speed_checks(self) -> int:
        """How many speed limits there are: the error rate of a FAIL is shared among them."""
        if not self.judging.speed:
            return 0
        limits = [target.limits for target in self.targets]
        budgets = sum(b.kind.of is not Of.FILE for y in limits for b in y.budgets)
        if self.candidate is None:
            return budgets
        return budgets + sum(y.speed_ratio_required() is not None for y in limits)


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
