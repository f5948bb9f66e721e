"""A look at outputs: point estimates, to choose by. How sure they are is for the gate to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modelcheck.judge import EquivalenceEvidence
from modelcheck.judge.limits import (
    MAX_ERROR,
    MIN_AGREEMENT,
    MIN_SQNR,
    EquivalenceLimit,
    Limits,
    Term,
    default_limit,
)
from modelcheck.searching.stopwatch import NotRun, Runner, Stopwatch
from modelcheck.targets import Target
from modelcheck.targets.pool import PoolRun
from modelcheck.transforms import Claim
from modelcheck.tune.rightness import Expected, judge_outputs
from modelcheck.tune.settings import Setting

# Beyond this part of the scale an exact form is wrong, however noisy the model; within, the gate
# says by the model's noise floor.
_SURELY_NO_ROUNDING = 1e-3


def look(
    watch: Stopwatch, runner: Runner, expected: Expected, target: Target, limits: Limits
) -> EquivalenceEvidence | None:
    """How near a model's outputs on a target are to those expected; None where it does not run."""
    outputs = watch.outputs(runner, expected.arrays)
    return None if isinstance(outputs, NotRun) else compare(expected, outputs, target, limits)


def compare(
    expected: Expected,
    outputs: Sequence[Mapping[str, np.ndarray]],
    target: Target,
    limits: Limits,
) -> EquivalenceEvidence | None:
    """How near these outputs are; None where no verdict could be had of them at all.

    Top classes are compared where `limits` declare so, or where an output looks like scores.
    """
    limit = limit_for(limits, Claim.EXACT)
    check = judge_outputs(expected, Setting(target), PoolRun(tuple(outputs), ()), limit)
    return check.evidence if isinstance(check.evidence, EquivalenceEvidence) else None


def limit_for(limits: Limits, claim: Claim) -> EquivalenceLimit:
    """What is declared, or what such a claim promises."""
    return limits.equivalence or default_limit(claim.value)


def worst_db(evidence: EquivalenceEvidence) -> float:
    """The SQNR of the worst output; NaN where there is none."""
    return min((o.sqnr_db for o in evidence.total.outputs), default=float("nan"))


def worst_agreement(evidence: EquivalenceEvidence) -> float | None:
    """Of top classes; None where there are none."""
    return min((a.agreement for a in evidence.total_agreement.values()), default=None)


def holds(limit: EquivalenceLimit, evidence: EquivalenceEvidence) -> bool:
    """Whether the figures as they are hold a limit."""
    outputs = evidence.total.outputs
    if any(o.non_finite > o.expected_non_finite or o.shape_mismatch for o in outputs):
        return False
    error = max((o.scale_relative_max for o in outputs), default=0.0)
    db = min((o.sqnr_db for o in outputs), default=float("inf"))
    agreement = worst_agreement(evidence)

    def term_holds(term: Term) -> bool:
        if term.kind == MIN_SQNR:
            return db >= term.value
        if term.kind == MIN_AGREEMENT:
            return agreement is not None and agreement >= term.value
        return error <= (term.value if term.kind == MAX_ERROR else _SURELY_NO_ROUNDING)

    return any(all(map(term_holds, all_of)) for all_of in limit.any_of)
