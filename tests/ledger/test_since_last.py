"""The check against the last release: worse is worse only beyond what varies by itself."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_runs import RUN, VERDICT, run, verdict

from modelcheck.judge import Blame, Check, Outcome
from modelcheck.ledger import Run, Verdict
from modelcheck.ledger.regression import judge_since_last


def check(now: Verdict, before: Verdict = VERDICT, last: Run = RUN, **changes: object) -> Check:
    """The check of a run with this verdict, after a release with that one."""
    return judge_since_last(run(now, **changes), now, replace(last, verdicts=(before,)))


def speed(ratio: float, low: float, high: float) -> Verdict:
    return verdict(speedup=ratio, speedup_low=low, speedup_high=high)


def test_the_same_run_again_passes_and_says_what_was_compared() -> None:
    found = check(VERDICT)
    assert (found.kind, found.outcome, found.blame) == ("since-last", Outcome.PASS, Blame.NONE)
    for word in ("SQNR", "agreement", "speed-up", "file", RUN.created):
        assert word in found.message


@given(
    db=st.floats(-20, 140), low=st.floats(0.1, 4), width=st.floats(1, 3),
    size=st.integers(1, 10**9), right=st.floats(0, 1),
)  # fmt: skip
def test_no_run_is_worse_than_itself(
    db: float, low: float, width: float, size: int, right: float
) -> None:
    one = verdict(db, speedup=low, speedup_low=low, speedup_high=low * width)
    one = replace(one, outputs=(replace(one.outputs[0], agreement=right),))
    last = replace(RUN, verdicts=(one,), candidate_bytes=size)
    assert judge_since_last(last, one, last).outcome is Outcome.PASS


class TestOutputs:
    @pytest.mark.parametrize(
        ("before", "now", "outcome"),
        [
            (30.0, 29.2, Outcome.PASS),
            (30.0, 28.8, Outcome.FAIL),
            (30.0, 40.0, Outcome.PASS),
            (130.0, 90.0, Outcome.PASS),  # float32 rounding either way
            (130.0, 75.0, Outcome.FAIL),
            (math.inf, 100.0, Outcome.PASS),
            (math.inf, 60.0, Outcome.FAIL),
            (30.0, -math.inf, Outcome.FAIL),
        ],
    )
    def test_a_drop_of_sqnr_counts_where_it_is_more_than_rounding(
        self, before: float, now: float, outcome: Outcome
    ) -> None:
        assert check(verdict(now), verdict(before)).outcome is outcome

    def test_every_output_counts_not_only_the_worst(self) -> None:
        boxes = replace(VERDICT.outputs[0], name="boxes", sqnr_db=60.0)
        before = replace(VERDICT, outputs=(*VERDICT.outputs, boxes))
        now = replace(VERDICT, outputs=(*VERDICT.outputs, replace(boxes, sqnr_db=45.0)))
        found = check(now, before)
        assert found.outcome is Outcome.FAIL
        assert "output 'boxes' went from 60.0 dB to 45.0 dB" in found.message
        assert "logits" not in found.message

    @pytest.mark.parametrize(("high", "outcome"), [(0.984, Outcome.FAIL), (0.986, Outcome.PASS)])
    def test_agreement_counts_where_its_interval_lies_below(
        self, high: float, outcome: Outcome
    ) -> None:
        lower = replace(VERDICT.outputs[0], agreement=0.98, agreement_low=0.97, agreement_high=high)
        assert check(replace(VERDICT, outputs=(lower,))).outcome is outcome

    def test_other_data_prove_nothing(self) -> None:
        found = check(verdict(10.0), data_digest="dd" * 32)
        assert found.outcome is Outcome.INCONCLUSIVE
        assert found.blame is Blame.DATA
        assert "other data" in found.message


class TestSpeed:
    @pytest.mark.parametrize(
        ("now", "outcome"),
        [
            (speed(1.5, 1.4, 1.6), Outcome.FAIL),
            (speed(1.9, 1.8, 2.0), Outcome.PASS),
            (speed(2.5, 1.95, math.inf), Outcome.PASS),  # at worst within the earlier interval
            (speed(1.9, 1.2, 2.4), Outcome.INCONCLUSIVE),
            (speed(1.9, 0.0, math.inf), Outcome.INCONCLUSIVE),
        ],
    )
    def test_counts_where_the_intervals_do_not_overlap(
        self, now: Verdict, outcome: Outcome
    ) -> None:
        assert check(now).outcome is outcome

    @pytest.mark.parametrize(
        ("changes", "elsewhere"),
        [
            ({"original_digest": "0b" * 32}, {}),
            ({"baseline": "best"}, {}),
            ({}, {"ran_on": "cpu classic"}),
            ({}, {"speedup": None, "speedup_low": None, "speedup_high": None}),
        ],
    )
    def test_over_something_else_is_not_compared_and_that_is_said(
        self, changes: dict[str, object], elsewhere: dict[str, object]
    ) -> None:
        slow = verdict(**{"speedup": 1.0, "speedup_low": 0.9, "speedup_high": 1.1} | elsewhere)
        found = check(slow, **changes)
        assert found.outcome is Outcome.PASS
        assert "not compared: speed" in found.message

    def test_latencies_are_never_compared(self) -> None:
        assert check(verdict(original_s=1.0, latency_s=0.5)).outcome is Outcome.PASS


@pytest.mark.parametrize(("n_bytes", "outcome"), [(1_009_000, "PASS"), (1_011_000, "FAIL")])
def test_a_file_may_grow_by_its_metadata_only(n_bytes: int, outcome: str) -> None:
    assert check(VERDICT, candidate_bytes=n_bytes).outcome == outcome


def test_a_smaller_file_alone_is_no_proof() -> None:
    nothing = verdict(speedup=None, outputs=())
    assert check(nothing, candidate_bytes=1).outcome is Outcome.INCONCLUSIVE


def test_without_an_earlier_release_nothing_is_proven_and_the_way_out_is_told() -> None:
    found = judge_since_last(RUN, VERDICT, None, "; there are releases of other.onnx")
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "there are releases of other.onnx" in found.message
    assert "--no-since-last" in found.message


def test_an_optional_target_stays_optional() -> None:
    assert check(verdict(speedup=1.0, speedup_low=0.9, speedup_high=1.1, optional=True)).optional
