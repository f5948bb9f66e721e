"""What is known to go wrong with these models where they run, said before they do.

Evidence, never a verdict: it decides nothing, and explains a verdict that was reached without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from modelcheck.errors import ModelcheckError, printable
from modelcheck.judge import Blame, Check, Outcome
from modelcheck.model import Model
from modelcheck.model.patterns import MEASURED, Finding, Severity, column_of, known_faults
from modelcheck.model.scene import Scene
from modelcheck.model.static import Static
from modelcheck.recipe import CheckKind
from modelcheck.reference import Reference
from modelcheck.targets import Device, Engine, OpenCV, Placement, Target

ORIGINAL, CANDIDATE = "original", "candidate"
_SHOWN_NODES, _SHOWN_FAULTS = 3, 2
# What breaks a check of this kind; anything else is an answer that is wrong.
_BREAKS_RUNS = "runs"


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A finding in one or both models of a pair, on the engine that holds them."""

    finding: Finding
    models: tuple[str, ...]
    column: str  # of the table
    caveat: str  # where the table was measured elsewhere, what was not

    @property
    def foreseeable(self) -> bool:
        """Whether the graph alone shows it; else it takes certain values or uses besides."""
        return not self.finding.pattern.when

    def describe(self) -> str:
        """'original: a Sigmoid between … (at s1, s2 and 3 more), known of OpenCV 5.0.0 new. …'"""
        pattern, nodes = self.finding.pattern, self.finding.nodes
        more = len(nodes) - _SHOWN_NODES
        at = ", ".join(printable(n, limit=40) for n in nodes[:_SHOWN_NODES])
        at += f" and {more} more" if more > 0 else ""
        what = f"{pattern.what} {pattern.when}".strip()
        _, _, engine = self.column.partition(" ")
        known = f"known of OpenCV {MEASURED[self.column]} {engine}".strip()
        caveat = f", {self.caveat}" if self.caveat else ""
        return f"{' and '.join(self.models)}: {what} (at {at}), {known}{caveat}. {pattern.remedy}"


def findings(
    model: Model, shapes: Mapping[str, tuple[int, ...]], reference: Reference | None = None
) -> tuple[Finding, ...]:
    """What the table knows of a model that is fed these shapes; the reference knows more sizes."""
    inferred: Mapping[str, Sequence[int | None]] = shapes
    if reference is not None:
        with contextlib.suppress(ModelcheckError):  # its own stage says so
            inferred = reference.shapes(model, shapes)
    return known_faults(Scene(model, Static(model.graph, model.opset, inferred)))


def faults_of(
    target: Target,
    opencv: OpenCV,
    models: Mapping[str, tuple[Sequence[Finding], Placement | None]],
) -> tuple[KnownFault, ...]:
    """The findings that concern this target; a model is on the engine where it was placed."""
    faults: dict[tuple[str, str], KnownFault] = {}
    for name, (found, placement) in models.items():
        column = column_of(opencv.version, _engine(target, placement))
        for finding in found:
            if column not in finding.pattern.engines:
                continue
            if finding.pattern.severity is Severity.SLOW and not target.device.is_cpu:
                continue  # what is slow on a CPU says nothing of another device
            key = (finding.pattern.id, column)
            before = faults.get(key)
            faults[key] = KnownFault(
                finding=finding if before is None else _both(before.finding, finding),
                models=(name,) if before is None else (*before.models, name),
                column=column,
                caveat=_caveat(column, opencv, target),
            )
    return tuple(faults.values())


def referring(check: Check, faults: Iterable[KnownFault]) -> Check:
    """A check that did not pass, with what is known to be a reason for it."""
    if check.outcome not in (Outcome.FAIL, Outcome.UNSUPPORTED) or check.kind == CheckKind.SPEED:
        return check
    blamed = ORIGINAL if check.blame is Blame.TARGET else CANDIDATE
    fits = Severity.FAILS if check.kind == _BREAKS_RUNS else Severity.WRONG
    reasons = [
        f for f in faults if blamed in f.models and f.finding.pattern.severity is fits
    ]  # fmt: skip
    if blamed == CANDIDATE:  # what the original has as well is no reason for a difference
        reasons.sort(key=lambda f: ORIGINAL in f.models)
    reasons.sort(key=lambda f: not f.foreseeable)
    if not reasons:
        return check
    said = " ".join(f"Known: {f.describe()}" for f in reasons[:_SHOWN_FAULTS])
    return replace(check, message=f"{check.message} {said}")


def _engine(target: Target, placement: Placement | None) -> str:
    """The engine that holds the net; where none does, the one that was asked for."""
    if placement is not None:
        return placement.actual.split()[1]
    return Engine.NEW if target.engine is Engine.AUTO else target.engine


def _both(first: Finding, second: Finding) -> Finding:
    return replace(first, nodes=tuple(dict.fromkeys((*first.nodes, *second.nodes))))


def _caveat(column: str, opencv: OpenCV, target: Target) -> str:
    where = [] if opencv.version == MEASURED[column] else [opencv.version]
    where += [] if target.device is Device.CPU else [str(target.device)]
    return f"not measured on {' and '.join(where)}" if where else ""
