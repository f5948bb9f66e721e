"""What one file gave on one OpenCV, in a word; and a store, for a run that was interrupted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from modelcheck import units
from modelcheck.judge import EquivalenceEvidence, Outcome
from modelcheck.verification import TargetResult

_HERE = Path(__file__).resolve().parent
_PAGE = _HERE / "compatibility_page.py"  # shows what was measured, and changes nothing of it
_SOURCES = (_HERE.parent / "src" / "modelcheck", _HERE)


class Verdict(StrEnum):
    """`right`: within the limit of onnxruntime's answer from the same file."""

    RIGHT = "right"
    WRONG = "wrong"
    REFUSED = "refused"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    FELL_BACK = "fell back"
    NOT_PROVEN = "not proven"
    UNDECIDED = "undecided"
    UNCHANGED = "unchanged"
    NOT_MADE = "not made"
    NO_REFERENCE = "no reference"
    NOT_MEASURED = "not measured"


# How a message says that a process died, hung or found no device. Anything else is a refusal.
_SAID = (
    (re.compile(r"no answer within"), Verdict.TIMED_OUT),
    (re.compile(r"died of|ended with code|no longer running|no valid answer"), Verdict.CRASHED),
    (re.compile(r"there is no OpenCL device|cannot be started"), Verdict.NOT_MEASURED),
    (re.compile(r"fell back"), Verdict.FELL_BACK),
    (re.compile(r"placement not proven"), Verdict.NOT_PROVEN),
)


@dataclass(frozen=True)
class Row:
    """One cell of the page. `error` is the largest difference over the output's scale."""

    model: str
    form: str
    column: str
    verdict: Verdict
    message: str = ""
    error: float | None = None
    opencv: str = ""
    proof: str = ""

    @property
    def launches(self) -> str:
        """'22 kernel launches a forward', where OpenCL ran it."""
        match = re.match(r"[0-9]+ kernel launches a forward", self.proof)
        return match[0] if match else ""

    @property
    def fallback(self) -> str:
        """'12 % of the MACs fell back', where a part did."""
        match = re.search(r"[0-9.?]+ ?%? of the MACs fell back", self.proof)
        return match[0] if match else ""

    @property
    def told(self) -> str:
        """'right 3.1e-07', 'crashed at N=8': what happened, and the error."""
        circumstance = re.search(r" at N=[0-9]+", self.message)
        text = str(self.verdict) + (circumstance[0] if circumstance else "")
        return text if self.error is None else f"{text} {units.scientific(self.error)}"


def row_of(model: str, form: str, column: str, found: TargetResult) -> Row:
    """The row that tells a target's result. Models run alone: no candidate is to blame."""
    worst = next((c for c in found.checks if c.outcome is found.outcome), None)
    message = "" if worst is None or found.outcome is Outcome.PASS else worst.message
    if found.outcome is Outcome.UNSUPPORTED:
        verdict = next((v for said, v in _SAID if said.search(message)), Verdict.REFUSED)
    else:
        verdict = {Outcome.PASS: Verdict.RIGHT, Outcome.FAIL: Verdict.WRONG}.get(
            found.outcome, Verdict.UNDECIDED
        )
    opencv = "" if found.opencv is None else found.opencv.version
    proof = "" if found.original is None else "; ".join(found.original.proof)
    if found.original is not None and found.original.partial:
        share = found.original.fallback_share
        proof += f"; {'?' if share is None else units.percent(share)} of the MACs fell back"
    return Row(model, form, column, verdict, message, _error(found.equivalence), opencv, proof)


def _error(evidence: EquivalenceEvidence | None) -> float | None:
    if evidence is None or not evidence.total.outputs:
        return None
    return max(output.scale_relative_max for output in evidence.total.outputs)


class Store:
    """Rows on disk, forgotten as soon as the library or the scripts change."""

    def __init__(self, path: Path | None, *, key: str, fresh: bool) -> None:
        self.rows: list[Row] = []
        self.seconds = 0.0
        self._path = path
        self._key = _digest(key)
        if path is None or fresh or not path.exists():
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == self._key:
            self.seconds = kept["seconds"]
            self.rows = [Row(**{**row, "verdict": Verdict(row["verdict"])}) for row in kept["rows"]]

    def has(self, model: str, form: str) -> bool:
        return any((row.model, row.form) == (model, form) for row in self.rows)

    def add(self, rows: Iterable[Row], seconds: float) -> None:
        self.rows += rows
        self.seconds += seconds
        if self._path is not None:
            self._path.parent.mkdir(exist_ok=True)
            kept = {
                "key": self._key,
                "seconds": self.seconds,
                "rows": [asdict(row) for row in self.rows],
            }
            self._path.write_text(json.dumps(kept, indent=1), encoding="utf-8")


def _digest(key: str) -> str:
    """Of everything that a row may depend on."""
    content = hashlib.sha256(key.encode())
    for folder in _SOURCES:
        for path in sorted(folder.rglob("*.py")):
            content.update(b"" if path == _PAGE else path.read_bytes())
    return content.hexdigest()
