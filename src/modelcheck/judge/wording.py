"""The message of an equivalence check: where, what, what to do, in one short paragraph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelcheck import units
from modelcheck.judge.comparison import OutputEvidence
from modelcheck.judge.findings import Finding, error_of
from modelcheck.judge.outcome import Blame, Outcome

if TYPE_CHECKING:
    from modelcheck.judge.equivalence import EquivalenceEvidence

_LONGEST_NAME = 60  # names come from the model file, and may be 1 MB long


def equivalence_message(
    target: str,
    outcome: Outcome,
    blame: Blame,
    findings: Sequence[Finding],
    evidence: EquivalenceEvidence,
) -> str:
    """One paragraph about the output that decided."""
    causes = [finding for finding in findings if finding.outcome is outcome]
    output, told = _worst(causes, evidence)
    where = target if output is None else f"{target}, {_place(output)}"
    what = told.text
    others = len({finding.output for finding in causes if finding.output}) - 1
    if others > 0 and outcome is not Outcome.PASS:
        what += f" (and {units.plural(others, 'other output')})"
    remark = _remark(outcome, Blame.NONE if told.remedy else blame, evidence)
    remedy = told.remedy or _remedy(outcome, blame, evidence)
    return " ".join(f"{part}." for part in (f"{where}: {what}", remark, remedy) if part)


def _worst(
    causes: Sequence[Finding], evidence: EquivalenceEvidence
) -> tuple[OutputEvidence | None, Finding]:
    """The finding to tell, of the output with the largest error, and that output."""
    placed = [
        (output, finding)
        for finding in causes
        if (output := evidence.total.output(finding.output)) is not None
    ]
    if not placed:
        return None, causes[0]
    return max(placed, key=lambda pair: error_of(pair[0]))


def _place(output: OutputEvidence) -> str:
    """'output 'logits', worst sample 17, channel 3'."""
    name = output.name
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}…"
    parts = [f"output '{name}'"]
    if output.worst_sample is not None and output.max_abs > 0:
        own = units.decibels(output.worst_sample_sqnr_db)
        parts.append(f"worst sample {output.worst_sample} ({own})")
    if output.worst_channel is not None:
        parts.append(f"channel {output.worst_channel}")
    return ", ".join(parts)


def _remark(outcome: Outcome, blame: Blame, evidence: EquivalenceEvidence) -> str:
    remarks = []
    if evidence.repairs_target:
        remarks.append("The candidate repairs the target: the original there is beyond the limit")
    if outcome is Outcome.FAIL and blame is Blame.TARGET:
        remarks.append("The original itself is wrong on this target")
    if evidence.noise_floor is not None:
        remarks.append(_capitalized(evidence.noise))
    if outcome is Outcome.PASS and evidence.synthetic:
        remarks.append("Judged on synthetic inputs")
    if outcome is Outcome.PASS and any(o.dtype_mismatch for o in evidence.total.outputs):
        remarks.append("The target returns another dtype than the model declares; values agree")
    return ". ".join(remarks)


def _remedy(outcome: Outcome, blame: Blame, evidence: EquivalenceEvidence) -> str:
    limits = (f"{kind}={value:g}" for kind, value in evidence.tightest.items() if value > 0)
    tightest = f"The tightest limit that would pass: {' or '.join(limits)}"
    if outcome is Outcome.PASS:
        return tightest if any(evidence.tightest.values()) else "Nothing to do: no error at all"
    if blame is Blame.TARGET:
        return "Judge on another engine or target, or report the difference to OpenCV"
    if not evidence.tightest:
        return "Leave out the step that broke it: no limit would pass"
    if evidence.claim == "exact":
        return f"Leave out the step that does more than round, or claim less. {tightest}"
    return f"Use milder steps, or leave layers out. {tightest}"


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
