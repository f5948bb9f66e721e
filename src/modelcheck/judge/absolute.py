"""The check of one absolute budget, with the original beside it.

Calls, rounds of calls and fresh processes are decided by `share`: at least so many of them lie
within the bound. A file has one size.

An absolute time is as good as the machine. What disturbs one makes times longer, so a PASS stands
on a disturbed machine; a FAIL does only where even the shortest value, less the part of the time
that the process waited for a core, is beyond the budget. Where earlier runs on this machine have
left a band of the original's medians, the original has to lie in it: a PASS counts for nothing
where it was faster, a FAIL for nothing where it was slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from modelcheck import units
from modelcheck.judge.budgets import Budget, Of
from modelcheck.judge.fitness import Fitness
from modelcheck.judge.outcome import Blame, Check, Outcome
from modelcheck.judge.share import ERROR, share_bounds, share_decided

Band = tuple[float, float]


@dataclass(frozen=True, slots=True)
class BudgetCase:
    """Everything that the verdict on one budget may look at.

    Values are in the budget's unit (seconds, bytes, samples a second), in the order in which they
    were measured; `original` ran beside, and is the same as `values` where there is no candidate.
    """

    target: str
    budget: Budget
    values: Sequence[float]
    original: Sequence[float]
    alone: bool = False
    first: int = 1  # nothing is decided by fewer values
    checks: int = 1  # budgets in this run: FAIL is corrected for their number
    fitness: Fitness | None = None  # None where time is not what is measured
    band: Band | None = None  # of the original's median calls in earlier runs on this machine
    optional: bool = False


@dataclass(frozen=True, slots=True)
class BudgetEvidence:
    """What was measured, and every budget that the values reject on neither side."""

    key: str
    bound: float
    value: float  # the quantile that the budget is about
    low: float
    high: float
    original: float
    values: int
    fitness: Fitness | None
    band: Band | None


def budget_decided(case: BudgetCase) -> Literal["pass", "fail"] | None:
    """By the values alone; cheap enough to ask after every round."""
    if case.budget.kind.of is Of.FILE:
        return "pass" if case.values[0] <= case.budget.bound else "fail"
    return share_decided(
        [_cost(case, v) for v in case.values],
        _cost(case, case.budget.bound),
        case.budget.kind.share,
        first=case.first,
        beta=ERROR / case.checks,
    )


def judge_budget(case: BudgetCase) -> Check:
    """The verdict on one budget."""
    decision = budget_decided(case) if case.values else None
    doubt = _doubt(case, decision)
    outcome, blame = {
        "pass": (Outcome.PASS, Blame.NONE),
        "fail": (Outcome.FAIL, Blame.NONE if case.alone else Blame.TRANSFORM),
        None: (Outcome.INCONCLUSIVE, Blame.DATA),
    }[None if doubt else decision]
    evidence = measure_budget(case) if case.values else None
    return Check(
        kind=case.budget.key,
        target=case.target,
        outcome=outcome,
        message=_message(case, outcome, evidence, doubt),
        blame=blame,
        evidence=evidence,
        optional=case.optional,
    )


def measure_budget(case: BudgetCase) -> BudgetEvidence:
    """The figures without a verdict; there is at least one value."""
    kind = case.budget.kind
    costs = [_cost(case, v) for v in case.values]
    low, high = (costs[0], costs[0])
    if kind.of is not Of.FILE:
        beta = ERROR / case.checks
        low, high = share_bounds(costs, kind.share, first=case.first, beta=beta)
    bounds = sorted(_cost(case, c) for c in (low, high))
    return BudgetEvidence(
        key=case.budget.key,
        bound=case.budget.bound,
        value=_cost(case, _quantile(costs, kind.share)),
        low=bounds[0],
        high=bounds[1],
        original=_cost(case, _quantile([_cost(case, v) for v in case.original], kind.share)),
        values=len(costs),
        fitness=case.fitness,
        band=case.band,
    )


def _doubt(case: BudgetCase, decision: str | None) -> str:
    """Why a decision of the values does not stand; '' where it does."""
    if decision is None or not case.original:
        return ""
    show = case.budget.kind.show
    if case.band is not None:
        here, (low, high) = median(case.original), case.band
        if (decision == "fail" and here > high) or (decision == "pass" and here < low):
            way = "slower" if here > high else "faster"
            return (
                f"the original is {way} here ({show(here)}) than in earlier runs on this machine "
                f"({show(low)} to {show(high)})"
            )
    if decision == "fail" and case.fitness is not None and case.fitness.disturbed:
        running = min(1.0, case.fitness.cpu_wall_ratio or 1.0)  # the rest of the time it waited
        if running * min(_cost(case, v) for v in case.values) <= _cost(case, case.budget.bound):
            return "the machine was disturbed, and a quiet one may meet it"
    return ""


def _message(
    case: BudgetCase, outcome: Outcome, evidence: BudgetEvidence | None, doubt: str
) -> str:
    """Where, what, what to do."""
    budget, kind = case.budget, case.budget.kind
    if evidence is None:
        return (
            f"{case.target}: {budget.describe()} was not measured. "
            "Give the timing more time (--time-budget)."
        )
    reading = f"{kind.noun} {_reading(kind.of, evidence, kind.show)}"
    if not case.alone and kind.of is not Of.FILE:
        reading += f" (the original: {kind.show(evidence.original)})"
    limit = f"{'at least' if kind.at_least else 'at most'} {kind.show(budget.bound)}"
    limit += f" ({budget.bound:,.0f} bytes)" if kind.of is Of.FILE else ""
    sentences = {
        Outcome.PASS: [f"{reading}, {limit} is required"],
        Outcome.FAIL: [f"{reading}, and {limit} is required", _what_would_pass(case, evidence)],
    }.get(outcome) or [
        f"{reading} does not decide whether it is {limit}{': ' + doubt if doubt else ''}",
        _what_would_pass(case, evidence),
    ]
    if case.fitness is not None and outcome is not Outcome.PASS:
        if case.fitness.reasons:
            sentences.append(f"The machine: {'; '.join(case.fitness.reasons)}")
        sentences += [case.fitness.remedy] if outcome is Outcome.INCONCLUSIVE else []
    elif outcome is Outcome.INCONCLUSIVE:
        sentences.append("Give the timing more time (--time-budget)")
    return f"{case.target}: " + " ".join(f"{s}." for s in sentences if s)


def _reading(of: Of, evidence: BudgetEvidence, show: Callable[[float], str]) -> str:
    if of is Of.FILE:
        return f"{show(evidence.value)} ({evidence.value:,.0f} bytes)"
    noun = {Of.CALL: "call", Of.ROUND: "round", Of.PROCESS: "fresh start"}[of]
    many = units.plural(evidence.values, noun)
    return f"{show(evidence.value)} {interval_text(evidence, show)} by {many}"


def interval_text(evidence: BudgetEvidence, show: Callable[[float], str]) -> str:
    """'[14.1 ms, 15.0 ms]'; '…' where nothing bounds it yet."""
    low = show(evidence.low) if evidence.low > 0 else "…"
    high = show(evidence.high) if math.isfinite(evidence.high) else "…"
    return f"[{low}, {high}]"


def _what_would_pass(case: BudgetCase, evidence: BudgetEvidence) -> str:
    """The strictest budget that these values meet."""
    kind = case.budget.kind
    passing = evidence.low if kind.at_least else evidence.high
    if not (math.isfinite(passing) and passing > 0) or kind.of is Of.FILE:
        return ""
    word = "largest" if kind.at_least else "smallest"
    passing *= 0.995 if kind.at_least else 1.005  # so that what is printed still passes, rounded
    return f"The {word} {case.budget.key} that would pass is {kind.show(passing)}"


def _cost(case: BudgetCase, value: float) -> float:
    """What must not be exceeded: the value, or of a rate the seconds; its own inverse."""
    if not case.budget.kind.at_least:
        return value
    return math.inf if value == 0 else 1 / value


def _quantile(costs: Sequence[float], share: float) -> float:
    ordered = sorted(costs)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
