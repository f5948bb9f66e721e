"""What one tuning is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelcheck.data import Samples
from modelcheck.judge import Outcome
from modelcheck.judge.serving import Figure, Gain, Measure
from modelcheck.model import Model
from modelcheck.process import ChildLimits
from modelcheck.recipe import TargetSettings
from modelcheck.targets import OpenCV, Target
from modelcheck.tune.settings import ServingLimits, Setting
from modelcheck.tune.tried import Tried

SAMPLES = 16  # as many as an SQNR wants
DEFAULT_BUDGET_S = 90.0


@dataclass(frozen=True)
class TunePlan:
    """One model, its samples, and where it may run. The first target has the default setting."""

    model: Model
    samples: Samples
    targets: tuple[TargetSettings, ...]
    limits: ServingLimits = ServingLimits()
    goal: Measure = "throughput"
    time_budget_s: float = DEFAULT_BUDGET_S
    seed: int = 0
    child_limits: ChildLimits = ChildLimits()


@dataclass(frozen=True, slots=True)
class Proven:
    """A setting's figures from the last run: fresh processes, in turn with the default."""

    setting: Setting
    latency: Figure  # seconds
    throughput: Figure  # samples a second
    latency_gain: Gain
    throughput_gain: Gain
    meets: Outcome = Outcome.PASS  # of the limits
    right: bool = True
    why: str = ""

    def gain(self, measure: Measure) -> Gain:
        return self.latency_gain if measure == "latency" else self.throughput_gain


@dataclass(frozen=True)
class Tuning:
    """The result. `best` is what is recommended: the default where nothing is provably better."""

    plan: TunePlan
    default: Proven
    rivals: tuple[Proven, ...]
    best: Mapping[Measure, Proven]  # a measure is missing where no setting may be recommended
    tried: tuple[Tried, ...]
    outcome: Outcome
    message: str
    rounds: int
    workers: int
    opencv: Mapping[Target, OpenCV] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def proven(self) -> tuple[Proven, ...]:
        return (self.default, *self.rivals)

    def is_default(self, proven: Proven) -> bool:
        return proven.setting == self.default.setting
