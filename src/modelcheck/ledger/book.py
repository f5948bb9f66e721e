"""What a gate does with its ledger: look back before the verdict, write down after it.

A plain run never fails because of its ledger: whatever is wrong with that becomes a warning.
Only `since last` depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from modelcheck.bench.machine import fingerprint
from modelcheck.errors import ModelcheckError, UsageError, printable
from modelcheck.judge import Outcome
from modelcheck.judge.absolute import Band
from modelcheck.ledger.entry import Run, machine_class
from modelcheck.ledger.file import DamagedLedger, LedgerFile
from modelcheck.ledger.place import make_folder
from modelcheck.ledger.recording import Occasion, run_of
from modelcheck.ledger.regression import judge_since_last
from modelcheck.model import Model
from modelcheck.verification import Verification

# Fewer runs than that have not seen what is usual on a machine; and medians of whole processes of
# one model moved by a tenth where nothing was the matter (OPENCV.md, Determinism and noise).
_BAND_RUNS = 5
_BAND_MARGIN = 1.1

T = TypeVar("T")
Earlier = Mapping[str, Counter[Outcome]]


@dataclass
class Book:
    """The ledger of one gate. `file` None: nothing is recorded."""

    file: LedgerFile | None
    since_last: bool = False
    warnings: list[str] = field(default_factory=list)

    @staticmethod
    def open(path: Path | None, *, since_last: bool = False) -> Book:
        """Before the work. With `since_last` raises what is wrong with the ledger."""
        if since_last and path is None:
            raise UsageError(
                "there is no ledger to find the last release in",
                where="--since-last",
                remedy="Leave out --no-ledger, and do not empty MODELCHECK_LEDGER.",
            )
        file = None if path is None else LedgerFile(path)
        if since_last and file is not None:
            file.check()
        return Book(file, since_last)

    def bands(self, original: Model) -> dict[str, Band]:
        """Between what latencies the original lay in earlier runs, by target; see Plan."""
        here = machine_class(fingerprint())
        found = self._try(lambda f: f.latencies(original.digest, here), warn_only=True) or {}
        return {
            target: (min(seconds) / _BAND_MARGIN, max(seconds) * _BAND_MARGIN)
            for target, seconds in found.items()
            if len(seconds) >= _BAND_RUNS
        }

    def review(
        self, verification: Verification, occasion: Occasion
    ) -> tuple[Verification, Earlier]:
        """The verification with the checks against the last release, and what came before it."""
        plan = verification.plan
        digest = None if plan.candidate is None else plan.candidate.digest
        earlier: Earlier = (
            self._try(
                lambda f: f.earlier(plan.original.digest, digest), warn_only=not self.since_last
            )
            or {}
        )
        if not self.since_last or self.file is None:
            return verification, earlier
        run = run_of(verification, occasion)
        targets = []
        for result, verdict in zip(verification.targets, run.verdicts, strict=True):
            if verdict.outputs or verdict.speedup is not None:  # else it failed for other reasons
                last = self.file.last_release(run.model, verdict.target, run.machine_class)
                hint = "" if last is not None else self._hint(self.file, run)
                check = judge_since_last(run, verdict, last, hint)
                result = replace(result, checks=(*result.checks, check))  # noqa: PLW2901
            targets.append(result)
        return replace(verification, targets=tuple(targets)), earlier

    def keep(self, verification: Verification, occasion: Occasion) -> None:
        """Write the run down; what prevents it becomes a warning."""

        def append(file: LedgerFile) -> None:
            make_folder(file.path)
            file.append(run_of(verification, occasion))

        self._try(append, warn_only=True)

    def _try(self, work: Callable[[LedgerFile], T], *, warn_only: bool) -> T | None:
        """What the work gives; after a warning None, and there is no ledger from then on.

        A damaged ledger is kept aside, and the work is done with a new one.
        """
        if self.file is None:
            return None
        try:
            try:
                return work(self.file)
            except DamagedLedger as error:
                if not warn_only:
                    raise
                self._set_aside(self.file, error)
                return work(self.file)
        except (ModelcheckError, OSError) as error:
            if not warn_only:
                raise
            self.warnings.append(f"This run is not recorded: {error}")
            self.file = None
        return None

    def _set_aside(self, file: LedgerFile, error: DamagedLedger) -> None:
        aside = file.set_aside()
        if aside is not None:
            self.warnings.append(
                f"{error.where}: {error.what}\n  It is kept as {printable(str(aside), 400)}, "
                "and a new ledger begins."
            )

    @staticmethod
    def _hint(file: LedgerFile, run: Run) -> str:
        """Where there are releases, when there is none of this model here."""
        released = file.released_models()
        if any(model == run.model for model, _ in released):
            return "; there is one on another target or machine class"
        names = list(dict.fromkeys(printable(model) for model, _ in released))
        return f"; there are releases of {', '.join(names[:6])}" if names else ""
