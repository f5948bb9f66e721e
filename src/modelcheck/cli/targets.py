"""`modelcheck targets`: where models can run on this machine, and what to do where they cannot."""

from __future__ import annotations

from typing import Annotated

import typer


def targets(
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="INTERPRETER", help="Another Python that has numpy and cv2; may be "
                     "repeated."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that one forward may take.")
    ] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:  # fmt: skip
    """Try every target of this interpreter's OpenCV, and of others: available or why not."""
    from modelcheck.cli.screen import console, print_json
    from modelcheck.process import ChildLimits
    from modelcheck.report.targets import print_interpreter, survey_json
    from modelcheck.verification.survey import survey

    found = []
    for interpreter in survey([None, *(python or [])], ChildLimits(request_s=timeout)):
        found.append(interpreter)
        if not json:
            print_interpreter(interpreter, console())
    if json:
        print_json(survey_json(found))
    return 0 if all(i.opencv is not None for i in found) else 4
