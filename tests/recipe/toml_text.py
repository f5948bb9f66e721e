"""Writes Python values as TOML, for tests that make recipes up."""

from __future__ import annotations

import json
from collections.abc import Mapping


def toml(table: Mapping[str, object]) -> str:
    """A document of one line a key; inner tables are inline tables."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items())


def options(table: Mapping[str, object]) -> str:
    """The same in one line, as `-t` takes it."""
    return ", ".join(f"{_key(key)} = {_value(value)}" for key, value in table.items())


def _key(key: str) -> str:
    return _text(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + options(value) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
