"""`modelcheck check-report`: the release gate in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check_report(
    model: Annotated[Path, typer.Argument(help="The model about to be released.")],
    report: Annotated[
        Path | None, typer.Option(help="Its report, if not MODEL.modelcheck.json.")
    ] = None,
) -> int:
    """Exit 0 only if MODEL is, to the last weight, the model that passed."""
    from modelcheck import gate
    from modelcheck.errors import printable
    from modelcheck.report import objection, read_report, report_beside

    path = report_beside(model) if report is None else report
    document = read_report(path)
    reason = objection(document, gate.load_model(model))
    shown = printable(model.name)
    if reason is not None:
        print(f"FAILED: {shown} is not released: {reason}.")
        return 1
    print(f"PASSED: {shown} is the model that passed on {document.get('created')}.")
    return 0
