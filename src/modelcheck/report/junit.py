"""The report as JUnit XML: one test case a check, for CI systems that show such files."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from modelcheck.judge import Check, Outcome
from modelcheck.report.document import Report

# XML 1.0 has no way to write these, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> str:
    """A <testsuites> document; INCONCLUSIVE and UNSUPPORTED count as failures unless optional."""
    checks = report.verification.checks
    failed = [c for c in checks if c.outcome is not Outcome.PASS and not c.optional]
    skipped = [c for c in checks if c.outcome is not Outcome.PASS and c.optional]
    suite = ElementTree.Element(
        "testsuite",
        name=f"modelcheck {_clean((report.candidate or report.original).name)}",
        tests=str(max(1, len(checks))),
        failures=str(len(failed) if checks else 1),
        skipped=str(len(skipped)),
        errors="0",
        time=f"{report.seconds:.3f}",
        timestamp=report.created,
    )
    for check in checks:
        _add_case(suite, check)
    if not checks:
        case = ElementTree.SubElement(suite, "testcase", classname="modelcheck", name="checks")
        ElementTree.SubElement(case, "failure", message="INCONCLUSIVE: nothing was checked")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ElementTree.Element, check: Check) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"modelcheck.{_clean(check.target)}", name=check.kind
    )
    if check.outcome is Outcome.PASS:
        return
    text = _clean(f"{check.outcome}: {check.message}")
    tag = "skipped" if check.optional else "failure"
    failure = ElementTree.SubElement(case, tag, message=text)
    if not check.optional:
        failure.set("type", check.outcome.value)
        failure.text = text


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
