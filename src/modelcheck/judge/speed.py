"""The speed check: the sequential test's decision, with the figures a reader wants beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from modelcheck import units
from modelcheck.judge.fitness import Fitness, Surroundings, p90, spread_and_drift
from modelcheck.judge.outcome import Blame, Check, Outcome
from modelcheck.judge.sequential import (
    ALPHA,
    BETA,
    BLOCKS_PER_WORKER,
    MIN_WORKERS,
    Block,
    Decision,
    SequentialTest,
    first_ready,
    interval,
)


@dataclass(frozen=True, slots=True)
class SpeedCase:
    """Everything that one speed verdict may look at."""

    target: str
    blocks: Sequence[Block]  # in the order in which they were run
    workers: int
    required: float | None = None  # X of 'at least X times as fast'; None: only measured
    checks: int = 1  # speed checks in this run: FAIL is corrected for their number
    stopped: Literal["decided", "time", "blocks"] = "decided"
    cpu_wall_ratio: float | None = None
    surroundings: Surroundings = Surroundings()
    note: str | None = None  # such as 'the original is faster on the classic engine'
    optional: bool = False


@dataclass(frozen=True, slots=True)
class SpeedEvidence:
    """Speed-up of the candidate over the original, and what the machine was like meanwhile."""

    ratio: float  # median over the blocks
    low: float  # every X in [low, high] is rejected on neither side (98 %)
    high: float  # infinite while nothing is rejected
    original_latency_s: float  # median
    candidate_latency_s: float
    original_p90_s: float
    candidate_p90_s: float
    original_drift: float  # its median, second half of the run over the first, minus 1
    blocks: int
    workers: int
    cpu_wall_ratio: float | None
    required: float | None
    noisy: bool
    fitness: Fitness  # of the machine: it changes no verdict on a ratio, and explains it
    note: str | None


def speed_decided(
    blocks: Sequence[Block], *, workers: int, required: float, checks: int = 1
) -> Decision | None:
    """The decision by these blocks; cheap enough to ask after every round."""
    first = first_ready(blocks, workers)
    if first is None:
        return None
    test = SequentialTest(required, ALPHA, BETA / checks)
    for n, block in enumerate(blocks, start=1):
        test.update(block.log_ratio, may_decide=n >= first)
    return test.decision


def measure_speed(case: SpeedCase) -> SpeedEvidence | None:
    """The figures without a verdict; None where no block was run."""
    if not case.blocks:
        return None
    ds = [block.log_ratio for block in case.blocks]
    first = first_ready(case.blocks, case.workers)
    low, high = (
        (0.0, math.inf)
        if first is None
        else interval(ds, ALPHA, beta=BETA / case.checks, first=first)
    )
    original = [t for block in case.blocks for t in block.original_s]
    candidate = [t for block in case.blocks for t in block.candidate_s]
    spread, drift = spread_and_drift(original)
    fitness = Fitness(case.cpu_wall_ratio, spread, drift, case.surroundings)
    return SpeedEvidence(
        ratio=math.exp(median(ds)),
        low=low,
        high=high,
        original_latency_s=median(original),
        candidate_latency_s=median(candidate),
        original_p90_s=p90(original),
        candidate_p90_s=p90(candidate),
        original_drift=drift,
        blocks=len(case.blocks),
        workers=len({block.worker for block in case.blocks}),
        cpu_wall_ratio=case.cpu_wall_ratio,
        required=case.required,
        noisy=fitness.disturbed,
        fitness=fitness,
        note=case.note,
    )


def judge_speed(case: SpeedCase) -> Check:
    """The verdict of the sequential test on the required ratio."""
    if case.required is None:
        raise ValueError("nothing is required: measure_speed() gives the figures")
    decision = speed_decided(
        case.blocks, workers=case.workers, required=case.required, checks=case.checks
    )
    outcome, blame = {
        "pass": (Outcome.PASS, Blame.NONE),
        "fail": (Outcome.FAIL, Blame.TRANSFORM),
        None: (Outcome.INCONCLUSIVE, Blame.DATA),
    }[decision]
    evidence = measure_speed(case)
    return Check(
        kind="speed",
        target=case.target,
        outcome=outcome,
        message=_message(case, outcome, case.required, evidence),
        blame=blame,
        evidence=evidence,
        optional=case.optional,
    )


def _message(
    case: SpeedCase, outcome: Outcome, required: float, evidence: SpeedEvidence | None
) -> str:
    """Where, what, what to do."""
    if evidence is None:
        return f"{case.target}: no block was timed. Give the speed check more time."
    reading = (
        f"{units.ratio(evidence.ratio)} [{units.ratio(evidence.low)}, {units.ratio(evidence.high)}]"
        f" as fast as the original ({units.duration(evidence.original_latency_s)} to "
        f"{units.duration(evidence.candidate_latency_s)}, {units.plural(evidence.blocks, 'block')},"
        f" {units.plural(evidence.workers, 'worker')})"
    )
    wanted = units.ratio(required)
    what = {
        Outcome.PASS: f"{reading}, at least {wanted} is required",
        Outcome.FAIL: f"only {reading}, and at least {wanted} is required",
    }.get(outcome, f"{reading} does not decide whether it is at least {wanted}{_cap(case)}")
    sentences = [f"{case.target}: {what}", _remedy(case, outcome, evidence)]
    if evidence.noisy:
        sentences.append(f"The machine was busy: {'; '.join(evidence.fitness.reasons)}")
    if case.note:
        sentences.append(case.note.removesuffix("."))
    return " ".join(f"{sentence}." for sentence in sentences)


def _cap(case: SpeedCase) -> str:
    return {"time": " by the time cap", "blocks": " by the block cap"}.get(case.stopped, "")


def _remedy(case: SpeedCase, outcome: Outcome, evidence: SpeedEvidence) -> str:
    passing = f"the largest ratio that would pass is {_rounded_down(evidence.low)}"
    if outcome is Outcome.INCONCLUSIVE and first_ready(case.blocks, case.workers) is None:
        return (
            f"Give it more time: {BLOCKS_PER_WORKER} blocks from each of at least {MIN_WORKERS} "
            "workers come before any decision"
        )
    if outcome is Outcome.INCONCLUSIVE:
        known = _capitalized(passing) if evidence.low > 0 else "No ratio would pass yet"
        return f"{known}. {evidence.fitness.remedy}"
    if outcome is Outcome.PASS:
        return _capitalized(passing)
    return f"Use steps that pay on this target, or lower the requirement: {passing}"


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rounded_down(ratio: float) -> str:
    """Two digits on the passing side: 1.048 -> '1.04x'."""
    return units.ratio(math.floor(ratio * 100) / 100)
