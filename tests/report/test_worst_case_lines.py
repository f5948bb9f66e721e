"""What a screen says of a search: the figures, the input in words, and where it is saved."""

from __future__ import annotations

from dataclasses import replace

from modelcheck.judge import Flips, FoundInput, InputScore, WorstCaseEvidence
from modelcheck.recipe import TargetSettings
from modelcheck.report.worst_case import worst_case_lines
from modelcheck.targets import Target
from modelcheck.verification import TargetResult

EVIDENCE = WorstCaseEvidence(
    asked=100, tried=80, radius=0.1, data_worst=0.02, data_target=0.0, data_sample="sample 7"
)  # fmt: skip


def lines(evidence: WorstCaseEvidence | None) -> str:
    result = TargetResult(TargetSettings(Target.parse("cpu:new")), (), worst_case=evidence)
    return "\n".join(line.plain for line in worst_case_lines([result]))


def found(error: float, text: str) -> FoundInput:
    return FoundInput(InputScore("y", error, error, 0.0, 0.0), "climbing", text)


def test_without_a_search_nothing_is_said() -> None:
    assert lines(None) == ""


def test_a_search_that_found_nothing_is_one_line() -> None:
    assert lines(EVIDENCE) == (
        "cpu new: worst-case search: 80 inputs within 10 % of the data's range tried: none is "
        "worse than the data by more than rounding, at most 2.0e-02 of the scale"
    )


def test_what_was_found_is_told_with_its_plainest_form_and_its_file() -> None:
    evidence = replace(
        EVIDENCE, found=0.05, worst=found(0.05, "A"), shrunk=found(0.04, "B"),
        flips=Flips(8, 2, 0.01), file="worst.npz", replayed=3, replayed_worst=0.03,
    )  # fmt: skip
    text = lines(evidence)
    for part in ("2.50x that of the data", "2 of 8 low-margin", "3 saved inputs replayed first"):
        assert part in text
    assert text.index("worst: output 'y' off by 5.0e-02") < text.index("plain: output 'y'")
    assert "worst.npz" in text


def test_a_search_that_was_stopped_says_why() -> None:
    assert "stopped after 80 of 100: it hangs" in lines(replace(EVIDENCE, stopped="it hangs"))
