"""What is said of known faults before a run, and beside a check that fails."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from faulty_nets import CASES

from modelcheck.data import open_samples
from modelcheck.judge import Blame, Check, Outcome
from modelcheck.model import Model
from modelcheck.model.patterns import PATTERNS, Finding
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import OpenCV, Placement, Target
from modelcheck.verification import Foreseen, Plan, StageStarted, TargetResult, Verified, verify
from modelcheck.verification.known import KnownFault, faults_of, referring

ROWS = {pattern.id: pattern for pattern in PATTERNS}
BOTH = ("cpu:new:threads=1", "cpu:classic:threads=1")


def opencv(version: str) -> OpenCV:
    return OpenCV(version, ("auto",), "2", "3.12", 1, 1, "")


def placed(engine: str, device: str = "cpu") -> Placement:
    return Placement(f"{device} auto", f"{device} {engine}", ("it says so",))


def faults(row: str, version: str, engine: str, *nodes: str, **pair: bool) -> list[KnownFault]:
    found = (Finding(ROWS[row], nodes or ("n",)),)
    models = {
        "original": (found if pair.get("original", True) else (), placed(engine)),
        "candidate": (found if pair.get("candidate", False) else (), placed(engine)),
    }
    return list(faults_of(Target(), opencv(version), models))


def run(original: Model, candidate: Model | None = None) -> tuple[list[object], list[TargetResult]]:
    """All events, and what was found on the new and on the classic engine."""
    plan = Plan(
        original,
        candidate,
        open_samples(None, original.signature, count=4),
        tuple(TargetSettings(Target.parse(text)) for text in BOTH),
        judging=Judging(checks=frozenset({CheckKind.EQUIVALENCE})),
    )
    events = list(verify(plan))
    assert isinstance(events[-1], Verified)
    return events, list(events[-1].result.targets)


def test_a_fault_concerns_the_engines_of_its_row_alone() -> None:
    assert faults("same-strided", "5.0.0", "new")
    assert not faults("same-strided", "5.0.0", "classic")
    assert not faults("same-strided", "4.14.0", "classic")
    assert faults("same-lower", "4.14.0", "classic")
    assert faults("same-lower", "5.0.0", "classic")


@pytest.mark.parametrize(
    ("version", "said"),
    [("5.0.0", ""), ("5.1.0", "not measured on 5.1.0"), ("5.1.0-dev", "not measured on 5.1.0-dev")],
)
def test_another_version_is_not_said_to_be_measured(version: str, said: str) -> None:
    (fault,) = faults("same-strided", version, "new")
    assert fault.caveat == said
    assert "known of OpenCV 5.0.0 new" in fault.describe()
    assert said in fault.describe()


def test_another_device_is_not_said_to_be_measured() -> None:
    found = (Finding(ROWS["counted-padding"], ("n",)),)
    target = Target.parse("opencl:classic")
    models = {"original": (found, placed("classic", "opencl"))}
    (fault,) = faults_of(target, opencv("5.0.0"), models)
    assert fault.caveat == "not measured on opencl"


def test_before_auto_has_loaded_anything_it_is_the_new_engine() -> None:
    found = (Finding(ROWS["same-strided"], ("n",)),)
    assert faults_of(Target(), opencv("5.0.0"), {"original": (found, None)})


def test_the_first_nodes_are_named_and_the_others_counted() -> None:
    (fault,) = faults("same-strided", "5.0.0", "new", *(f"n{i}" for i in range(9)))
    assert "(at n0, n1, n2 and 6 more)" in fault.describe()


def test_a_fault_of_both_models_is_one() -> None:
    (fault,) = faults("same-strided", "5.0.0", "new", original=True, candidate=True)
    assert fault.models == ("original", "candidate")


@pytest.mark.parametrize("blame", [Blame.TARGET, Blame.TRANSFORM])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_a_check_that_failed_refers_to_the_faults_of_whom_it_blames(
    outcome: Outcome, blame: Blame
) -> None:
    check = Check("equivalence", "cpu", outcome, "it.", blame)
    known = faults("same-strided", "5.0.0", "new", original=True, candidate=False)
    bad = outcome in (Outcome.FAIL, Outcome.UNSUPPORTED)
    refers = "Known: original" in referring(check, known).message
    assert refers == (bad and blame is Blame.TARGET)
    assert replace(referring(check, known), message="it.") == check


def test_a_refusal_is_explained_by_what_is_refused_and_an_error_by_what_is_wrong() -> None:
    runs = Check("runs", "cpu", Outcome.UNSUPPORTED, "no.", Blame.TARGET)
    wrong = replace(runs, kind="equivalence", outcome=Outcome.FAIL)
    known = faults("same-strided", "5.0.0", "new") + faults("int8-maxpool", "5.0.0", "new")
    assert "MaxPool" in referring(runs, known).message
    assert "auto_pad" not in referring(runs, known).message
    assert "auto_pad" in referring(wrong, known).message


def test_it_is_said_before_the_models_run_and_beside_the_check_that_fails() -> None:
    events, (new, classic) = run(CASES["same-strided"].shows())
    (said,) = (e for e in events if isinstance(e, Foreseen))
    running = next(e for e in events if isinstance(e, StageStarted) and e.name == "running")
    assert events.index(said) < events.index(running)
    assert said.target == new.settings.target.name
    assert new.outcome is Outcome.FAIL
    assert "Known: original: auto_pad" in new.checks[0].message
    assert "Write the padding out as pads" in new.checks[0].message
    assert classic.outcome is Outcome.PASS
    assert not classic.known


def test_a_model_that_does_not_load_is_explained_too() -> None:
    _, (new, classic) = run(CASES["int8-maxpool"].shows())
    assert new.outcome is Outcome.UNSUPPORTED
    assert "Known: original: MaxPool of int8 numbers" in new.checks[-1].message
    assert classic.outcome is Outcome.PASS


def test_a_known_fault_decides_nothing() -> None:
    """Tanh is known to fail for large values only, and these are small."""
    events, (new, _) = run(CASES["tanh-large"].shows())
    assert [f.finding.pattern.id for f in new.known] == ["tanh-large"]
    assert new.outcome is Outcome.PASS
    assert not any(isinstance(e, Foreseen) for e in events)


def test_a_report_holds_them_as_values() -> None:
    from modelcheck.report.document import _target

    _, (new, _) = run(CASES["same-strided"].shows())
    (fault,) = json.loads(json.dumps(_target(new)))["known_faults"]
    assert fault["id"] == "same-strided"
    assert fault["severity"] == "wrong"
    assert fault["models"] == ["original"]
    assert fault["nodes"] == ["conv0"]
    assert fault["measured"] == "5.0 new"
