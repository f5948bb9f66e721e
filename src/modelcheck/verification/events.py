"""What a verification tells while it works. Screens and reports consume these."""

from __future__ import annotations

from dataclasses import dataclass

from modelcheck.verification.known import KnownFault
from modelcheck.verification.plan import Verification


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins; `total` counts its units where that is known."""

    name: str
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Progressed:
    """So many units of the present stage are done."""

    done: int


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Before the models run on a target: what is known to go wrong with them there."""

    target: str
    fault: KnownFault


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know that decides nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The end, with the result."""

    result: Verification


Event = StageStarted | Progressed | Foreseen | Warned | Verified
