"""`modelcheck history`: what was judged here before, and what changed since it last passed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from modelcheck.ledger import Selection


def history(
    model: Annotated[
        str | None,
        typer.Argument(help="A model file, the name of one, or the start of its digest."),
    ] = None,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="So many of the latest runs.")
    ] = 20,
    target: Annotated[
        str | None, typer.Option(help="A target's name or its start, e.g. 'cpu new'.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="PASS|FAIL|INCONCLUSIVE|UNSUPPORTED")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="If not .modelcheck/ledger.db.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All runs as JSON on stdout.")] = False,
) -> int:
    """The latest verdicts, how their figures went, and what changed since the last pass."""
    from modelcheck.cli.screen import console, print_json
    from modelcheck.errors import UsageError, printable
    from modelcheck.ledger import LedgerFile, ledger_path, nothing_of, since_last_pass
    from modelcheck.report.history import (
        print_history,
        print_since_pass,
        print_trends,
        to_document,
    )

    selection = _selection(model, target, outcome)
    path = ledger_path(ledger)
    if path is None or not LedgerFile(path).exists:
        raise UsageError(
            "there is no ledger",
            where="MODELCHECK_LEDGER" if path is None else printable(str(path), limit=400),
            remedy="`modelcheck verify` and `apply --verify` record their runs in the folder where "
            "they are started.",
        )
    recorded = LedgerFile(path).runs()
    runs = selection.of(recorded)
    if not runs:
        raise nothing_of(selection, recorded)
    # Whether something passes now is no matter of which outcomes are shown.
    since = since_last_pass(_selection(model, target, None).of(recorded))
    if json:
        print_json(to_document(runs, since))
        return 0
    screen = console()
    print_history(runs, number, screen)
    print_trends(runs, number, screen)
    recent = {(run.created, run.model) for run in runs[:number]}
    print_since_pass((s for s in since if (s.failing.created, s.failing.model) in recent), screen)
    return 0


def _selection(model: str | None, target: str | None, outcome: str | None) -> Selection:
    """What the options ask for; a file stands for its name, and for its content under any name."""
    from modelcheck.errors import UsageError, did_you_mean
    from modelcheck.judge import Outcome
    from modelcheck.ledger import Selection

    word = None if outcome is None else outcome.upper()
    if word is not None and word not in list(Outcome):
        raise UsageError(
            f"unknown outcome '{outcome}'",
            where="--outcome",
            remedy=did_you_mean(word, Outcome) or f"Known: {', '.join(Outcome)}.",
        )
    digest = None
    if model is not None and Path(model).is_file():
        from modelcheck import gate

        digest = gate.load_model(Path(model), candidate=True).digest
        model = Path(model).name
    return Selection(model, digest, target, None if word is None else Outcome(word))
