"""Reports as files: written atomically, and read again to hold a release to its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelcheck.errors import InvalidInput, UsageError
from modelcheck.judge import Outcome
from modelcheck.model import Model
from modelcheck.model.saving import atomic_write
from modelcheck.report.document import SCHEMA, Report
from modelcheck.report.junit import to_junit

_SUFFIXES = (".json", ".xml")


def check_report_path(path: Path) -> None:
    """Raise UsageError for a suffix that names no format, before the work begins."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"a report is written as {' or '.join(_SUFFIXES)}, not as '{path.suffix}'",
            where=str(path),
            remedy="Name it report.json, or report.xml for JUnit.",
        )


def save_report(report: Report, path: Path) -> None:
    """Write the report as the path's suffix says: .json, or .xml for JUnit."""
    check_report_path(path)
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
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(
            f"cannot be read: {error.strerror}", where=str(path), remedy=remedy
        ) from None
    except ValueError as error:
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
    if document.get("outcome") != Outcome.PASS.value:
        return f"the report's verdict is {document.get('outcome')}"
    if "equivalence" not in document.get("judged", ()):
        return "the report judged no equivalence"
    passed = document.get("candidate") or document.get("original") or {}
    if passed.get("digest") != model.digest:
        return (
            f"the model that passed has the digest {str(passed.get('digest'))[:12]}, "
            f"this one has {model.digest[:12]}"
        )
    return None
