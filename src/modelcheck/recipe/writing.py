"""Steps as text that the loader reads again: a whole recipe, or what `-t` takes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from modelcheck.transforms import Transform, build


def step_text(transform: Transform) -> str:
    """'quantize:form="qdq",exclude=["a:0"]': a step as for `-t`, with what is not a default."""
    options = ",".join(f"{key}={toml_value(value)}" for key, value in _said(transform).items())
    return f"{transform.name}:{options}" if options else transform.name


def steps_toml(steps: Sequence[Transform], *, seed: int, comment: str) -> str:
    """A recipe file that applies these steps."""
    lines = [f"# {line}" for line in comment.splitlines()] + [f"seed = {seed}"]
    for step in steps:
        lines += ["", "[[steps]]", f"transform = {toml_value(step.name)}"]
        lines += [f"{key} = {toml_value(value)}" for key, value in _said(step).items()]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """One TOML value. Its basic strings take JSON's escapes."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


def _said(transform: Transform) -> dict[str, object]:
    """The options that are no defaults."""
    defaults = build(transform.name, {}).options
    return {
        key.replace("_", "-"): value
        for key, value in transform.options.items()
        if value is not None and value != defaults.get(key)
    }
