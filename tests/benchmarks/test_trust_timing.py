"""The trial of the speed verdict counts what it says it counts."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from trust_timing import BUDGET, PAIRS, Run, answers_by_rule, files_of, right_answer, table

TRUTH = {
    ratio: {"value": float(ratio), "low": float(ratio) - 0.01, "high": float(ratio) + 0.01}
    for ratio in PAIRS
}


def run(ratio: str, outcome: str, original_s: float = 1.0, candidate_s: float = 1.0) -> Run:
    return Run(ratio, outcome, 40, 1.5, True, [original_s] * 20, [candidate_s] * 20)


def test_a_pair_near_the_budget_has_no_right_answer() -> None:
    assert [right_answer(TRUTH[ratio]) for ratio in PAIRS] == ["FAIL", "FAIL", None, "PASS", "PASS"]
    wide = {"value": 1.2, "low": 1.0, "high": 1.4}
    assert right_answer(wide) is None


def test_other_rules_see_the_calls_of_the_same_runs() -> None:
    runs = [run("1.00", "FAIL", 1.0, 1.0), run("1.00", "FAIL", 1.0, 0.8)]
    found = dict(answers_by_rule(runs))
    assert found["mean of 10"] == ["FAIL", "PASS"]
    assert found["mean against a saved baseline, 10 %"] == ["PASS"]  # 1.0 of the run before


def test_an_undecided_run_is_not_wrong_and_counts_as_inconclusive() -> None:
    runs = [run("1.00", outcome) for outcome in ("FAIL", "FAIL", "PASS", "INCONCLUSIVE")]
    shown = table([*runs, run("1.10", "PASS")], TRUTH)
    assert "sequential test: 1 of 4, at most" in shown.replace("**", "")
    assert "the sequential test: 1 of 4, at most 75.14 % inconclusive" in shown
    assert "| 25.0 % | 50.0 % | 25.0 % |" in shown


@pytest.mark.parametrize("ratio", list(PAIRS))
def test_a_pair_differs_in_the_number_of_equal_layers_only(ratio: str, tmp_path: Path) -> None:
    files = files_of(tmp_path, ratio)
    assert files.candidate is not None
    counts = []
    for path in (files.original, files.candidate):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert len({len(w.raw_data) for w in model.graph.initializer}) == 1
        counts.append(len(model.graph.node))
    assert counts[0] / counts[1] == pytest.approx(float(ratio), abs=1e-3)
    assert BUDGET == 1.10
