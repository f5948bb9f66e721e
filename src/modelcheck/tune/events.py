"""What a tuning tells while it works, beside the stages that verification has too."""

from __future__ import annotations

from dataclasses import dataclass

from modelcheck.tune.plan import Tuning
from modelcheck.verification import Foreseen, Progressed, StageStarted


@dataclass(frozen=True, slots=True)
class Tuned:
    """The end, with the result."""

    result: Tuning


Event = StageStarted | Progressed | Foreseen | Tuned
