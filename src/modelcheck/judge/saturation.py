"""Saturation hides nothing: the tensors before a final Softmax, Sigmoid, ArgMax and the like.

What may only round must do so there as well. Every other claim is about the outputs, and a
sigmoid that squeezes errors together does what its user wants; but where saturation hides most of
a difference (more than 20 dB of it), the outputs prove nothing by themselves: then the limit has
to hold before saturation too (for lossy claims with 10 dB less). Agreement, which counts classes,
counts them there as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from modelcheck.judge.comparison import ComparisonEvidence
from modelcheck.judge.equivalence import EquivalenceCase, EquivalenceEvidence, judge_equivalence
from modelcheck.judge.limits import MIN_AGREEMENT, MIN_SQNR, EquivalenceLimit
from modelcheck.judge.outcome import Blame, Check, Outcome

KIND = "before saturation"
HIDDEN_DB = 20.0
_RELAXED_DB = 10.0
# Below this slope of the last operator a difference of the whole scale moves no output that counts.
_FLAT = 1e-4


def judge_before_saturation(
    case: EquivalenceCase, judged: EquivalenceEvidence, behind: Mapping[str, str]
) -> Check:
    """The check on the tensors of `case`, each of which stands before an output: `behind`.

    `judged` is the evidence of the outputs, which have passed. The case's agreements are those of
    its tensors' outputs.
    """
    hidden = [name for name, output in behind.items() if _hides(case.total, name, judged, output)]
    if not case.exact:
        if not hidden:
            return _passed(case, "no more differs before the last operators than behind them")
        case = _only(case, frozenset(hidden))
    lossy = case.claim == "lossy" and not case.exact
    if lossy:
        case = replace(case, limit=_relaxed(case.effective_limit))
    found = judge_equivalence(case)
    if found.outcome is Outcome.FAIL and found.blame is Blame.TARGET:
        found = judge_equivalence(_from_the_original(case))
    if found.outcome is Outcome.PASS:
        return _passed(case, "what goes into the last operators holds the limit as well")
    outputs = ", ".join(dict.fromkeys(f"'{behind[name]}'" for name in hidden or behind))
    outcome = Outcome.INCONCLUSIVE if lossy else found.outcome
    remedy = (
        " Give samples on which the outputs are not saturated, or declare min-agreement."
        if outcome is Outcome.INCONCLUSIVE
        else ""
    )
    return Check(
        KIND,
        case.target,
        outcome,
        f"{case.target}: the outputs ({outputs}) are alike on these samples only because they "
        f"saturate. Before that the two models differ: {found.message}{remedy}",
        Blame.TRANSFORM if outcome is Outcome.FAIL else Blame.DATA,
        evidence=found.evidence if outcome is Outcome.FAIL else None,
        optional=case.optional,
    )


def not_looked(target: str, reason: str, *, optional: bool) -> Check:
    """The check where the outputs are blind and what stands before them cannot be compared."""
    return Check(
        KIND,
        target,
        Outcome.INCONCLUSIVE,
        f"{target}: the outputs saturate on these samples, and what goes into their last operators "
        f"cannot be compared: {reason}. Give samples on which the outputs are not saturated, or "
        "declare min-agreement.",
        Blame.DATA,
        optional=optional,
    )


def judge_constant_outputs(case: EquivalenceCase, judged: Check) -> Check | None:
    """INCONCLUSIVE where a pass rests on outputs that are the same for all samples.

    For pairs where nothing before the outputs was looked at: a dead ReLU, a clamp or a mask hides
    any fault before it. None where an output varies, or its classes are what was asked for.
    """
    outputs = case.total.outputs
    if judged.outcome is not Outcome.PASS or not outputs or rests_on_agreement(case):
        return None
    if not all(output.constant for output in outputs):
        return None
    return Check(
        "constant outputs",
        case.target,
        Outcome.INCONCLUSIVE,
        f"{case.target}: every output is the same for all {case.judged_samples} samples, and what "
        "does not depend on the input proves nothing about the weights. Give samples on which the "
        "outputs differ.",
        Blame.DATA,
        optional=case.optional,
    )


def rests_on_agreement(case: EquivalenceCase) -> bool:
    """Whether its classes alone let every output pass: of those saturation hides none."""
    limit = case.effective_limit
    alternatives = [a for a in limit.any_of if all(t.kind == MIN_AGREEMENT for t in a)]
    if not alternatives:
        return False
    least = min(max(term.value for term in all_of) for all_of in alternatives)
    seen = [case.total_agreement.get(output.name) for output in case.total.outputs]
    return all(found is not None and found.lower >= least for found in seen)


def is_blind(operator: str, output: npt.NDArray[np.generic]) -> bool:
    """Whether a saturating operator was flat wherever it gave these values."""
    if operator in {"ArgMax", "ArgMin", "Hardmax", "Sign"} or operator.startswith(
        ("Greater", "Less")
    ):
        return True
    y = output.astype(np.float64)
    if not y.size or not np.isfinite(y).all():
        return False
    if operator in {"Sigmoid", "Softmax"}:
        slope = y * (1 - y)
    elif operator == "LogSoftmax":
        slope = np.exp(y) * (1 - np.exp(y))
    elif operator in {"Tanh", "Erf", "Softsign"}:
        slope = 1 - y * y
    else:  # Clip, HardSigmoid: flat at their bounds
        slope = ((y > y.min()) & (y < y.max())).astype(np.float64)
    return bool(slope.max() < _FLAT)


def _hides(before: ComparisonEvidence, name: str, judged: EquivalenceEvidence, output: str) -> bool:
    inner, outer = before.output(name), judged.total.output(output)
    if inner is None or outer is None:
        return False
    return inner.max_abs > 0 and outer.sqnr_db - inner.sqnr_db > HIDDEN_DB


def _relaxed(limit: EquivalenceLimit) -> EquivalenceLimit:
    """The limit with 10 dB less SQNR: large scores err more, and matter less, than others."""
    return replace(
        limit,
        any_of=tuple(
            tuple(
                replace(t, value=max(t.value - _RELAXED_DB, 1.0)) if t.kind == MIN_SQNR else t
                for t in all_of
            )
            for all_of in limit.any_of
        ),
    )


def _only(case: EquivalenceCase, names: frozenset[str]) -> EquivalenceCase:
    """The case with these tensors alone."""

    def kept(found: ComparisonEvidence) -> ComparisonEvidence:
        return replace(found, outputs=tuple(o for o in found.outputs if o.name in names))

    moved = case.transform_drift
    return replace(
        case,
        total=kept(case.total),
        target_drift=kept(case.target_drift),
        transform_drift=None if moved is None else kept(moved),
    )


def _from_the_original(case: EquivalenceCase) -> EquivalenceCase:
    """The same where the target itself strays: the candidate against the original there."""
    moved = case.transform_drift
    if moved is None:
        return case
    return replace(case, total=moved, target_drift=moved, transform_drift=None)


def _passed(case: EquivalenceCase, why: str) -> Check:
    return Check(KIND, case.target, Outcome.PASS, f"{case.target}: {why}.", optional=case.optional)
