"""The stage of fresh processes: what a model costs one that holds nothing else.

Peak memory and the first inference (after loading) come once in a process's life, so each value
takes a process of its own; candidate and original take turns. The sequential test over the
processes stops it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelcheck.judge.absolute import BudgetCase, budget_decided
from modelcheck.judge.budgets import Budget
from modelcheck.judge.fitness import Fitness
from modelcheck.process import ChildLimits
from modelcheck.recipe import TargetSettings
from modelcheck.targets import MeteredSession
from modelcheck.verification.lane import Arrays, Files

_LEAST_PROCESSES, _MOST_PROCESSES = 5, 24  # seven alike decide; five alike are no accident
_FORWARDS = 3  # a net's memory is at its peak by then


@dataclass(frozen=True, slots=True)
class _Life:
    """One process: the first inference in seconds, the peak of its memory in bytes."""

    first_s: float
    peak_bytes: float

    def of(self, budget: Budget) -> float:
        return self.first_s if budget.key == "max-first-inference" else self.peak_bytes


@dataclass
class FreshStarts:
    """Measures one target. Iterate `run()` for progress in processes; `case()` is the result."""

    settings: TargetSettings
    files: Files
    sample: Arrays
    budgets: Sequence[Budget]  # of processes
    checks: int
    budget_s: float
    limits: ChildLimits
    _candidate: list[_Life] = field(default_factory=list)
    _original: list[_Life] = field(default_factory=list)

    def run(self) -> Iterator[int]:
        """Raises Unsupported or ContainedFailure when a process fails."""
        begin_s = time.monotonic()
        while self.budgets:
            if self.files.candidate is not None:
                self._original.append(self._live(self.files.original))
            self._candidate.append(self._live(self.files.candidate or self.files.original))
            yield len(self._candidate)
            decided = all(budget_decided(self.case(budget)) for budget in self.budgets)
            over = time.monotonic() - begin_s > self.budget_s
            if decided or over or len(self._candidate) >= _MOST_PROCESSES:
                return

    def case(self, budget: Budget, fitness: Fitness | None = None) -> BudgetCase:
        """What the judge wants; fitness counts for times only."""
        alone = self.files.candidate is None
        values = [life.of(budget) for life in self._candidate]
        return BudgetCase(
            target=self.settings.target.name,
            budget=budget,
            values=values,
            original=values if alone else [life.of(budget) for life in self._original],
            alone=alone,
            first=_LEAST_PROCESSES,
            checks=max(1, self.checks),
            fitness=fitness if budget.key == "max-first-inference" else None,
            optional=self.settings.target.optional,
        )

    def _live(self, file: Path) -> _Life:
        target = self.settings.target
        with MeteredSession(target, name="a fresh process", limits=self.limits) as session:
            session.load(file, self.files.outputs)
            # A device's first forward compiles its kernels.
            patience_s = max(self.limits.start_s, self.limits.request_s)
            first_s = session.first_forward_s(self.sample, timeout_s=patience_s)
            for _ in range(_FORWARDS):
                session.forward(self.sample)
            return _Life(first_s, session.memory().peak_bytes)
