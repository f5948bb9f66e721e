"""What differs between two runs of a model on a target. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from modelcheck.judge import Outcome
from modelcheck.ledger.entry import Run, Verdict
from modelcheck.units import short_digest

# The figures that are followed over time, by their name in Verdict.
FIGURES = ("speedup", "latency_s", "sqnr_db", "max_error", "agreement")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A figure at both times; None where it was not measured."""

    figure: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class SincePass:
    """A run that did not pass on a target, and the last one before it that did, if there is one."""

    target: str
    failing: Run
    passing: Run | None
    changes: tuple[Change, ...] = ()
    moved: tuple[Moved, ...] = ()

    @property
    def verdict(self) -> Verdict:
        found = self.failing.verdict(self.target)
        assert found is not None
        return found


def since_last_pass(runs: Iterable[Run]) -> list[SincePass]:
    """For each model and target whose latest run did not pass; the runs come newest first."""
    by_place: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        for verdict in run.verdicts:
            by_place.setdefault((run.model, verdict.target), []).append(run)
    return [
        _since_pass(target, found)
        for (_, target), found in by_place.items()
        if _outcome(found[0], target) is not Outcome.PASS
    ]


def _since_pass(target: str, runs: list[Run]) -> SincePass:
    failing = runs[0]
    passing = next((run for run in runs[1:] if _outcome(run, target) is Outcome.PASS), None)
    if passing is None:
        return SincePass(target, failing, None)
    changes = tuple(changes_between(passing, failing, target))
    return SincePass(target, failing, passing, changes, tuple(_moved(passing, failing, target)))


def changes_between(before: Run, after: Run, target: str) -> Iterator[Change]:
    """Everything that a verdict depends on, where the two runs differ."""
    from modelcheck.bench.machine import differences

    old, new = _facts(before, target), _facts(after, target)
    for what, value in new.items():
        if value != old[what]:
            yield Change(what, old[what], value)
    for line in differences(before.machine, after.machine):
        what, _, how = line.partition(": ")
        there, _, here = how.removesuffix(" here").rpartition(" there, ")
        yield Change(what, there, here)


def _facts(run: Run, target: str) -> dict[str, str]:
    verdict = run.verdict(target)
    there: dict[str, str] = {}
    if verdict is not None:
        build = f" (build {short_digest(verdict.opencv_build)})" if verdict.opencv_build else ""
        there = {
            "limits": verdict.limits,
            "OpenCV": f"{verdict.opencv}{build}",
            "ran on": verdict.ran_on,
        }
    return {
        "original": f"{run.original} {short_digest(run.original_digest)}",
        "candidate": short_digest(run.candidate_digest or ""),
        "data": f"{run.data} {short_digest(run.data_digest)}",
        "recipe": run.recipe,
        "options": run.options,
        "baseline": run.baseline,
        "seed": run.seed,
        **there,
        "modelcheck": run.modelcheck,
        "commit": short_digest(run.commit),
    }


def _moved(before: Run, after: Run, target: str) -> Iterator[Moved]:
    old, new = before.verdict(target), after.verdict(target)
    for figure in FIGURES:
        values: list[Any] = [getattr(old, figure), getattr(new, figure)]
        if values != [None, None]:
            yield Moved(figure, *values)
    yield Moved("model_bytes", before.model_bytes, after.model_bytes)


def _outcome(run: Run, target: str) -> Outcome | None:
    verdict = run.verdict(target)
    return None if verdict is None else verdict.outcome
