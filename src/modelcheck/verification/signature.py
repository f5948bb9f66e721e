"""Does the candidate take and give what the original does?"""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.errors import printable
from modelcheck.model import Model, TensorSpec


def signature_fault(original: Model, candidate: Model) -> str | None:
    """Why the two cannot stand in for each other: a name is missing or additional."""
    for kind in ("inputs", "outputs"):
        first = [spec.name for spec in getattr(original.signature, kind)]
        second = [spec.name for spec in getattr(candidate.signature, kind)]
        missing, extra = set(first) - set(second), set(second) - set(first)
        parts = [f"the candidate has no {kind[:-1]} {_names(missing)}"] if missing else []
        parts += [f"it has {_names(extra)} that the original has not"] if extra else []
        if parts:
            return f"{' and '.join(parts)}. Keep the names of inputs and outputs."
    return None


def signature_warnings(original: Model, candidate: Model) -> Iterator[str]:
    """What changes for a program although every name is there: order, and freedom of shapes."""
    for kind in ("inputs", "outputs"):
        first, second = getattr(original.signature, kind), getattr(candidate.signature, kind)
        if [spec.name for spec in first] != [spec.name for spec in second]:
            yield (
                f"the candidate's {kind} stand in another order: a program that takes them by "
                "position, as net.forward() may, gets others"
            )
        specs = {spec.name: spec for spec in second}
        for spec in first:
            if spec.name in specs and _is_narrower(spec, specs[spec.name]):
                yield (
                    f"the candidate's {kind[:-1]} '{printable(spec.name)}' is "
                    f"{specs[spec.name].describe()}, where the original's is {spec.describe()}: "
                    "it takes fewer shapes"
                )


def _is_narrower(before: TensorSpec, after: TensorSpec) -> bool:
    if before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
        return False
    pairs = zip(before.shape, after.shape, strict=True)
    return any(a is None and b is not None for a, b in pairs)


def _names(names: set[str]) -> str:
    return ", ".join(f"'{printable(name)}'" for name in sorted(names))
