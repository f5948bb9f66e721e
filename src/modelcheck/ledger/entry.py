"""What the ledger holds of one run: plain values, written once and never changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from modelcheck.judge import Outcome

# What two machines must share for speeds and int8 arithmetic to be compared between them.
_CLASS_FACTS = ("processor", "cores", "features", "system")


@dataclass(frozen=True, slots=True)
class OutputFigures:
    """One output of the released model there, against the float32 reference.

    The error is a part of the output's scale. Agreement is of the top class, with its one-sided
    95 % bounds; None where the output holds no classes.
    """

    name: str
    sqnr_db: float
    max_error: float
    agreement: float | None = None
    agreement_low: float | None = None
    agreement_high: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target of a run. What was not measured is None, or '' where it is a text."""

    target: str
    outcome: Outcome
    optional: bool
    findings: str  # of the checks that did not pass, a line each
    limits: str
    ran_on: str
    opencv: str
    opencv_build: str
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None  # infinite while nothing is rejected
    original_s: float | None
    latency_s: float | None  # of the released model, median
    outputs: tuple[OutputFigures, ...] = ()

    @property
    def sqnr_db(self) -> float | None:
        """That of the worst output."""
        return min((output.sqnr_db for output in self.outputs), default=None)

    @property
    def max_error(self) -> float | None:
        """That of the worst output."""
        return max((output.max_error for output in self.outputs), default=None)

    @property
    def agreement(self) -> float | None:
        """That of the worst output that holds classes."""
        found = (output.agreement for output in self.outputs)
        return min((value for value in found if value is not None), default=None)

    def output(self, name: str) -> OutputFigures | None:
        return next((output for output in self.outputs if output.name == name), None)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of apply, verify or the pytest plugin, with a verdict for each of its targets.

    `model` is the file name of what was to be released: apply's output, verify's candidate, or
    the original that was judged alone (then there is no candidate).
    """

    created: str  # UTC, ISO 8601
    kind: str  # 'apply', 'verify', 'pytest'
    model: str
    outcome: Outcome
    judges_equivalence: bool
    original: str
    original_digest: str
    original_bytes: int
    candidate_digest: str | None
    candidate_bytes: int | None
    data: str
    data_digest: str
    data_samples: int
    recipe: str  # the steps with their options; '' where the candidate was made elsewhere
    options: str  # claim and what is judged
    baseline: str  # which original the speed is over: 'same', 'best'
    seed: str
    command: str
    commit: str  # of the working folder; '' where it is in no git repository
    modelcheck: str
    machine: Mapping[str, str]  # bench.fingerprint()
    seconds: float
    verdicts: tuple[Verdict, ...] = ()

    @property
    def released(self) -> bool:
        """Whether this run released its model: it passed, and equivalence was judged."""
        return self.outcome is Outcome.PASS and self.judges_equivalence

    @property
    def model_bytes(self) -> int:
        """The size of the model that was to be released."""
        return self.original_bytes if self.candidate_bytes is None else self.candidate_bytes

    @property
    def machine_class(self) -> str:
        return machine_class(self.machine)

    def verdict(self, target: str) -> Verdict | None:
        return next((verdict for verdict in self.verdicts if verdict.target == target), None)


def machine_class(machine: Mapping[str, str]) -> str:
    """A digest of the processor, its cores and instruction sets, and the system.

    Kernel and governor are left out: updates of a system change them, and machines that are
    otherwise alike are of one class.
    """
    facts = [machine.get(fact, "") for fact in _CLASS_FACTS]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
