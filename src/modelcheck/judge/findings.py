"""One comparison against one limit, output by output: what holds, what does not, by how much.

Terms of an all-of combine by the gravest outcome, alternatives of an any-of by the mildest,
outputs by the gravest. In this order: FAIL, INCONCLUSIVE, PASS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from modelcheck import units
from modelcheck.judge.agreement import AgreementEvidence, samples_needed
from modelcheck.judge.comparison import ComparisonEvidence, OutputEvidence
from modelcheck.judge.limits import MAX_ERROR, MIN_AGREEMENT, MIN_SQNR, EquivalenceLimit, Term
from modelcheck.judge.noise import Bounds, NoiseFloor
from modelcheck.judge.outcome import Outcome, gravest, mildest

SQNR_SAMPLES = 16  # fewer say little about a mean over inputs (GATE.md)
# Fewer samples than that still show a failure that is out by a factor of two in noise energy.
_CLEARLY_BELOW_DB = 3.0
# The mean output over the samples, the best constant, has 0 dB; three quarters explained have 6.
_LEAST_VARIATION_DB = 6.0


@dataclass(frozen=True, slots=True)
class View:
    """What one judgement looks at.

    `transform` is the drift from the original there, None where the original is wrong; a declared
    max-error holds for it too where `exact` is claimed. `noise` is what rounding alone explains.
    `exempt` are the outputs that a declared metric judges.
    """

    comparison: ComparisonEvidence
    agreement: Mapping[str, AgreementEvidence]
    samples: int
    noise: NoiseFloor | Bounds
    transform: ComparisonEvidence | None = None
    exact: bool = False
    exempt: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """An outcome, the figures against their limits, and what would decide or help."""

    outcome: Outcome
    text: str
    remedy: str = ""
    output: str = ""


_DECLARE_AUTO = "Declare max-error=auto for the noise floor, or a larger number"
_NOT_COMPARED = Finding(Outcome.INCONCLUSIVE, "not compared with the original there")


def judge_outputs(limit: EquivalenceLimit, view: View) -> tuple[Finding, ...]:
    """One finding for each output, in the order of the comparison."""
    return tuple(_judge_output(limit, view, output) for output in view.comparison.outputs)


def structural_fault(output: OutputEvidence) -> str | None:
    """Why this output cannot be judged by numbers: it is missing, misshapen or not finite."""
    if output.shape_mismatch is not None:
        return output.shape_mismatch
    if output.non_finite:
        return (
            f"{units.plural(output.non_finite, 'element')} NaN, infinite or beyond 1e30 where the "
            f"reference is finite, first in sample {output.worst_sample}"
        )
    return None


def error_of(output: OutputEvidence) -> float:
    """The scale-relative max error; where the reference is all zero, max abs (as of scale 1)."""
    return output.scale_relative_max if output.scale > 0 else output.max_abs


def noise_of(output: OutputEvidence) -> float:
    """The root mean square error as a part of the signal's; 0 where the reference is all zero."""
    return 10 ** (-output.sqnr_db / 20) if output.scale > 0 else 0.0


def sqnr_holds(output: OutputEvidence, limit_db: float) -> bool:
    """SQNR >= limit; where the reference is all zero, max abs within the same (as of scale 1)."""
    if output.scale > 0:
        return output.sqnr_db >= limit_db
    return bool(output.max_abs <= 10 ** (-limit_db / 20))


def _judge_output(limit: EquivalenceLimit, view: View, output: OutputEvidence) -> Finding:
    if (fault := structural_fault(output)) is not None:
        return Finding(Outcome.FAIL, fault, output=output.name)
    if output.name in view.exempt:
        return Finding(Outcome.PASS, "judged by the declared metric", output=output.name)
    alternatives = []
    for all_of in limit.any_of:
        judged = [_judge_term(term, view, output) for term in all_of]
        terms = [finding for finding in judged if finding is not None]
        if terms:
            alternatives.append(_combine(terms, gravest, " and "))
    if not alternatives:
        return Finding(
            Outcome.INCONCLUSIVE,
            "no limit applies: it has no classes to agree on",
            "Declare min-sqnr or max-error too",
            output.name,
        )
    combined = _combine(alternatives, mildest, " or ")
    return Finding(combined.outcome, combined.text, combined.remedy, output.name)


def _combine(
    findings: list[Finding], choose: Callable[[Iterable[Outcome]], Outcome], conjunction: str
) -> Finding:
    """The chosen outcome, told by those findings that caused it."""
    outcome = choose(finding.outcome for finding in findings)
    causes = [finding for finding in findings if finding.outcome is outcome]
    remedies = dict.fromkeys(finding.remedy for finding in causes if finding.remedy)
    # A PASS of an any-of needs one alternative, and is told by it.
    told = causes[:1] if conjunction == " or " and outcome is Outcome.PASS else causes
    joined = conjunction if outcome is Outcome.PASS else " and "
    return Finding(outcome, joined.join(c.text for c in told), conjunction.join(remedies))


def _judge_term(term: Term, view: View, output: OutputEvidence) -> Finding | None:
    """None where the term does not apply to this output."""
    if term.kind == MIN_AGREEMENT:
        evidence = view.agreement.get(output.name)
        return None if evidence is None else _judge_agreement(term, evidence)
    if term.kind == MIN_SQNR:
        return _judge_sqnr(term, view, output)
    if term.kind == MAX_ERROR:
        return _judge_error(view, output, term.value)
    return _judge_noise(view, output, term.value)


def _judge_error(view: View, output: OutputEvidence, limit: float) -> Finding:
    """Both the error from the reference and, where it counts, that from the original there."""
    findings = [_error_finding("max error", output, limit)]
    if view.exact and view.transform is not None:
        moved = view.transform.output(output.name)
        if moved is None:
            return _NOT_COMPARED
        findings.insert(0, _error_finding("max error from the original there", moved, limit))
    found = _combine(findings, gravest, " and ")
    floor = view.noise.limit_of(output.name)
    if found.outcome is Outcome.FAIL and limit < floor:
        text = f"{found.text}, a limit below the noise floor {units.scientific(floor)}"
        remedy = _DECLARE_AUTO if error_of(output) <= floor else ""
        return replace(found, text=text, remedy=remedy)
    return found


def _judge_noise(view: View, output: OutputEvidence, from_reference: float) -> Finding:
    """No more than rounding apart from the original there, by the largest error and by the mean."""
    allowed = view.noise.limit_of(output.name)
    findings = [_error_finding("max error", output, max(allowed, from_reference))]
    if view.transform is not None:
        moved = view.transform.output(output.name)
        if moved is None:
            return _NOT_COMPARED
        findings.insert(0, _error_finding("max error from the original there", moved, allowed))
        noise, most = noise_of(moved), view.noise.noise_limit_of(output.name)
        if noise > most:
            text = (
                f"noise from the original there {units.scientific(noise)} of the signal "
                f"> {units.scientific(most)}"
            )
            findings.append(Finding(Outcome.FAIL, text))
    return _combine(findings, gravest, " and ")


def _error_finding(what: str, output: OutputEvidence, limit: float) -> Finding:
    error = error_of(output)
    holds = error <= limit
    of = "of the scale" if output.scale > 0 else "(reference all zero)"
    sign = "<=" if holds else ">"
    text = f"{what} {units.scientific(error)} {of} {sign} {units.scientific(limit)}"
    return Finding(Outcome.PASS if holds else Outcome.FAIL, text)


def _judge_sqnr(term: Term, view: View, output: OutputEvidence) -> Finding:
    if output.max_abs == 0:
        figure = "outputs equal, SQNR"
    elif output.scale > 0:
        figure = f"SQNR {units.decibels(output.sqnr_db)}"
    else:
        figure = f"reference all zero, max abs {units.scientific(output.max_abs)}"
    holds = sqnr_holds(output, term.value)
    of = "" if output.scale > 0 else " of scale 1"
    text = f"{figure} {'>=' if holds else '<'} {term.value:g} dB{of}"
    if holds and _is_no_better_than_a_constant(output):
        return Finding(
            Outcome.INCONCLUSIVE,
            f"{text}, but the error is as large as what the output varies over these samples "
            f"({units.decibels(output.variation_db or 0.0)}): a constant would do as well",
            "Give samples that differ more, or judge by min-agreement or max-error",
        )
    if view.samples >= SQNR_SAMPLES:
        return Finding(Outcome.PASS if holds else Outcome.FAIL, text)
    if not sqnr_holds(output, term.value - _CLEARLY_BELOW_DB):
        return Finding(Outcome.FAIL, text)
    return Finding(
        Outcome.INCONCLUSIVE,
        f"{text}, from {units.plural(view.samples, 'sample')} only",
        f"Give at least {SQNR_SAMPLES} samples for an SQNR",
    )


def _is_no_better_than_a_constant(output: OutputEvidence) -> bool:
    """Whether an offset hides the error: a mean has energy, and says nothing of the input.

    Only where the offset makes the difference: a low SQNR that a user asked for is another thing.
    """
    variation_db = output.variation_db
    if variation_db is None or output.max_abs == 0 or output.scale == 0:
        return False
    hidden_db = output.sqnr_db - variation_db
    return variation_db < _LEAST_VARIATION_DB and hidden_db > _LEAST_VARIATION_DB


def _judge_agreement(term: Term, seen: AgreementEvidence) -> Finding:
    text = (
        f"agreement {units.percent(seen.agreement)} "
        f"[{units.percent(seen.lower)}, {units.percent(seen.upper)}]"
    )
    limit = f"{100 * term.value:g} %"
    if seen.lower >= term.value:
        return Finding(Outcome.PASS, f"{text} >= {limit}")
    if seen.upper < term.value:
        return Finding(Outcome.FAIL, f"{text} < {limit}")
    needed = samples_needed(term.value, seen.samples - seen.agreements, seen.confidence)
    proof = (
        f"these {units.plural(seen.samples, 'sample')} prove min-agreement={_floor3(seen.lower)}"
    )
    remedy = (
        f"No number of samples proves {limit} ({proof})"
        if needed is None
        else f"Give at least {needed} samples without a further disagreement ({proof} at most)"
    )
    return Finding(Outcome.INCONCLUSIVE, f"{text} does not decide >= {limit}", remedy)


def _floor3(fraction: float) -> float:
    """Rounded down to three digits, so that the printed limit really passes."""
    return int(fraction * 1000) / 1000
