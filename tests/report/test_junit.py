"""The report as JUnit XML: valid whatever the names, and never greener than the verdict."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_reports import NASTY, renamed

from modelcheck.judge import Blame, Check, Outcome
from modelcheck.model.patterns import PATTERNS, Finding
from modelcheck.report import Report
from modelcheck.report.junit import to_junit
from modelcheck.verification import KnownFault

names = st.text(st.characters(), max_size=30)  # surrogates and control characters included


def suite_of(report: Report) -> ElementTree.Element:
    root = ElementTree.fromstring(to_junit(report).encode())
    assert root.tag == "testsuites"
    assert len(root) == 1
    return root[0]


def check(outcome: Outcome, *, optional: bool = False, text: str = "said") -> Check:
    return Check("equivalence", "cpu new", outcome, text, Blame.NONE, optional=optional)


checks = st.lists(st.builds(check, st.sampled_from(Outcome), optional=st.booleans()), max_size=4)


def test_a_pass_has_one_case_a_check_and_no_failure(report: Report) -> None:
    suite = suite_of(report)
    cases = suite.findall("testcase")
    assert [c.get("name") for c in cases] == [c.kind for c in report.verification.checks]
    assert {c.get("classname") for c in cases} == {"modelcheck.cpu auto, 1 thread"}
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (
        str(len(cases)), "0", "0",
    )  # fmt: skip
    assert suite.get("time") == "1.500"


def test_the_limit_and_its_noise_floor_stand_in_the_case_of_the_outputs(report: Report) -> None:
    said = suite_of(report).findtext("testcase[@name='equivalence']/system-out")
    assert said is not None
    assert "asked " in said
    assert "noise floor" in said


@given(names, names)
def test_any_name_and_message_make_valid_xml(report: Report, name: str, text: str) -> None:
    suite = suite_of(renamed(report, name=name, checks=(check(Outcome.FAIL, text=text),)))
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert str(failure.get("message")).startswith("FAIL: ")


def test_control_characters_do_not_reach_the_terminal_of_a_ci(report: Report) -> None:
    odd = check(Outcome.FAIL, text=NASTY)
    text = to_junit(renamed(report, name=NASTY, checks=(odd,)))
    assert not set(text) & {"\x00", "\x1b", "\ud800"}
    assert "<&" not in text


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED])
def test_whatever_is_no_pass_fails_its_case_with_the_outcome_first(
    report: Report, outcome: Outcome
) -> None:
    suite = suite_of(renamed(report, name="m", checks=(check(Outcome.PASS), check(outcome))))
    failures = suite.findall("testcase/failure")
    assert [(f.get("type"), f.text) for f in failures] == [(outcome.value, f"{outcome}: said")]
    assert suite.get("failures") == "1"


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.UNSUPPORTED])
def test_an_optional_target_is_skipped_and_says_why(report: Report, outcome: Outcome) -> None:
    found = (check(Outcome.PASS), check(outcome, optional=True))
    suite = suite_of(renamed(report, name="m", checks=found))
    skipped = suite.find("testcase/skipped")
    assert skipped is not None
    assert skipped.get("message") == f"{outcome}: said"
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


@given(checks)
def test_the_file_is_green_exactly_when_the_verdict_is_a_pass(
    report: Report, found: list[Check]
) -> None:
    """No checks at all, or optional ones only, are no evidence: INCONCLUSIVE, so red."""
    judged = renamed(report, name="m", checks=tuple(found))
    suite = suite_of(judged)
    green = int(str(suite.get("failures"))) == 0
    assert green == (judged.outcome is Outcome.PASS)
    assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
    assert suite.get("tests") == str(len(suite.findall("testcase")))
    assert int(str(suite.get("tests"))) >= 1


def test_known_faults_are_told_beside_the_cases(report: Report) -> None:
    finding = Finding(PATTERNS[0], ("the\x00node",))
    fault = KnownFault(finding, ("candidate",), PATTERNS[0].engines[0], "")
    target = dataclasses.replace(report.verification.targets[0], known=(fault,))
    verification = dataclasses.replace(report.verification, targets=(target,))
    told = ElementTree.fromstring(
        to_junit(dataclasses.replace(report, verification=verification)).encode()
    )
    text = told.findtext("testsuite/system-out") or ""
    assert text.startswith("KNOWN wrong on cpu auto")
    assert PATTERNS[0].remedy in text
    assert ElementTree.fromstring(to_junit(report).encode()).find("testsuite/system-out") is None
