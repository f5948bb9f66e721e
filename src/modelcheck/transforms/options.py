"""Options of a transform, derived from its factory's signature and from nothing else.

A factory's parameters are keyword-only, annotated and defaulted:

    @checked
    def prune_weights(
        *, amount: Annotated[float, Field(ge=0, le=1, description="...")] = 0.5, ...
    ) -> Transform:

From that come the names, types, defaults, choices and help of `modelcheck transforms`, and the
validation of a recipe, of `-t` and of a call in Python alike.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, ParamSpec, Union

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from modelcheck.errors import UsageError, did_you_mean, printable
from modelcheck.transforms.base import Transform

P = ParamSpec("P")
Options = Mapping[str, object]

_SAYS = {
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}
_BOUNDS = {
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
}


@dataclass(frozen=True, slots=True)
class InsteadOf:
    """In an annotation: this option takes the place of another, so giving both is an error."""

    other: str


@dataclass(frozen=True, slots=True)
class Option:
    """One option as `modelcheck transforms` prints it."""

    name: str
    type: str
    default: object
    help: str
    choices: tuple[str, ...] = ()


def transform_name(factory: Callable[..., Any]) -> str:
    """prune_weights -> 'prune-weights'."""
    return factory.__name__.replace("_", "-")


def checked(factory: Callable[P, Transform]) -> Callable[P, Transform]:
    """Validate the options of every call, and write them into the Transform that it returns.

    Raises UsageError for an unknown option, a wrong type or a value out of range.
    """

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> Transform:
        options = validate(factory, kwargs)
        return replace(factory(*args, **options), options=options)

    return make


def validate(
    factory: Callable[..., Any], options: Options, name: str | None = None
) -> dict[str, Any]:
    """All options of a factory, given ones checked and defaults filled in; `name` in errors."""
    name, model = name or transform_name(factory), _schema(factory)
    _refuse_unknown(name, model, options)
    _refuse_pairs(model, options)
    wrapped = {key: _listed(model.model_fields[key], value) for key, value in options.items()}
    try:
        # JSON, because pydantic's strict mode then takes lists for tuples and words for enums.
        text = json.dumps(wrapped)
    except (TypeError, ValueError) as error:
        raise UsageError(f"an option of '{name}' cannot be read: {error}") from error
    try:
        valid = model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _usage_error(model, wrapped, error) from None
    return {key: getattr(valid, key) for key in model.model_fields}


def option_table(factory: Callable[..., Transform]) -> tuple[Option, ...]:
    """The options of a factory, in the order of its signature."""
    return tuple(
        Option(
            name,
            _type_text(field),
            field.default,
            " ".join((field.description or "").split()),
            _choices(field.annotation),
        )
        for name, field in _schema(factory).model_fields.items()
    )


@functools.cache
def _schema(factory: Callable[..., Any]) -> type[BaseModel]:
    hints = typing.get_type_hints(factory, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            raise TypeError(f"{factory.__name__}: '{name}' must be keyword-only with a default")
        fields[name] = (hints[name], parameter.default)
    config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    return create_model(factory.__name__, __config__=config, **fields)


def _refuse_unknown(name: str, model: type[BaseModel], options: Options) -> None:
    for key in options:
        if key not in model.model_fields:
            known = sorted(model.model_fields)
            listed = f"Its options are {', '.join(known)}." if known else "It has no options."
            raise UsageError(
                f"unknown option '{printable(key)}' of '{name}'",
                remedy=did_you_mean(key, known) or listed,
            )


def _refuse_pairs(model: type[BaseModel], options: Options) -> None:
    for key, field in model.model_fields.items():
        for mark in field.metadata:
            if not isinstance(mark, InsteadOf) or options.get(key) is None:
                continue
            # The default is no contradiction: a report's options, all of them, build again.
            default = model.model_fields[mark.other].default
            if options.get(mark.other, default) != default:
                raise UsageError(
                    f"'{key}' takes the place of '{mark.other}'", remedy="Give only one of the two."
                )


def _usage_error(model: type[BaseModel], options: Options, error: ValidationError) -> UsageError:
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    kind, value = first["type"], options.get(key)
    choices = _choices(model.model_fields[key].annotation) if key else ()
    if choices and isinstance(value, list) and len(first["loc"]) > 1:
        value = value[int(first["loc"][1])]
    where = f"{printable(key)}={printable(str(value))}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return UsageError(f"{words} {first['ctx'][bound]:g}", where=where)
    if choices and not kind.startswith("string_pattern"):
        return UsageError(
            f"must be one of {', '.join(choices)}",
            where=where, remedy=did_you_mean(str(value), choices),
        )  # fmt: skip
    if kind == "string_pattern_mismatch":
        remedy = model.model_fields[key].description
        return UsageError("is not understood", where=where, remedy=remedy)
    return UsageError(_SAYS.get(kind, first["msg"][:1].lower() + first["msg"][1:]), where=where)


def _listed(field: FieldInfo, value: object) -> object:
    """A single word where a list is wanted: a list of one. Tuples and sets become lists."""
    if isinstance(value, Enum):
        return value.value
    if typing.get_origin(_bare(field.annotation)) in (list, tuple):
        if isinstance(value, str):
            return [value]
        if isinstance(value, (tuple, set, frozenset)):
            return sorted(value) if isinstance(value, (set, frozenset)) else list(value)
    return value


def _bare(annotation: Any) -> Any:
    """X of 'X | None'."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        parts = [a for a in typing.get_args(annotation) if a is not type(None)]
        return parts[0] if len(parts) == 1 else annotation
    return annotation


def _choices(annotation: Any) -> tuple[str, ...]:
    bare = _bare(annotation)
    if typing.get_origin(bare) in (list, tuple):
        return _choices(typing.get_args(bare)[0])
    if typing.get_origin(bare) is Literal:
        return tuple(str(c) for c in typing.get_args(bare))
    if isinstance(bare, type) and issubclass(bare, Enum):
        return tuple(str(c.value) for c in bare)
    return ()


def _type_text(field: FieldInfo) -> str:
    bare = _bare(field.annotation)
    is_list = typing.get_origin(bare) in (list, tuple)
    if _choices(bare):
        return "any of" if is_list else "one of"
    if is_list:
        return "list"
    words = {float: "number", int: "whole number", bool: "true or false", str: "text"}
    return ", ".join([words.get(bare, "value"), *_bounds(field)])


def _bounds(field: FieldInfo) -> list[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [(s, getattr(m, k, None)) for m in field.metadata for k, s in signs.items()]
    return [f"{sign} {bound:g}" for sign, bound in bounds if bound is not None]
