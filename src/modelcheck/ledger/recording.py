"""From a verification to the values that the ledger holds of it."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from modelcheck.bench.machine import fingerprint
from modelcheck.data import Samples
from modelcheck.judge import AgreementEvidence, Outcome, OutputEvidence
from modelcheck.ledger.commit import commit_of
from modelcheck.ledger.entry import OutputFigures, Run, Verdict
from modelcheck.model import Model, wire
from modelcheck.recipe import CheckKind, Judging
from modelcheck.transforms import Transform
from modelcheck.verification import TargetResult, Verification

_LONGEST = 2000


@dataclass(frozen=True)
class Occasion:
    """What a verification itself does not know: who asked, and under which name it is released.

    `model` is the file name; `steps` are those that made the candidate here; `folder` is the
    working folder.
    """

    kind: str
    model: str
    command: str
    steps: tuple[Transform, ...] = ()
    folder: Path = Path()


def run_of(verification: Verification, occasion: Occasion) -> Run:
    """The run as the ledger holds it."""
    plan = verification.plan
    candidate = plan.candidate
    samples: Samples = plan.samples
    return Run(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        kind=occasion.kind,
        model=text(occasion.model),
        outcome=verification.outcome,
        judges_equivalence=verification.judges_equivalence,
        original=text(plan.original.name),
        original_digest=plan.original.digest,
        original_bytes=file_bytes(plan.original),
        candidate_digest=None if candidate is None else candidate.digest,
        candidate_bytes=None if candidate is None else file_bytes(candidate),
        data=text(samples.origin),
        data_digest=samples.digest,
        data_samples=samples.count,
        recipe=text("; ".join(map(_step, occasion.steps))),
        options=text(_options(plan.claim.value, plan.judging)),
        baseline=plan.judging.baseline.value,
        seed=str(plan.seed),
        command=text(occasion.command),
        commit=commit_of(occasion.folder),
        modelcheck=metadata.version("modelcheck"),
        machine=fingerprint(),
        seconds=verification.seconds,
        verdicts=tuple(map(verdict_of, verification.targets)),
    )


def verdict_of(result: TargetResult) -> Verdict:
    """What was found on one target."""
    placement = result.candidate or result.original
    opencv, speed = result.opencv, result.speed
    findings = [c for c in result.checks if c.outcome is not Outcome.PASS]
    evidence = result.equivalence
    outputs = () if evidence is None else evidence.total.outputs
    agreement = {} if evidence is None else evidence.total_agreement
    return Verdict(
        target=text(result.settings.target.name),
        outcome=result.outcome,
        optional=result.settings.target.optional,
        findings=text("\n".join(f"{c.outcome} {c.kind}: {c.message}" for c in findings)),
        limits=text(result.settings.limits.describe()),
        ran_on=text(placement.actual) if placement is not None and placement.proven else "",
        opencv="" if opencv is None else text(opencv.version),
        opencv_build="" if opencv is None else opencv.build_digest,
        # A model alone is timed against itself: that is no speed-up.
        speedup=speed.ratio if speed and result.candidate else None,
        speedup_low=speed.low if speed and result.candidate else None,
        speedup_high=speed.high if speed and result.candidate else None,
        original_s=speed.original_latency_s if speed else None,
        latency_s=speed.candidate_latency_s if speed else None,
        outputs=tuple(_figures(output, agreement.get(output.name)) for output in outputs),
    )


def file_bytes(model: Model) -> int:
    """The size of the model as one file; computes the weights that are still deferred."""
    total = 0

    def count(data: Any) -> None:
        nonlocal total
        total += len(data)

    wire.join(model.skeleton, model.payloads, count)
    return total


def text(value: str) -> str:
    """A text that any database and any locale can hold, of bounded length.

    Names come from files that others wrote. One that is too long keeps its beginning, and a digest
    tells it from others; control codes stay, for reports to escape.
    """
    clean = value.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(clean) <= _LONGEST:
        return clean
    digest = hashlib.sha256(clean.encode()).hexdigest()[:16]
    return f"{clean[: _LONGEST - 20]}… {digest}"


def _figures(output: OutputEvidence, agreement: AgreementEvidence | None) -> OutputFigures:
    return OutputFigures(
        name=text(output.name),
        sqnr_db=-math.inf if math.isnan(output.sqnr_db) else output.sqnr_db,
        max_error=math.inf if math.isnan(output.scale_relative_max) else output.scale_relative_max,
        agreement=None if agreement is None else agreement.agreement,
        agreement_low=None if agreement is None else agreement.lower,
        agreement_high=None if agreement is None else agreement.upper,
    )


def _step(step: Transform) -> str:
    options = (f"{key}={json.dumps(value, default=str)}" for key, value in step.options.items())
    return " ".join((step.name, *options))


def _options(claim: str, judging: Judging) -> str:
    kinds = [str(kind) for kind in CheckKind if judging.checks is None or kind in judging.checks]
    return f"claim {claim}, checks {'+'.join(kinds)}"
