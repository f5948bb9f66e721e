"""The check on what a search found: four ways to end, and what each message owes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from modelcheck.judge import (
    Blame,
    Check,
    Flips,
    FoundInput,
    InputScore,
    Outcome,
    WorstCaseEvidence,
    describe_search,
    judge_worst_case,
)

NOTHING = WorstCaseEvidence(
    asked=100, tried=100, radius=0.1, data_worst=0.02, data_target=0.001, data_sample="sample 7"
)  # fmt: skip


def with_worst(error: float, *, target: float = 0.001, **more: object) -> WorstCaseEvidence:
    worst = found(error, target=target)
    return replace(NOTHING, worst=worst, found=error, **more)  # type: ignore[arg-type]


def found(error: float, *, target: float = 0.001) -> FoundInput:
    return FoundInput(InputScore("y", error, error, error, target), "climbing", "sample 7 brighter")


def judged(evidence: WorstCaseEvidence, limit: float | None = 0.1, **options: bool) -> Check:
    check = judge_worst_case("cpu", evidence, limit=limit, **options)
    assert check is not None
    return check


def test_without_a_limit_a_search_is_evidence_only() -> None:
    assert judge_worst_case("cpu", with_worst(5.0), limit=None) is None
    assert judge_worst_case("cpu", replace(NOTHING, stopped="time"), limit=None) is None


def test_a_pass_says_how_much_was_tried_and_that_it_proves_no_bound() -> None:
    check = judged(with_worst(0.06))
    assert check.outcome is Outcome.PASS
    assert "100 inputs" in check.message
    assert "3.00x that of the data" in check.message
    assert "shows no bound" in check.message


def test_an_input_beyond_the_limit_fails_and_says_how_to_replay_it() -> None:
    evidence = with_worst(0.3, shrunk=found(0.11), file="worst.npz")
    check = judged(evidence)
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)
    for text in ("3.0e-01", "> 0.1", "sample 7 brighter (1.1e-01)", "--data worst.npz"):
        assert text in check.message


def test_where_the_original_there_is_as_wrong_the_target_is_blamed() -> None:
    assert judged(with_worst(0.3, target=0.2)).blame is Blame.TARGET
    data = replace(NOTHING, data_worst=0.3, data_target=0.3)
    assert judged(data).blame is Blame.TARGET


def test_data_beyond_the_limit_fail_without_any_search() -> None:
    check = judged(replace(NOTHING, data_worst=0.3, tried=0))
    assert check.outcome is Outcome.FAIL
    assert "sample 7 of the data" in check.message


@pytest.mark.parametrize("limit", [None, 0.1])
def test_an_output_that_is_not_finite_fails_whatever_the_limit(limit: float | None) -> None:
    check = judged(with_worst(math.inf), limit)
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)
    there = judged(with_worst(math.inf, target=math.inf), limit)
    assert there.blame is Blame.TARGET


def test_an_input_that_the_candidate_dies_of_fails() -> None:
    evidence = with_worst(math.inf, died="it ended by SIGFPE.", stopped="x")
    check = judged(evidence, None)
    assert check.outcome is Outcome.FAIL
    assert "SIGFPE" in check.message


@pytest.mark.parametrize(
    "evidence",
    [replace(NOTHING, stopped="the original did not answer in 120 s"), replace(NOTHING, tried=0)],
)
def test_a_search_that_did_not_end_passes_nothing(evidence: WorstCaseEvidence) -> None:
    assert judged(evidence).outcome is Outcome.INCONCLUSIVE


def test_on_synthetic_inputs_only_an_exact_claim_passes() -> None:
    synthetic = replace(NOTHING, synthetic=True)
    assert judged(synthetic).outcome is Outcome.INCONCLUSIVE
    check = judged(synthetic, exact=True)
    assert check.outcome is Outcome.PASS
    assert "synthetic" in check.message


def test_checks_of_optional_targets_are_marked() -> None:
    assert judged(NOTHING, optional=True).optional


def test_flips_and_their_margins_are_told() -> None:
    evidence = replace(NOTHING, flips=Flips(8, 5, 0.021))
    assert "5 of 8 low-margin samples flipped, up to a margin of 0.021" in describe_search(evidence)
    none = replace(NOTHING, flips=Flips(8, 0, 0.0))
    assert describe_search(none).endswith("0 of 8 low-margin samples flipped")
