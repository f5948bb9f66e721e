"""What a run is asked to do: the values that a recipe file and the command line become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from modelcheck.data import Preprocessing
from modelcheck.errors import UsageError
from modelcheck.judge import Limits
from modelcheck.targets import Target
from modelcheck.transforms import Claim, Transform


class CheckKind(StrEnum):
    EQUIVALENCE = "equivalence"
    SPEED = "speed"


class Baseline(StrEnum):
    """Which original the candidate's speed is compared with: on the same target, or the fastest."""

    SAME = "same"
    BEST = "best"


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where samples come from. `path` None: seeded synthetic inputs."""

    path: Path | None = None
    calibration: Path | None = None
    count: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    allow_synthetic: bool = False
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """A target and the limits that hold there."""

    target: Target
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class ModelPair:
    """One entry of [[models]]; without a candidate the recipe's steps make it."""

    original: Path
    candidate: Path | None = None


@dataclass(frozen=True, slots=True)
class Judging:
    """What is judged, and how long it may take. `checks` None: what has a limit.

    `since_last`: nothing may be worse than in the last release that the ledger knows.
    """

    claim: Claim | None = None
    checks: frozenset[CheckKind] | None = None
    baseline: Baseline = Baseline.SAME
    time_budget_s: float = 60.0
    since_last: bool = False
    search_radius: float = 0.1  # of an input's range: how far from a sample worst inputs may be

    def __post_init__(self) -> None:
        if not 0 < self.search_radius <= 1:
            raise UsageError(
                f"{self.search_radius:g} is not a part of the range, above 0 and at most 1.",
                where="search-radius",
                remedy="Write for example 0.1.",
            )

    @property
    def equivalence(self) -> bool:
        return self.checks is None or CheckKind.EQUIVALENCE in self.checks

    @property
    def speed(self) -> bool:
        return self.checks is None or CheckKind.SPEED in self.checks


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a file (or a command line) says."""

    steps: tuple[Transform, ...] = ()
    data: DataSettings = DataSettings()
    targets: tuple[TargetSettings, ...] = (TargetSettings(Target()),)
    judging: Judging = Judging()
    models: tuple[ModelPair, ...] = ()
    seed: int = 0
    file: Path | None = None
