"""`modelcheck transforms`: what can be applied, with options, defaults, claims and sources."""

from __future__ import annotations

from typing import Annotated

import typer


def transforms(
    name: Annotated[str | None, typer.Argument(help="Show only this one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:
    """List every transform with its options, defaults, claim and source."""
    from modelcheck.cli.screen import console, print_json
    from modelcheck.report.catalogue import catalogue_json, described, print_catalogue

    rows = described(name)
    if json:
        print_json(catalogue_json(rows))
    else:
        print_catalogue(rows, console())
    return 0
