"""Noise floors that are remembered: measured on the original alone, they hold for all candidates.

A note is a small file beside the remembered runs, named by the digest of everything the figures
depend on (see memory.key_of). What is damaged, or says something else than it should, counts as
none, and is measured anew.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, MutableMapping
from typing import Any

from modelcheck.judge import Variation
from modelcheck.judge.noise import LARGEST_LIMIT
from modelcheck.verification.memory import Memory


class FloorNotes(MutableMapping[str, "Variation | None"]):
    """Variations by name, None for one that does not exist there; `save` keeps what is new."""

    def __init__(self, memory: Memory | None = None, key: str = "") -> None:
        self._memory, self._key = memory, key
        text = None if memory is None else memory.note(key)
        self._found = {} if text is None else _read(text, key)
        self._new = False

    def save(self) -> None:
        """Write down what was measured; a folder that cannot be written costs only time."""
        if self._memory is not None and self._new:
            self._memory.write_note(self._key, _written(self._found, self._key))
            self._new = False

    def __getitem__(self, name: str) -> Variation | None:
        return self._found[name]

    def __setitem__(self, name: str, variation: Variation | None) -> None:
        self._found[name] = variation
        self._new = True

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _written(found: dict[str, Variation | None], key: str) -> str:
    body = json.dumps(
        {
            name: None if v is None else [v.what, v.engine, dict(v.errors), dict(v.noises)]
            for name, v in found.items()
        }
    )
    return f"{_checksum(body, key)}\n{body}"


def _read(text: str, key: str) -> dict[str, Variation | None]:
    checksum, _, body = text.partition("\n")
    if checksum != _checksum(body, key):
        return {}
    try:
        return {str(name): _variation(fields) for name, fields in json.loads(body).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _checksum(body: str, key: str) -> str:
    """Of the key too: the file of another model under this name counts as none."""
    return str(zlib.crc32((key + body).encode()))


def _variation(fields: Any) -> Variation | None:
    if fields is None:
        return None
    what, engine, errors, noises = fields
    found = Variation(
        str(what),
        str(engine),
        {str(k): float(v) for k, v in errors.items()},
        {str(k): float(v) for k, v in noises.items()},
    )
    if found.largest > LARGEST_LIMIT:
        raise ValueError("no floor is that large")
    return found
