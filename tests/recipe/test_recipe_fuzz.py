"""Whatever a file says, the answer is a recipe or an error that names the file."""

from __future__ import annotations

import typing

from complete_recipe import COMPLETE, FILE, tables
from hypothesis import given
from hypothesis import strategies as st
from toml_text import toml

from modelcheck.errors import UsageError
from modelcheck.recipe import Recipe, parse_recipe

KEYS = sorted({name for _, owner in tables() for name in owner.model_fields})
keys = st.sampled_from(KEYS + [k.replace("_", "-") for k in KEYS]) | st.text(max_size=5)
leaves = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["cpu", "new", "lossy", "speed", "fp16", "min-sqnr=5", "3%", "5s", "NHWC"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


def refusal(text: str) -> UsageError | None:
    try:
        assert isinstance(parse_recipe(text, file=FILE), Recipe)
    except UsageError as error:
        return error
    return None


@given(st.dictionaries(st.sampled_from(list(COMPLETE)) | keys, values, max_size=4))
def test_any_file_is_a_recipe_or_a_usage_error_that_names_it(table: dict) -> None:
    error = refusal(toml(table))
    assert error is None or str(error).startswith("edge.toml")
    assert len(str(error)) < 1000


@given(st.data())
def test_a_complete_file_with_one_value_replaced_is_a_recipe_or_a_usage_error(
    data: st.DataObject,
) -> None:
    def replaced(value: typing.Any) -> typing.Any:
        if isinstance(value, (dict, list)) and value and data.draw(st.integers(0, 4)):
            places = list(value) if isinstance(value, dict) else range(len(value))
            copy, place = value.copy(), data.draw(st.sampled_from(places))
            copy[place] = replaced(value[place])
            return copy
        return data.draw(values)

    chosen = data.draw(st.sampled_from(list(COMPLETE)))
    changed = {**COMPLETE, chosen: replaced(COMPLETE[chosen])}
    error = refusal(toml(changed))
    assert error is None or str(error).startswith("edge.toml")
