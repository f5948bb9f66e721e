"""How a search ends when a process does not survive an input. The processes are stand-ins.

No input is known that kills a net of today's OpenCV every time and only for bright images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelcheck.errors import Crashed
from modelcheck.judge import Blame, Outcome, WorstCaseEvidence, judge_worst_case
from modelcheck.process import ChildLimits
from modelcheck.recipe import TargetSettings
from modelcheck.targets import Target
from modelcheck.verification.extremes import Extremes
from modelcheck.verification.lane import Files, Lane
from modelcheck.verification.worst_search import Starts, WorstSearch

SAMPLES = {
    i: {"x": np.random.default_rng(i).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)}
    for i in range(3)
}


def output(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"y": arrays["x"].mean(axis=(2, 3))}


class Runs:
    """Answers as a model would; from the given number of inputs on it is dead."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at, self.seen = dies_at, 0

    def send(self, arrays: Any) -> None:
        self.seen += 1
        self.answer = output(arrays)

    def receive(self) -> dict[str, np.ndarray]:
        if self.seen == self.dies_at:
            raise Crashed("ended by SIGFPE", where="a stand-in")
        return self.answer


class StandIn(Lane):
    """A lane whose candidate or original dies of an input."""

    def __init__(self, dies_at: int, blame: Blame) -> None:
        settings = TargetSettings(Target())
        super().__init__(settings, Files(Path("a"), Path("b"), ("y",)), ChildLimits())
        self.runs, self.who = Runs(dies_at), blame

    def send(self, arrays: Any, *, key: str = "net") -> None:
        self.runs.send(arrays)

    def receive(self) -> Any:
        try:
            answer = self.runs.receive()
        except Crashed as error:
            outcome = Outcome.FAIL if self.who is Blame.TRANSFORM else Outcome.UNSUPPORTED
            self.fail(outcome, self.who, error.what)
            return None
        return answer, answer


def searched(lane: Lane, reference: Runs, home: Path, limit: float | None) -> WorstCaseEvidence:
    extremes = Extremes(exact=False)
    for i, arrays in SAMPLES.items():
        extremes.update(i, arrays, (output(arrays),) * 3, ())
    starts = Starts(SAMPLES, {i: f"sample {i}" for i in SAMPLES})
    search = WorstSearch(
        lane, reference, extremes, starts, asked=50, radius=0.1, seed=0, limit=limit,  # type: ignore[arg-type]
        rounding=1e-6, home=home,
    )  # fmt: skip
    assert list(search.run()) == list(range(1, min(9, search.tried) + 1))
    evidence = search.result("")
    assert bool(search.inputs()) == (evidence.worst is not None)
    return evidence


@pytest.mark.parametrize("limit", [None, 0.5])
def test_an_input_that_the_candidate_dies_of_is_the_worst_there_is(
    tmp_path: Path, limit: float | None
) -> None:
    evidence = searched(StandIn(10, Blame.TRANSFORM), Runs(), tmp_path, limit)
    check = judge_worst_case("cpu", evidence, limit=limit)
    assert check is not None
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TRANSFORM)
    assert "SIGFPE" in check.message
    assert "sample" in check.message


def test_an_input_that_the_original_dies_of_decides_nothing(tmp_path: Path) -> None:
    evidence = searched(StandIn(10, Blame.TARGET), Runs(), tmp_path, 0.5)
    check = judge_worst_case("cpu", evidence, limit=0.5)
    assert check is not None
    assert check.outcome is Outcome.INCONCLUSIVE
    assert judge_worst_case("cpu", evidence, limit=None) is None


def test_a_reference_that_dies_decides_nothing(tmp_path: Path) -> None:
    evidence = searched(StandIn(1000, Blame.TARGET), Runs(10), tmp_path, 0.5)
    assert "reference" in evidence.stopped
    check = judge_worst_case("cpu", evidence, limit=0.5)
    assert check is not None
    assert check.outcome is Outcome.INCONCLUSIVE


def test_a_lane_that_does_not_start_ends_the_search(tmp_path: Path) -> None:
    lane = StandIn(1000, Blame.TARGET)
    lane.fail(Outcome.UNSUPPORTED, Blame.TARGET, "cannot load the original")
    evidence = searched(lane, Runs(), tmp_path, 0.5)
    assert (evidence.tried, evidence.stopped) == (0, "cannot load the original")
