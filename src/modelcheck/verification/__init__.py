"""Verification: run original and candidate where they shall run, and let the judge decide."""

from modelcheck.verification.events import (
    Event,
    Foreseen,
    Progressed,
    StageStarted,
    Verified,
    Warned,
)
from modelcheck.verification.known import KnownFault
from modelcheck.verification.plan import Plan, TargetResult, Verification
from modelcheck.verification.run import verify

__all__ = [
    "Event",
    "Foreseen",
    "KnownFault",
    "Plan",
    "Progressed",
    "StageStarted",
    "TargetResult",
    "Verification",
    "Verified",
    "Warned",
    "verify",
]
