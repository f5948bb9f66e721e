"""Options come from a factory's signature alone, and whatever does not fit is refused."""

from __future__ import annotations

import enum
import math
from typing import Annotated, Literal

import pytest
from pydantic import Field

from modelcheck.errors import UsageError
from modelcheck.transforms import Claim, Transform, identity
from modelcheck.transforms.options import InsteadOf, checked, option_table, validate


class Side(enum.StrEnum):
    LEFT = "left"
    RIGHT = "right"


@checked
def paint_layers(
    *,
    amount: Annotated[float, Field(ge=0, le=1, description="How much\n    of it.")] = 0.5,
    count: Annotated[int, Field(gt=0)] = 3,
    scope: Literal["layer", "global"] = "layer",
    side: Side = Side.LEFT,
    strict: bool = True,
    threshold: Annotated[float | None, InsteadOf("amount")] = None,
    exclude: tuple[str, ...] = (),
    pattern: Annotated[str, Field(pattern=r"^\d:\d$", description="Write it as 2:4.")] = "2:4",
) -> Transform:
    """Paint layers."""
    return Transform("paint-layers", Claim.LOSSY, lambda model, context: model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amout": 1}, "unknown option 'amout' of 'paint-layers'\n  Did you mean 'amount'?"),
        ({"amount": 1.5}, "amount=1.5: must be at most 1"),
        ({"amount": -0.1}, "amount=-0.1: must be at least 0"),
        ({"count": 0}, "count=0: must be more than 0"),
        ({"amount": "abc"}, "amount=abc: must be a number"),
        ({"amount": math.nan}, "amount=nan: must be a finite number"),
        ({"amount": math.inf}, "amount=inf: must be a finite number"),
        ({"amount": True}, "amount=True: must be a number"),
        ({"amount": None}, "amount=None: must be a number"),
        ({"count": 1.5}, "count=1.5: must be a whole number"),
        ({"strict": 1}, "strict=1: must be true or false"),
        ({"scope": "gobal"}, "scope=gobal: must be one of layer, global\n  Did you mean 'global'?"),
        ({"side": "up"}, "side=up: must be one of left, right"),
        ({"exclude": 3}, "exclude=3: must be a list"),
        ({"exclude": ["a", 3]}, "exclude=['a', 3]: must be text"),
        ({"pattern": "x"}, "pattern=x: is not understood\n  Write it as 2:4."),
        ({"amount": 0.1, "threshold": 0.2}, "'threshold' takes the place of 'amount'"),
        ({"amount": object()}, "an option of 'paint-layers' cannot be read"),
    ],
)
def test_an_option_that_does_not_fit_is_named_with_its_remedy(options, message) -> None:
    with pytest.raises(UsageError) as caught:
        paint_layers(**options)
    assert str(caught.value).startswith(message)


def test_whole_numbers_bare_words_and_lists_are_taken_as_they_are_meant() -> None:
    options = paint_layers(amount=1, side="right", exclude="head", threshold=None).options
    assert options["amount"] == 1.0
    assert isinstance(options["amount"], float)
    assert options["side"] is Side.RIGHT
    assert options["exclude"] == ("head",)
    assert paint_layers(exclude=["a", "b"]).options["exclude"] == ("a", "b")


def test_the_transform_carries_every_option_with_its_value() -> None:
    assert dict(paint_layers(count=4).options) == validate(paint_layers, {"count": 4})
    assert list(paint_layers().options) == [option.name for option in option_table(paint_layers)]


def test_the_table_says_type_default_choices_and_help() -> None:
    table = {option.name: option for option in option_table(paint_layers)}
    assert table["amount"].type == "number, ≥ 0, ≤ 1"
    assert table["amount"].default == 0.5
    assert table["amount"].help == "How much of it."
    assert table["count"].type == "whole number, > 0"
    assert table["scope"].choices == ("layer", "global")
    assert table["side"].choices == ("left", "right")
    assert table["strict"].type == "true or false"
    assert table["threshold"].type == "number"
    assert table["exclude"].type == "list"


def test_a_list_of_words_is_checked_word_by_word() -> None:
    @checked
    def mix_colors(*, colors: tuple[Literal["red", "green"], ...] = ("red",)) -> Transform:
        """Mix."""
        return identity()

    (colors,) = option_table(mix_colors)
    assert (colors.type, colors.choices) == ("any of", ("red", "green"))
    assert mix_colors(colors=["green", "red"]).options["colors"] == ("green", "red")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"colors=gren: must be one of red, green\n.*'green'"):
        mix_colors(colors=["red", "gren"])  # type: ignore[arg-type]


def test_a_factory_with_a_positional_or_undefaulted_parameter_is_refused() -> None:
    def positional(amount: float = 0.5) -> Transform:
        raise NotImplementedError

    def undefaulted(*, amount: float) -> Transform:
        raise NotImplementedError

    for factory in (positional, undefaulted):
        with pytest.raises(TypeError, match="keyword-only with a default"):
            validate(factory, {})
