"""The report as JUnit XML: one test case a check, for CI systems that show such files."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from modelcheck.judge import Check, EquivalenceEvidence, Outcome
from modelcheck.report.document import Report

# XML 1.0 has no way to write these, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> str:
    """A <testsuites> document: one case a check, and one for the verdict where no case fails it.

    INCONCLUSIVE and UNSUPPORTED count as failures. Checks of optional targets are skipped where
    they did not pass, so a report without any required check would look green without the last.
    """
    suite = ElementTree.Element(
        "testsuite",
        name=f"modelcheck {_clean((report.candidate or report.original).name)}",
        errors="0",
        time=f"{report.seconds:.3f}",
        timestamp=report.created,
    )
    for check in report.verification.checks:
        _add_check(suite, check)
    if report.outcome is not Outcome.PASS and suite.find("testcase/failure") is None:
        case = ElementTree.SubElement(suite, "testcase", classname="modelcheck", name="verdict")
        _add_failure(case, report.outcome, "no required check was made")
    known = [
        f"KNOWN {fault.finding.pattern.severity} on {target.settings.target.name}: "
        f"{fault.describe()}"
        for target in report.verification.targets
        for fault in target.known
        if fault.foreseeable
    ]
    if known:
        ElementTree.SubElement(suite, "system-out").text = _clean("\n".join(known))
    counted = {"tests": "testcase", "failures": "testcase/failure", "skipped": "testcase/skipped"}
    for attribute, path in counted.items():
        suite.set(attribute, str(len(suite.findall(path))))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_check(suite: ElementTree.Element, check: Check) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"modelcheck.{_clean(check.target)}", name=_clean(check.kind)
    )
    if isinstance(check.evidence, EquivalenceEvidence):
        told = f"asked {check.evidence.limit}; {check.evidence.noise}"
        ElementTree.SubElement(case, "system-out").text = _clean(told)
    if check.outcome is Outcome.PASS:
        return
    if check.optional:
        text = _clean(f"{check.outcome}: {check.message}")
        ElementTree.SubElement(case, "skipped", message=text)
    else:
        _add_failure(case, check.outcome, check.message)


def _add_failure(case: ElementTree.Element, outcome: Outcome, message: str) -> None:
    text = _clean(f"{outcome}: {message}")
    failure = ElementTree.SubElement(case, "failure", message=text, type=outcome.value)
    failure.text = text


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
