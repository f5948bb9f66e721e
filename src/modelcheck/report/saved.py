"""Reports as files: written atomically, and read again to hold a release to its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelcheck.errors import InvalidInput, UsageError, printable
from modelcheck.judge import Outcome, gravest
from modelcheck.model import Model
from modelcheck.model.atomic import atomic_write, check_writable
from modelcheck.recipe import CheckKind
from modelcheck.report.document import SCHEMA, Report
from modelcheck.report.junit import to_junit

_SUFFIXES = (".json", ".xml")


def check_report_path(path: Path) -> None:
    """Before the work begins: UsageError for a suffix that names no format, OutputNotWritten for a
    folder that cannot be written.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"a report is written as {' or '.join(_SUFFIXES)}, not as '{path.suffix}'",
            where=str(path),
            remedy="Name it report.json, or report.xml for JUnit.",
        )
    check_writable(path)


def save_report(report: Report, path: Path) -> None:
    """Write the report as the path's suffix says: .json, or .xml for JUnit."""
    text = to_junit(report) if path.suffix.lower() == ".xml" else to_text(report)
    with atomic_write(path) as file:
        file.write(text.encode())


def to_text(report: Report) -> str:
    """The report as JSON text; control characters in names are escaped by JSON itself."""
    return json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n"


def report_beside(model_path: Path) -> Path:
    """Where apply puts the report of a model: OUT.modelcheck.json."""
    return model_path.with_name(f"{model_path.name}.modelcheck.json")


def read_report(path: Path) -> dict[str, Any]:
    """A saved report; raises InvalidInput when it is missing, damaged, or of another schema."""
    remedy = "Run `modelcheck apply --verify` again; it writes the report beside the model."
    try:
        if path.exists() and not path.is_file():
            raise InvalidInput("is not a file", where=str(path), remedy=remedy)
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(
            f"cannot be read: {error.strerror}", where=str(path), remedy=remedy
        ) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"is not JSON: {error}", where=str(path), remedy=remedy) from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InvalidInput(
            f"is not a report of the schema '{SCHEMA}'", where=str(path), remedy=remedy
        )
    return document


def objection(document: dict[str, Any], model: Model) -> str | None:
    """Why this report does not release this model; None when it does.

    It must have passed, have judged equivalence, and be about exactly this model.
    """
    outcome, judged = document.get("outcome"), document.get("judged")
    if outcome != Outcome.PASS.value:
        return f"the report's verdict is {printable(str(outcome))}"
    if _outcome_of_checks(document) is not Outcome.PASS or document.get("exit_code") != 0:
        return "the report contradicts itself: not all of its checks have passed"
    if not isinstance(judged, list) or CheckKind.EQUIVALENCE.value not in judged:
        return "the report judged no equivalence"
    passed = document.get("original" if document.get("candidate") is None else "candidate")
    digest = passed.get("digest") if isinstance(passed, dict) else None
    if digest != model.digest:
        return (
            f"the model that passed has the digest {printable(str(digest), 12)}, "
            f"this one has {model.digest[:12]}"
        )
    return None


def _outcome_of_checks(document: dict[str, Any]) -> Outcome:
    """What the checks that the report lists come to; INCONCLUSIVE where there are none."""
    try:
        checks = [check for target in document["targets"] for check in target["checks"]]
        return gravest(Outcome(check["outcome"]) for check in checks if not check["optional"])
    except (KeyError, TypeError, ValueError):
        return Outcome.INCONCLUSIVE
