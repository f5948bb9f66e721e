"""What the schema finds wrong with a file, in our words: table, key, what, nearest word."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from modelcheck.errors import UsageError, did_you_mean, printable
from modelcheck.recipe.schema import RecipeFile, Table

_SAYS = {
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "missing": "is missing",
}


def usage_error(error: ValidationError, file: str) -> UsageError:
    """The first of pydantic's findings as an error of the file."""
    findings = error.errors(include_url=False)
    # A misspelled key is both unknown and missing under its right name: the first says more.
    first = next((f for f in findings if f["type"] == "extra_forbidden"), findings[0])
    place = _place(first["loc"])
    # Where a key takes one of two types, what is said of the nearer one lies deeper.
    alike = [f for f in findings if _place(f["loc"]).field is place.field]
    finding = first if place.field is None else max(alike, key=lambda f: len(f["loc"]))
    place = _place(finding["loc"])
    kind = finding["type"]
    if kind in {"model_type", "tuple_type"} and not isinstance(finding["loc"][-1], int):
        place = replace(place, tables=place.around if place.is_table else place.tables)
    where = ", ".join([file, *place.tables])
    if kind == "value_error":
        return UsageError(finding["msg"].removeprefix("Value error, "), where=where)
    if kind == "extra_forbidden":
        known = [_spelled(name) for name in place.owner.model_fields]
        return UsageError(
            f"unknown key '{printable(place.key)}'",
            where=where,
            remedy=did_you_mean(place.key, known) or f"Known: {', '.join(known)}.",
        )
    what, remedy = _explain(kind, finding.get("ctx", {}), finding["input"], place.field)
    return UsageError(f"'{printable(place.key)}' {what}", where=where, remedy=remedy)


def _explain(
    kind: str, context: dict[str, Any], given: object, field: FieldInfo | None
) -> tuple[str, str | None]:
    """What is wrong with a value, as the end of a sentence, and the nearest right word."""
    shown = "" if isinstance(given, dict) else f" (got {_as_toml(given)})"
    words = [] if field is None else list(_words(field))
    if words and kind in {"enum", "string_type"}:
        remedy = did_you_mean(given, words) if isinstance(given, str) else None
        return f"must be one of {', '.join(words)}{shown}", remedy
    if kind == "too_long":
        return f"must be a list of {context['max_length']}{shown}", None
    if kind == "too_short":
        return f"must have at least {context['min_length']} value{shown}", None
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}{shown}", None
    return f"{_SAYS.get(kind, 'is not understood')}{shown}", None


@dataclass(frozen=True)
class _Place:
    """The table of a finding as it stands in the file, the one around it, and the key."""

    tables: tuple[str, ...]
    around: tuple[str, ...]
    key: str
    owner: type[Table]
    field: FieldInfo | None
    is_table: bool


def _place(location: Sequence[int | str]) -> _Place:
    tables: list[str] = []
    around: list[str] = []
    owner: type[Table] = RecipeFile
    inner: type[Table] | None = None
    field: FieldInfo | None = None
    key = ""
    for part in location:
        if isinstance(part, int):
            if inner is not None:  # one of [[targets]]
                tables[-1] = f"[{tables[-1]}] {part + 1}"
            else:
                key += f" {part + 1}"
        elif field is None or inner is not None:
            owner, key = inner or owner, _spelled(part)
            field = owner.model_fields.get(part)
            inner = None if field is None else _table_of(field)
            if inner is not None:
                around = tables
                tables = [f"[{tables[-1][1:-1]}.{key}]" if tables else f"[{key}]"]
        elif typing.get_origin(field.annotation) is dict:
            key += f".{part}"  # a key of the user's own; else the branch of a union
    return _Place(tuple(tables), tuple(around), key, owner, field, inner is not None)


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return printable(repr(value) if isinstance(value, (str, list, int, float)) else str(value))


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _table_of(field: FieldInfo) -> type[Table] | None:
    return next((t for t in _types(field.annotation) if issubclass(t, Table)), None)


def _words(field: FieldInfo) -> Iterator[str]:
    for kind in _types(field.annotation):
        if issubclass(kind, Enum):
            yield from (str(member.value) for member in kind)


def _types(annotation: Any) -> Iterator[type]:
    """The classes inside an annotation such as `tuple[TargetTable, ...]` or `Engine | None`."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _types(part)
