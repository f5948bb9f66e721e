"""What changed since the last pass, and which runs somebody asks for."""

from __future__ import annotations

import pytest
from recorded_runs import MACHINE, RUN, VERDICT, run, verdict

from modelcheck.errors import UsageError
from modelcheck.judge import Outcome
from modelcheck.ledger import Selection, nothing_of, since_last_pass

FAILED = verdict(22.0, outcome=Outcome.FAIL, findings="FAIL equivalence: too far")


def test_what_passes_has_nothing_to_explain() -> None:
    assert since_last_pass([RUN, run(FAILED)]) == []


def test_everything_that_a_verdict_depends_on_is_compared_with_the_last_pass() -> None:
    failing = run(
        verdict(22.0, outcome=Outcome.FAIL, opencv="5.1.0", opencv_build="b2" * 32,
                ran_on="cpu classic", limits="nothing declared"),
        original_digest="0b" * 32, candidate_digest="cb" * 32, data_digest="db" * 32,
        recipe="fp16", options="claim exact", baseline="best", seed="1", modelcheck="0.2.0",
        commit="c1" * 20, machine=MACHINE | {"cores": "4", "kernel": "6.2.0"},
    )  # fmt: skip
    (found,) = since_last_pass([failing, run(FAILED), RUN, run(seed="older")])
    assert found.passing is RUN
    changes = {change.what: (change.before, change.after) for change in found.changes}
    assert set(changes) == {
        "original", "candidate", "data", "recipe", "options", "baseline", "seed", "limits",
        "OpenCV", "ran on", "modelcheck", "commit", "cores", "kernel",
    }  # fmt: skip
    assert changes["OpenCV"] == ("5.0.0 (build b1b1b1b1)", "5.1.0 (build b2b2b2b2)")
    assert changes["cores"] == ("8", "4")
    moved = {m.figure: (m.before, m.after) for m in found.moved}
    assert moved["sqnr_db"] == (30.0, 22.0)
    assert moved["model_bytes"] == (1_000_000, 1_000_000)


def test_each_model_and_target_has_its_own_last_pass() -> None:
    other = verdict(target="opencl new")
    runs = [
        run(FAILED, other, seed="3"),
        run(VERDICT, verdict(target="opencl new", outcome=Outcome.FAIL), seed="2"),
        run(VERDICT, model="other.onnx", seed="1"),
    ]
    (found,) = since_last_pass(runs)
    assert (found.target, found.failing.seed) == ("cpu new", "3")
    assert found.passing is not None
    assert found.passing.seed == "2"


def test_what_never_passed_has_no_pass_to_compare_with() -> None:
    (found,) = since_last_pass([run(FAILED), run(FAILED)])
    assert found.passing is None


class TestSelection:
    RUNS = (
        run(VERDICT, verdict(target="opencl new", outcome=Outcome.FAIL)),
        run(
            model="other.onnx",
            original="other32.onnx",
            original_digest="ee" * 32,
            candidate_digest="ff" * 32,
        ),
    )

    @pytest.mark.parametrize("asked", ["net.int8.onnx", "net.onnx", "0a0a", "ca" * 32])
    def test_a_model_is_found_by_name_and_by_digest(self, asked: str) -> None:
        assert Selection(asked).of(self.RUNS) == [self.RUNS[0]]

    def test_a_file_is_found_by_its_name_or_its_content(self) -> None:
        assert Selection("renamed.onnx", "ff" * 32).of(self.RUNS) == [self.RUNS[1]]
        assert Selection("net.onnx", "ff" * 32).of(self.RUNS) == list(self.RUNS)

    @pytest.mark.parametrize("asked", ["net", "0a", "0A0A0A", "", "int8.onnx"])
    def test_a_part_of_a_name_is_none(self, asked: str) -> None:
        assert Selection(asked).of(self.RUNS) == []

    def test_only_the_verdicts_asked_for_are_left(self) -> None:
        (found,) = Selection(target="opencl", outcome=Outcome.FAIL).of(self.RUNS)
        assert [each.target for each in found.verdicts] == ["opencl new"]
        assert Selection(target="opencl", outcome=Outcome.PASS).of(self.RUNS) == []

    def test_where_nothing_is_found_the_nearest_name_is_told(self) -> None:
        error = nothing_of(Selection("net.int8.onx"), self.RUNS)
        assert isinstance(error, UsageError)
        assert "Did you mean 'net.int8.onnx'?" in str(error)
