"""What one search is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from modelcheck.data import ThreeSets
from modelcheck.judge import Outcome
from modelcheck.model import Model
from modelcheck.process import ChildLimits
from modelcheck.recipe import Candidate, TargetSettings
from modelcheck.searching.stopwatch import Gain
from modelcheck.targets import Engine, OpenCV, Target
from modelcheck.transforms import Claim, Transform
from modelcheck.verification import Foreseen, Progressed, StageStarted, Verification
from modelcheck.verification.memory import Memory

DEFAULT_MAX_TIME_S = 600.0


class Goal(StrEnum):
    """What a search looks for among the forms that hold the limits."""

    FASTEST = "fastest"
    SMALLEST = "smallest"
    BEST = "best"  # the nearest to the original, within a budget of latency


@dataclass(frozen=True)
class SearchPlan:
    """One model, its samples in three sets, and one place where it shall be fast.

    A candidate's claim is `claim` or a stronger one: with EXACT only rewrites are tried. The
    limits of `settings` hold for every candidate; with `min_speedup` nothing less is enough.
    Without it, the fastest must be provably as fast as the original; the smallest may take 5 %
    longer. A budget max-p50 of `settings` rules out what takes longer; the goal BEST needs one.
    """

    model: Model
    samples: ThreeSets
    settings: TargetSettings
    claim: Claim = Claim.LOSSY
    goal: Goal = Goal.FASTEST
    time_budget_s: float = DEFAULT_MAX_TIME_S
    seed: int = 0
    workers: int = 1  # processes that look at candidates in onnxruntime side by side
    child_limits: ChildLimits = ChildLimits()
    memory: Memory | None = None

    @property
    def latency_budget_s(self) -> float:
        """How long a forward may take; infinite where nothing is said."""
        budgets = self.settings.limits.budgets
        return min((b.bound for b in budgets if b.key == "max-p50"), default=math.inf)


@dataclass(frozen=True)
class Contender:
    """A way to make a model for one engine, with what a first look says of it.

    `gain` is over the original on its fastest engine; `model_bytes` the size of the weights.
    `db` is the SQNR of its worst output on the choosing samples, `agreement` of its top classes;
    None where there are none.
    """

    name: str
    target: Target
    steps: tuple[Transform, ...]
    gain: Gain
    latency_s: float
    model_bytes: int
    db: float
    agreement: float | None
    holds: bool  # the limits, by these figures

    @property
    def claim(self) -> Claim:
        claim = Claim.EXACT
        for step in self.steps:
            claim = claim.weakest(step.claim)
        return claim


@dataclass(frozen=True)
class Judged:
    """A finalist, what its steps made, and what the gate says of it on samples nobody chose by."""

    contender: Contender
    made: Candidate
    verification: Verification


@dataclass(frozen=True)
class Searched:
    """The end of a search. `best` is None where nothing is provably faster and right."""

    plan: SearchPlan
    original: Mapping[Engine, float]  # seconds a forward, by engine, in the first look
    baseline: Target  # where the original is fastest
    contenders: tuple[Contender, ...]
    judged: tuple[Judged, ...]
    best: Judged | None
    outcome: Outcome
    opencv: OpenCV
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


Event = StageStarted | Progressed | Foreseen | Searched
