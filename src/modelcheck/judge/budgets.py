"""Absolute budgets: what they are called, how they are written, which contradict each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from modelcheck import units
from modelcheck.errors import UsageError, did_you_mean, printable


class Of(StrEnum):
    """What one value is measured on."""

    CALL = "call"
    ROUND = "round"  # of calls, one block of each worker process
    PROCESS = "process"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Kind:
    """A budget that can be declared.

    `share` of the values must be within it; of a file there is one value, and it is exact.
    """

    noun: str
    of: Of
    share: float
    units: Mapping[str, float]
    show: Callable[[float], str]
    example: str
    at_least: bool = False


KINDS = {
    "max-p50": Kind("p50 latency", Of.CALL, 0.5, units.SECONDS, units.duration, "10ms"),
    "max-p90": Kind("p90 latency", Of.CALL, 0.9, units.SECONDS, units.duration, "12ms"),
    "max-p99": Kind("p99 latency", Of.CALL, 0.99, units.SECONDS, units.duration, "15ms"),
    "min-throughput": Kind(
        "throughput", Of.ROUND, 0.5, units.PER_SECOND, units.rate, "60/s", at_least=True
    ),
    "max-first-inference": Kind(
        "first inference", Of.PROCESS, 0.5, units.SECONDS, units.duration, "300ms"
    ),
    "max-peak-memory": Kind("peak memory", Of.PROCESS, 0.5, units.BYTES, units.size, "200MiB"),
    "max-file-size": Kind("file size", Of.FILE, 1.0, units.BYTES, units.size, "10MiB"),
}
_PERCENTILES = ("max-p50", "max-p90", "max-p99")


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget: its key, and the bound in seconds, bytes or samples a second."""

    key: str
    bound: float

    @property
    def kind(self) -> Kind:
        return KINDS[self.key]

    def describe(self) -> str:
        """'p99 latency <= 15.0 ms'."""
        sign = ">=" if self.kind.at_least else "<="
        return f"{self.kind.noun} {sign} {self.kind.show(self.bound)}"


def parse_budget(key: str, text: str) -> Budget:
    """('max-p99', '15ms') -> a budget; the key may start with '--'. Raises UsageError."""
    kind = KINDS[key.removeprefix("--")]
    example = f"Write for example '{kind.example}'."
    shown = printable(text)
    try:
        bound = units.quantity(text, kind.units)
    except units.NoSuchUnit as error:
        what = f"has the unknown unit '{printable(error.unit)}'" if error.unit else "has no unit"
        raise UsageError(
            f"'{shown}' {what}.",
            where=key,
            remedy=_nearest(error.unit, kind.units)
            or f"The units are {', '.join(kind.units)}. {example}",
        ) from None
    except ValueError:
        raise UsageError(f"'{shown}' is not a quantity.", where=key, remedy=example) from None
    if not (math.isfinite(bound) and bound > 0):
        raise UsageError(f"'{shown}' is not positive.", where=key, remedy=example)
    return Budget(key.removeprefix("--"), bound)


def declared_budgets(texts: Mapping[str, object]) -> tuple[Budget, ...]:
    """The budgets among options or keys: those of `KINDS`, spelled with '_', that have a value.

    An option that may be repeated has a list, so that a second one is not lost. Raises UsageError.
    """
    found = []
    for key in KINDS:
        given = texts.get(key.replace("-", "_"))
        several = given if isinstance(given, (list, tuple)) else [given]
        found += [parse_budget(key, str(text)) for text in several if text is not None]
    check_consistent(found)
    return tuple(found)


def overlaid(inherited: Iterable[Budget], declared: Iterable[Budget]) -> tuple[Budget, ...]:
    """The declared budgets, and those inherited that are not declared anew; in one order."""
    found = {budget.key: budget for budget in (*inherited, *declared)}
    return tuple(found[key] for key in KINDS if key in found)


def check_consistent(budgets: Iterable[Budget]) -> None:
    """Raise UsageError where a budget is given twice, or no model could meet two of them."""
    found: dict[str, Budget] = {}
    for budget in budgets:
        if budget.key in found:
            raise UsageError("is given twice.", where=budget.key, remedy="Keep the stricter one.")
        found[budget.key] = budget
    percentiles = [found[key] for key in _PERCENTILES if key in found]
    for lower, higher in itertools.pairwise(percentiles):
        # Beside a p99 of at most 15 ms, a p50 of at most 20 ms says nothing: one is a slip.
        if higher.bound < lower.bound:
            raise UsageError(
                f"{higher.describe()} contradicts {lower.describe()}: a "
                f"{lower.kind.noun.split()[0]} is never above the {higher.kind.noun.split()[0]}.",
                where=higher.key,
                remedy=f"Give {higher.key} at least {lower.kind.show(lower.bound)}, "
                f"or leave {lower.key} away.",
            )


def is_speed(kind: str) -> bool:
    """Whether a check of this kind is about speed or size, not about what the model computes."""
    return kind == "speed" or kind in KINDS


def _nearest(unit: str, known: Mapping[str, float]) -> str | None:
    for name in known:
        if name.casefold() == unit.casefold():
            return f"Did you mean '{name}'?"
    return did_you_mean(unit, known)
