"""Which runs somebody wants to see. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from modelcheck.errors import UsageError, did_you_mean, printable
from modelcheck.judge import Outcome
from modelcheck.ledger.entry import Run

_LEAST_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for; None: all.

    A model is asked for by its name or the start of its digest, as the original or as what was to
    be released; `digest` is that of a file at hand, found under whatever name. A target is asked
    for by the start of its name, an outcome as that of a target.
    """

    model: str | None = None
    digest: str | None = None
    target: str | None = None
    outcome: Outcome | None = None

    def of(self, runs: Iterable[Run]) -> list[Run]:
        """The runs of this model that have a verdict as asked for, with those verdicts only."""
        found = []
        for run in runs:
            verdicts = tuple(
                verdict
                for verdict in run.verdicts
                if (self.target is None or verdict.target.startswith(self.target))
                and (self.outcome is None or verdict.outcome is self.outcome)
            )
            if verdicts and self._is_of(run):
                found.append(replace(run, verdicts=verdicts))
        return found

    def _is_of(self, run: Run) -> bool:
        asked = [name for name in (self.model, self.digest) if name is not None]
        return not asked or any(is_of(run, name) for name in asked)


def is_of(run: Run, model: str) -> bool:
    """Whether the run is about this model, by name or digest."""
    if model in (run.model, run.original):
        return True
    if not re.fullmatch(rf"[0-9a-f]{{{_LEAST_DIGITS},64}}", model):
        return False
    digests = (run.original_digest, run.candidate_digest or "")
    return any(digest.startswith(model) for digest in digests)


def nothing_of(selection: Selection, runs: Iterable[Run]) -> UsageError:
    """The error where runs are recorded, but none that is asked for."""
    runs = list(runs)
    models = list(dict.fromkeys(run.model for run in runs))
    asked = [
        f"{name} '{printable(str(value))}'"
        for name, value in (
            ("model", selection.model), ("target", selection.target), ("outcome", selection.outcome)
        )
        if value is not None
    ]  # fmt: skip
    shown = ", ".join(printable(model) for model in models[:8])
    hint = did_you_mean(selection.model or "", models) if selection.model else None
    return UsageError(
        f"no run of {', '.join(asked) or 'any kind'} is recorded",
        where="history",
        remedy=hint or f"Recorded are: {shown or 'none'}.",
    )
