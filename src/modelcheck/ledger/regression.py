"""Is this run worse than the last release? Pure: two recorded runs in, a check out.

    SQNR        worse by more than 1 dB, where it is below 80 dB         same data only
    agreement   its interval lies below the earlier one                  same data only
    size        more than 1 % larger
    speed-up    its interval lies below the earlier one                  same original only

Absolute times are never compared: the same model's median varied 2.9-fold between two sessions
on one machine (docs/verdicts.md). A figure that cannot be compared is named; where none can be,
nothing is proven.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelcheck import units
from modelcheck.judge import Blame, Check, Outcome, gravest
from modelcheck.ledger.entry import OutputFigures, Run, Verdict

SINCE_LAST = "since-last"  # the kind of this check

# On one machine and build outputs are repeatable to the bit, so a drop has a cause; a decibel is
# what another calibration of equal worth may cost.
_SQNR_DROP_DB = 1.0
# An error of 1e-4 of the signal, the tolerance for float32 (judge.limits.TOTAL_ERROR_FLOOR):
# above, it is rounding that varies.
_SQNR_EQUAL_DB = 80.0
_GROWTH = 0.01  # names and metadata may grow a file
_WIDE = 1.25  # high over low: beyond, a fifth of the speed may be lost unseen
_SHOWN = 4
_ACCEPT = "To accept it as the new release, run once with --no-since-last"
_REMEDIES = {
    Outcome.PASS: "",
    Outcome.FAIL: f"`modelcheck history` shows what changed since. {_ACCEPT}",
    Outcome.INCONCLUSIVE: "Judge on the same data, and on a quieter machine or with more "
    f"--time-budget. {_ACCEPT}",
}


@dataclass(frozen=True, slots=True)
class _Finding:
    """PASS: compared and not worse. None: not compared, and why."""

    outcome: Outcome | None
    text: str


def judge_since_last(run: Run, verdict: Verdict, last: Run | None, hint: str = "") -> Check:
    """The check of one target of a run against the last release, if there is one.

    `hint` says where there are releases, when there is none to compare with.
    """
    before = None if last is None else last.verdict(verdict.target)
    if last is None or before is None:
        return _check(
            verdict, Outcome.INCONCLUSIVE,
            "there is no earlier release of this model on this target and machine class to "
            f"compare with{hint}", "Make the first release with --no-since-last",
        )  # fmt: skip
    findings = [*_outputs(run, verdict, last, before), *_speed(run, verdict, last, before)]
    if all(f.outcome is None for f in findings):
        findings.append(_Finding(Outcome.INCONCLUSIVE, "neither outputs nor speed were compared"))
    findings.append(_size(run, last))
    outcome = gravest(f.outcome for f in findings if f.outcome is not None)
    told = [f.text for f in findings if f.outcome is outcome]
    what = f"{_listed(told)}, against the release of {last.created}"
    if skipped := [f.text for f in findings if f.outcome is None]:
        what += f" (not compared: {_listed(skipped)})"
    return _check(verdict, outcome, what, _REMEDIES[outcome])


def _outputs(run: Run, verdict: Verdict, last: Run, before: Verdict) -> Iterator[_Finding]:
    if not (before.outputs and verdict.outputs):
        yield _Finding(None, "outputs, which were not judged both times")
    elif run.data_digest != last.data_digest:
        yield _Finding(
            Outcome.INCONCLUSIVE,
            f"outputs were judged on other data ({units.short_digest(last.data_digest)} then, "
            f"{units.short_digest(run.data_digest)} now)",
        )
    else:
        yield from _output_findings(verdict, before)


def _output_findings(verdict: Verdict, before: Verdict) -> Iterator[_Finding]:
    for earlier in before.outputs:
        now = verdict.output(earlier.name)
        if now is None:
            yield _Finding(None, f"output '{earlier.name}', which is no more")
            continue
        yield _sqnr(now, earlier)
        if earlier.agreement_low is not None and now.agreement_high is not None:
            yield _agreement(now, earlier)


def _sqnr(now: OutputFigures, earlier: OutputFigures) -> _Finding:
    lost_db = min(earlier.sqnr_db, _SQNR_EQUAL_DB) - min(now.sqnr_db, _SQNR_EQUAL_DB)
    # -inf both times is no loss: it was released so, by a limit that does not ask for an SQNR.
    worse = lost_db > _SQNR_DROP_DB
    figures = f"{units.decibels(earlier.sqnr_db)} to {units.decibels(now.sqnr_db)}"
    return _finding(worse, f"the SQNR of output '{now.name}' went from {figures}")


def _agreement(now: OutputFigures, earlier: OutputFigures) -> _Finding:
    assert now.agreement_high is not None
    assert earlier.agreement_low is not None
    worse = now.agreement_high < earlier.agreement_low
    figures = f"{_within(earlier)} to {_within(now)}"
    return _finding(worse, f"the agreement of output '{now.name}' went from {figures}")


def _size(run: Run, last: Run) -> _Finding:
    worse = run.model_bytes > last.model_bytes * (1 + _GROWTH)
    figures = f"{units.size(last.model_bytes)} to {units.size(run.model_bytes)}"
    return _finding(worse, f"the file went from {figures}")


def _speed(run: Run, verdict: Verdict, last: Run, before: Verdict) -> Iterator[_Finding]:
    if run.candidate_digest is None and last.candidate_digest is None:
        return  # a model alone has no speed-up
    if before.speedup is None or verdict.speedup is None:
        yield _Finding(None, "speed, which was not measured both times")
    elif run.original_digest != last.original_digest:
        yield _Finding(None, "speed-up, which is over another original")
    elif run.baseline != last.baseline:
        yield _Finding(None, "speed-up, which is over another baseline")
    elif before.ran_on != verdict.ran_on:
        yield _Finding(None, f"speed-up, which was measured on {before.ran_on}")
    else:
        yield _speedup(verdict, before)


def _speedup(now: Verdict, earlier: Verdict) -> _Finding:
    old, new = _interval(earlier), _interval(now)
    text = f"the speed-up went from {_shown(earlier)} to {_shown(now)}"
    if new[1] < old[0]:
        return _Finding(Outcome.FAIL, text)
    if new[0] >= old[0] or max(_width(old), _width(new)) <= _WIDE:
        return _Finding(Outcome.PASS, text)
    return _Finding(Outcome.INCONCLUSIVE, f"{text}, an interval too wide to tell")


def _listed(texts: Sequence[str]) -> str:
    more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _finding(worse: bool, text: str) -> _Finding:
    return _Finding(Outcome.FAIL if worse else Outcome.PASS, text)


def _interval(verdict: Verdict) -> tuple[float, float]:
    return verdict.speedup_low or 0.0, verdict.speedup_high or math.inf


def _width(interval: tuple[float, float]) -> float:
    low, high = interval
    return high / low if low > 0 else math.inf


def _shown(verdict: Verdict) -> str:
    low, high = _interval(verdict)
    return f"{units.ratio(verdict.speedup or 0.0)} [{low:.2f}, {units.ratio(high)}]"


def _within(figures: OutputFigures) -> str:
    low, high = figures.agreement_low or 0.0, figures.agreement_high or 0.0
    agreement = units.percent(figures.agreement or 0.0)
    return f"{agreement} [{units.percent(low)}, {units.percent(high)}]"


def _check(verdict: Verdict, outcome: Outcome, what: str, remedy: str) -> Check:
    sentences = [f"{verdict.target}: {what}", remedy]
    return Check(
        SINCE_LAST,
        verdict.target,
        outcome,
        " ".join(f"{sentence}." for sentence in sentences if sentence),
        {Outcome.PASS: Blame.NONE, Outcome.FAIL: Blame.TRANSFORM}.get(outcome, Blame.DATA),
        optional=verdict.optional,
    )
