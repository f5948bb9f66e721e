"""Reports with names and checks that no run would give."""

from __future__ import annotations

import dataclasses

from modelcheck.judge import Check
from modelcheck.report import Report

NASTY = "\x00\x1b[2J<&\"'>\u202e\ud800\n=cmd|' /C calc'!A0"


def renamed(report: Report, *, name: str, checks: tuple[Check, ...] | None = None) -> Report:
    """The report with a name and checks of our own, everything else as it was."""
    verification = report.verification
    target = verification.targets[0]
    target = dataclasses.replace(
        target, checks=target.checks if checks is None else checks, native_log=name
    )
    verification = dataclasses.replace(verification, targets=(target,), warnings=(name,))
    facts = dataclasses.replace(report.original, name=name)
    return dataclasses.replace(report, verification=verification, original=facts, command=name)
