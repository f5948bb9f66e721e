"""`modelcheck transforms`: what can be applied, with options, defaults, claims and sources."""

from __future__ import annotations

from typing import Annotated

import typer


def transforms(
    name: Annotated[str | None, typer.Argument(help="Show only this one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:
    """List every transform with its options, defaults, claim and source."""
    from modelcheck.report.catalogue import describe_catalogue, print_catalogue

    rows = describe_catalogue(name)
    if json:
        import json as json_module

        print(
            json_module.dumps({"schema": "modelcheck.transforms/1", "transforms": rows}, indent=1)
        )
    else:
        print_catalogue(rows)
    return 0
