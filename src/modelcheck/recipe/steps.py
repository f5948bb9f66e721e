"""Steps: read from `-t` and from tables, and applied to a model to make a candidate."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from modelcheck.errors import ModelcheckError, UsageError, printable
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
from modelcheck.transforms.catalogue import CATALOGUE, Row

AUTO = "auto"

# What stands where TOML wants a value, outside quotes: a scalar of TOML's, or a bare word.
_VALUE = re.compile(
    r"(?P<lead>[=\[,]\s*)(?P<word>[^\s,=\[\]{}\"'#]+)(?=\s*(?:[,\]}]|$))",
)
_DIGITS = r"[0-9](?:_?[0-9])*"
_SCALAR = re.compile(
    rf"true|false|[+-]?(?:inf|nan|(?:0|(?!0){_DIGITS})(?:\.{_DIGITS})?(?:[eE][+-]?{_DIGITS})?)"
)
_SHORT_NUMBER = re.compile(r"[+-]?(?:\.[0-9]+|[0-9]+\.)")  # '.5' and '1.', which TOML refuses


@dataclass(frozen=True)
class Step:
    """One applied transform: what it was asked, and what it changed."""

    transform: Transform
    before: Model
    after: Model
    left_alone: tuple[LeftAlone, ...]
    seconds: float

    @property
    def name(self) -> str:
        return self.transform.name

    @property
    def model_bytes(self) -> int:
        """The size of the weights afterwards."""
        return self.after.nbytes

    @cached_property
    def change(self) -> Change:
        """The difference of the two models; found when asked for, since it reads all weights."""
        return diff(self.before, self.after)


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
            claim = claim.weakest(step.transform.claim)
        return claim


@dataclass(frozen=True)
class Automatic(Transform):
    """A step that leaves the options `open` to measuring, and says `given` itself.

    searching.automatic makes an explicit step of it. Applying it as it is raises UsageError.
    """

    open: frozenset[str] = frozenset()
    given: Mapping[str, object] = field(default_factory=dict)


def is_automatic(steps: Sequence[Transform]) -> bool:
    """Whether any step leaves options to measuring."""
    return any(isinstance(step, Automatic) for step in steps)


def parse_step(text: str) -> Transform:
    """'prune-weights:amount=0.5,scope=global' -> the transform.

    Only the first ':' separates. The rest is a TOML inline table without its braces, in which
    bare words are strings. Raises UsageError.
    """
    name, _, options = text.partition(":")
    try:
        return build_step(name.strip(), parse_options(options))
    except ModelcheckError as error:
        raise error.at(f"-t '{printable(text, 200)}'") from None


def build_step(name: str, options: Mapping[str, Any]) -> Transform:
    """The transform of a catalogue name and its options; 'identity' is the empty chain."""
    spelled = {key.replace("-", "_"): value for key, value in options.items()}
    if len(spelled) != len(options):
        twice = next(k for k in options if "-" in k and k.replace("-", "_") in options)
        raise UsageError(f"key '{printable(twice)}' is given twice, once with '_'")
    if name == "identity" and not options:
        return identity()
    row = CATALOGUE.get(name)
    return build(name, spelled) if row is None else _step(row, spelled)


def _step(row: Row, options: Mapping[str, Any]) -> Transform:
    found = frozenset(key for key in row.automatic if options.get(key) == AUTO)
    known = {option.name for option in row.options}
    for key in row.automatic:
        given = options.get(key)
        if isinstance(given, str) and given != AUTO and given.lower() == AUTO:
            raise UsageError(f"must be '{AUTO}' (got '{given}')", where=key)
        if key in options and key not in found and key not in known:
            raise UsageError(
                f"is 'auto' or left out (got {printable(repr(options[key]), 80)})",
                where=key,
                remedy="Name layers with exclude=[…].",
            )
    if not found:
        return build(row.name, options)
    given = {key: value for key, value in options.items() if key not in found}
    step = build(row.name, given)  # checks what is given

    def refuse(model: Model, context: Context) -> Model:
        left = ", ".join(f"{key}=auto" for key in sorted(found))
        raise UsageError(
            f"{left} is found by measuring on targets, and nothing measured here",
            where=row.name,
            remedy="`modelcheck apply` finds it, and writes a recipe that says it explicitly.",
        )

    options = {**step.options, **dict.fromkeys(sorted(found), AUTO)}
    return Automatic(row.name, step.claim, refuse, options, step.calibrates, found, given)


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
                transform,
                model,
                after,
                tuple(context.left_alone),
                time.perf_counter() - start_s,
            )
        )
        model = after
    return Candidate(original, model, tuple(steps))


def parse_options(
    options: str, example: str = "-t 'prune-weights:amount=0.5,scope=global'"
) -> dict[str, Any]:
    """'amount=0.5,scope=global' -> a table; raises UsageError with the example."""
    if not options.strip():
        return {}
    try:
        tables = tomllib.loads(f"x = {{ {_quote_bare_words(options)} }}")
        if set(tables) != {"x"}:
            raise ValueError("more than one table")
    except (ValueError, RecursionError) as error:
        reason = re.sub(r" \(at .*\)$", "", str(error))  # a place in a text the user never saw
        raise UsageError(
            f"its options cannot be read: {reason}",
            remedy=f"Write name=value pairs, as in {example}.",
        ) from None
    table: dict[str, Any] = tables["x"]
    return table


def _quote_bare_words(text: str) -> str:
    """Quote words that stand where a TOML value must; text inside quotes stays as it is."""
    parts = re.split(r"""("(?:[^"\\]|\\.)*"|'[^']*')""", text)
    return "".join(part if i % 2 else _quote_values(part) for i, part in enumerate(parts))


def _quote_values(text: str) -> str:
    return _VALUE.sub(lambda match: match["lead"] + _value(match["word"]), text)


def _value(word: str) -> str:
    if _SCALAR.fullmatch(word):
        return word
    if _SHORT_NUMBER.fullmatch(word):
        return repr(float(word))
    return json.dumps(word, ensure_ascii=False)
