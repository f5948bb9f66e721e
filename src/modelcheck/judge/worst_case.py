"""What a search for the worst input found, and the check where a limit asks for one.

FAIL          an input beyond the limit, one that the outputs are not finite for, or one that
              the candidate dies of
PASS          so many inputs were tried, and none was beyond the limit. A search shows what it
              found; it proves no bound, and the message says so
INCONCLUSIVE  the search did not come to its end, or had nothing to search
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelcheck import units
from modelcheck.judge.input_score import InputScore
from modelcheck.judge.outcome import Blame, Check, Outcome

KIND = "worst-case"


@dataclass(frozen=True, slots=True)
class FoundInput:
    """An input near the data: its scores, how it was found, and what it is in words."""

    score: InputScore
    found_by: str  # 'replay', 'climbing', 'Hypothesis', 'flips'
    text: str


@dataclass(frozen=True, slots=True)
class Flips:
    """Of so many low-margin samples, how many changed class nearby; the largest margin of those."""

    tried: int
    flipped: int
    margin: float  # of the reference, as a part of the scale; 0 where nothing flipped


@dataclass(frozen=True, slots=True)
class WorstCaseEvidence:
    """A search on one target.

    `worst` is None where nothing is worse than the data by more than rounding explains.
    """

    asked: int  # inputs to try
    tried: int
    radius: float
    data_worst: float  # the largest error of the data
    data_target: float  # that of the original there, of the same sample
    data_sample: str
    found: float = 0.0  # the largest error of what was tried
    worst: FoundInput | None = None
    shrunk: FoundInput | None = None  # the plainest input that still does it
    flips: Flips | None = None
    replayed: int = 0
    replayed_worst: float = 0.0
    file: str = ""  # where the inputs are saved
    stopped: str = ""  # why before its end
    died: str = ""  # how the candidate died, of the input `worst`
    synthetic: bool = False

    @property
    def error(self) -> float:
        """The largest error known."""
        return max(self.data_worst, self.found)

    @property
    def growth(self) -> float:
        """The largest error found over the largest of the data."""
        if self.data_worst > 0:
            return self.error / self.data_worst
        return math.inf if self.error > 0 else 1.0


def describe_search(evidence: WorstCaseEvidence) -> str:
    """'500 inputs near the data: worst error 2.1e-01 of the scale, 3.1x the worst of the data'."""
    near = f"within {100 * evidence.radius:g} % of {_data(evidence)}'s range"
    text = f"{units.plural(evidence.tried, 'input')} {near} tried: {_error(evidence)}"
    flips = evidence.flips
    if flips is not None and flips.tried:
        text += f"; {flips.flipped} of {units.plural(flips.tried, 'low-margin sample')} flipped"
        if flips.flipped:
            text += f", up to a margin of {flips.margin:.2g}"
    return text


def judge_worst_case(
    target: str,
    evidence: WorstCaseEvidence,
    *,
    limit: float | None,
    exact: bool = False,
    optional: bool = False,
) -> Check | None:
    """The check, or None where no limit asks for one and nothing broke."""
    outcome, blame, text = _decide(evidence, limit, exact)
    if limit is None and outcome is not Outcome.FAIL:
        return None
    message = f"{target}: {text}"
    return Check(KIND, target, outcome, message, blame, evidence, optional)


def _decide(
    evidence: WorstCaseEvidence, limit: float | None, exact: bool
) -> tuple[Outcome, Blame, str]:
    worst = evidence.worst
    if evidence.died and worst is not None:
        text = f"an input near the data breaks the candidate: {evidence.died} {_input(evidence)}"
        return Outcome.FAIL, Blame.TRANSFORM, text
    if worst is not None and math.isinf(worst.score.error):
        blame = Blame.TARGET if math.isinf(worst.score.target) else Blame.TRANSFORM
        text = (
            f"output '{worst.score.output}' is NaN, infinite or beyond 1e30 for an input near the "
            f"data, where the reference is finite. {_input(evidence)}"
        )
        return Outcome.FAIL, blame, text
    bound = math.inf if limit is None else limit
    if evidence.error > bound:
        return _beyond(evidence, bound)
    if evidence.stopped or evidence.tried == 0:
        reason = evidence.stopped or "nothing was tried"
        text = f"the search for the worst input did not come to its end: {reason}"
        return Outcome.INCONCLUSIVE, Blame.DATA, text
    text = (
        f"{describe_search(evidence)} <= {bound:g}. A search shows no bound: more may find worse."
    )
    if evidence.synthetic and not exact:
        text += " Synthetic inputs say little about real ones: give real data."
        return Outcome.INCONCLUSIVE, Blame.DATA, text
    return Outcome.PASS, Blame.NONE, text


def _beyond(evidence: WorstCaseEvidence, limit: float) -> tuple[Outcome, Blame, str]:
    worst = evidence.worst
    if worst is None or evidence.data_worst >= worst.score.error:
        text = (
            f"already {evidence.data_sample} of the data has an error of "
            f"{units.scientific(evidence.data_worst)} of the scale > {limit:g}."
        )
        blame = Blame.TARGET if evidence.data_target > limit else Blame.TRANSFORM
        return Outcome.FAIL, blame, text
    text = (
        f"output '{worst.score.output}', an input near the data has an error of "
        f"{units.scientific(worst.score.error)} of the scale > {limit:g} (the worst of the data: "
        f"{units.scientific(evidence.data_worst)}). {_input(evidence)}"
    )
    if worst.score.target > limit:
        return Outcome.FAIL, Blame.TARGET, f"{text} The original itself is as wrong there."
    return Outcome.FAIL, Blame.TRANSFORM, text


def _input(evidence: WorstCaseEvidence) -> str:
    """What the input is, and how to run it again."""
    found = evidence.shrunk or evidence.worst
    assert found is not None
    size = "" if math.isinf(found.score.error) else f" ({units.scientific(found.score.error)})"
    again = f" Replay it with --data {evidence.file}." if evidence.file else ""
    return f"It is {found.text}{size}.{again}"


def _error(evidence: WorstCaseEvidence) -> str:
    error, data = units.scientific(evidence.error), _data(evidence)
    if evidence.worst is None:
        return f"none is worse than {data} by more than rounding, at most {error} of the scale"
    if math.isinf(evidence.error):
        return "one gives NaN, infinities or nothing"
    if math.isinf(evidence.growth):
        return f"worst error {error} of the scale, where {data} have none"
    return f"worst error {error} of the scale, {units.ratio(evidence.growth)} that of {data}"


def _data(evidence: WorstCaseEvidence) -> str:
    return "the synthetic inputs" if evidence.synthetic else "the data"
