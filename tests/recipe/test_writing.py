"""Steps as text are read as the very same steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcheck.recipe import parse_recipe, parse_step
from modelcheck.recipe.writing import step_text, steps_toml
from modelcheck.transforms import Transform, build
from modelcheck.transforms.catalogue import CATALOGUE

ALL = [
    pytest.param(build(name, dict(options)), id=f"{name} {dict(options)}")
    for name, row in CATALOGUE.items()
    for options in row.examples
]
ODD = build("quantize", {"exclude": ['a"b', "c,d=[e]", "f'g", "h\\i", "ü:0", "j # k"]})


@pytest.mark.parametrize("step", [*ALL, ODD])
def test_a_step_as_text_is_the_step(step: Transform) -> None:
    again = parse_step(step_text(step))
    assert (again.name, again.options) == (step.name, step.options)


@pytest.mark.parametrize("step", [*ALL, ODD])
def test_a_recipe_file_holds_the_step(step: Transform) -> None:
    recipe = parse_recipe(
        steps_toml([step, step], seed=7, comment="two\nlines"), file=Path("r.toml")
    )
    assert recipe.seed == 7
    assert [(s.name, s.options) for s in recipe.steps] == [(step.name, step.options)] * 2


def test_what_is_a_default_is_not_written() -> None:
    assert step_text(build("quantize", {"form": "qdq"})) == "quantize"
