"""The four outcomes, the checks that carry them, and how many checks become one exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What the evidence says. Missing evidence is INCONCLUSIVE, never PASS."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNSUPPORTED = "UNSUPPORTED"


class Blame(StrEnum):
    """Who caused an outcome other than PASS.

    TARGET: the original is already wrong there. TRANSFORM: the candidate is, and the original
    is not. DATA: the samples do not carry the decision.
    """

    NONE = "none"
    TARGET = "target"
    TRANSFORM = "transform"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Check:
    """One question, asked of one target: the answer, why, and what to do about it."""

    kind: str  # "equivalence", "speed", "load", ...
    target: str
    outcome: Outcome
    message: str  # where, what, what to do
    blame: Blame = Blame.NONE
    evidence: object | None = None
    optional: bool = False


_EXIT_CODES = {
    Outcome.PASS: 0,
    Outcome.FAIL: 1,
    Outcome.UNSUPPORTED: 4,
    Outcome.INCONCLUSIVE: 5,
}
_PRECEDENCE = (Outcome.FAIL, Outcome.UNSUPPORTED, Outcome.INCONCLUSIVE, Outcome.PASS)


def overall(checks: Iterable[Check]) -> Outcome:
    """The gravest outcome of the required checks: FAIL, UNSUPPORTED, INCONCLUSIVE, PASS.

    Checks of optional targets change nothing, and where no required check is left there is
    no evidence: INCONCLUSIVE.
    """
    return gravest(check.outcome for check in checks if not check.optional)


def gravest(outcomes: Iterable[Outcome]) -> Outcome:
    """FAIL before UNSUPPORTED before INCONCLUSIVE before PASS; of none, INCONCLUSIVE."""
    found = set(outcomes)
    return next((o for o in _PRECEDENCE if o in found), Outcome.INCONCLUSIVE)


def mildest(outcomes: Iterable[Outcome]) -> Outcome:
    """PASS before INCONCLUSIVE before UNSUPPORTED before FAIL; of none, INCONCLUSIVE."""
    found = set(outcomes)
    return next((o for o in reversed(_PRECEDENCE) if o in found), Outcome.INCONCLUSIVE)


def exit_code(outcome: Outcome) -> int:
    """0 pass, 1 gate failed, 4 unsupported, 5 inconclusive."""
    return _EXIT_CODES[outcome]
