"""The options of the search for worst inputs, which apply and verify share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from modelcheck.recipe import Recipe

_SEARCH = "Worst-case inputs"


@dataclass(frozen=True)
class SearchOptions:
    search_inputs: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Try N inputs near the data, to find the worst.",
                     rich_help_panel=_SEARCH),
    ] = None  # fmt: skip
    max_worst_error: Annotated[
        float | None,
        typer.Option(help="Largest error of any of them, as a part of the output's scale.",
                     rich_help_panel=_SEARCH),
    ] = None  # fmt: skip
    search_radius: Annotated[
        float | None,
        typer.Option(help="How far from a sample, as a part of the input's range (0.1).",
                     rich_help_panel=_SEARCH),
    ] = None  # fmt: skip


def with_search(recipe: Recipe, search: SearchOptions) -> Recipe:
    """The recipe with what the command line says of the search."""
    from dataclasses import replace

    given = {
        "search_inputs": search.search_inputs, "max_worst_error": search.max_worst_error
    }  # fmt: skip
    limits = {key: value for key, value in given.items() if value is not None}
    targets = tuple(
        replace(t, limits=replace(t.limits, **limits)) if limits else t  # type: ignore[arg-type]
        for t in recipe.targets
    )
    judging = recipe.judging
    if search.search_radius is not None:
        judging = replace(judging, search_radius=search.search_radius)
    return replace(recipe, targets=targets, judging=judging)
