"""Steps: read from `-t` and from tables, and applied to a model to make a candidate."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelcheck.errors import ModelcheckError, UsageError
from modelcheck.model import Model
from modelcheck.transforms import (
    Activations,
    Change,
    Claim,
    Context,
    LeftAlone,
    Transform,
    build,
    diff,
    identity,
)

# A bare word where TOML wants a value: a word that names are made of, or '2:4'.
_VALUE = re.compile(
    r"(?P<lead>=\s*|\[\s*|,\s*)(?!(?:true|false|[+-]?(?:inf|nan))\s*(?:[,\]]|$))"
    r"(?P<word>[A-Za-z_][\w.*/:-]*|\d+:\d+)(?=\s*(?:,|\]|$))"
)


@dataclass(frozen=True)
class Step:
    """One applied transform: what it was asked, and what it changed, derived by diffing."""

    name: str
    options: Mapping[str, object]
    claim: Claim
    change: Change
    left_alone: tuple[LeftAlone, ...]
    model_bytes: int
    seconds: float


@dataclass(frozen=True)
class Candidate:
    """An optimized model, with the steps that made it of the original."""

    original: Model
    model: Model
    steps: tuple[Step, ...]

    @property
    def claim(self) -> Claim:
        claim = Claim.EXACT
        for step in self.steps:
            claim = claim.weakest(step.claim)
        return claim


def parse_step(text: str) -> Transform:
    """'prune-weights:amount=0.5,scope=global' -> the transform.

    Only the first ':' separates. The rest is a TOML inline table without its braces, in which
    bare words are strings. Raises UsageError.
    """
    name, _, options = text.partition(":")
    return build_step(name.strip(), _parse_options(text, options))


def build_step(name: str, options: Mapping[str, Any]) -> Transform:
    """The transform of a catalogue name and its options; 'identity' is the empty chain."""
    if name == "identity" and not options:
        return identity()
    return build(name, {key.replace("-", "_"): value for key, value in options.items()})


def apply_steps(
    original: Model,
    transforms: Sequence[Transform],
    *,
    seed: int = 0,
    activations: Activations | None = None,
    on_step: Callable[[int, Transform], None] = lambda index, transform: None,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Candidate:
    """Apply transforms in order. Raises what a transform raises, located at its step."""
    model = original
    steps: list[Step] = []
    for index, transform in enumerate(transforms, start=1):
        on_step(index, transform)
        context = Context(seed=seed, activations=activations, progress=on_progress)
        start_s = time.perf_counter()
        try:
            after = transform(model, context)
        except ModelcheckError as error:
            raise error.at(f"step {index} ({transform.name})") from None
        steps.append(
            Step(
                transform.name,
                dict(transform.options),
                transform.claim,
                diff(model, after),
                tuple(context.left_alone),
                after.nbytes,
                time.perf_counter() - start_s,
            )
        )
        model = after
    return Candidate(original, model, tuple(steps))


def _parse_options(step: str, options: str) -> dict[str, Any]:
    if not options.strip():
        return {}
    quoted = _quote_bare_words(options)
    try:
        table: dict[str, Any] = tomllib.loads(f"x = {{ {quoted} }}")["x"]
        return table
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"its options cannot be read: {error}",
            where=f"-t '{step}'",
            remedy="Write name=value pairs, as in -t 'prune-weights:amount=0.5,scope=global'.",
        ) from None


def _quote_bare_words(text: str) -> str:
    """Quote words that stand where a TOML value must; text inside quotes stays as it is."""
    parts = re.split(r"""("(?:[^"\\]|\\.)*"|'[^']*')""", text)
    return "".join(part if i % 2 else _quote_values(part) for i, part in enumerate(parts))


def _quote_values(text: str) -> str:
    return _VALUE.sub(lambda m: f'{m["lead"]}"{m["word"]}"', text)
