"""Metrics, read from [[metrics]] and from `--metric`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelcheck.errors import ModelcheckError, UsageError, did_you_mean, printable
from modelcheck.judge import parse_fraction
from modelcheck.judge.metrics import FUNCTION, KINDS, Asks, Kind, MetricSpec, checked_together
from modelcheck.recipe.steps import parse_options
from modelcheck.transforms.options import validate

_EXAMPLE = "--metric 'boxes:boxes=b,scores=s,min=0.95'"
_KNOWN = [kind for kind in KINDS if kind != FUNCTION]


def parse_metric(text: str) -> MetricSpec:
    """'boxes:boxes=b,scores=s,min=0.95' -> the metric; written as steps are. Raises UsageError."""
    kind, _, rest = text.partition(":")
    try:
        options = parse_options(rest, _EXAMPLE)
        if "kind" in options:
            raise UsageError("the kind stands before the ':'", remedy=f"As in {_EXAMPLE}.")
        return build_metric({"kind": kind.strip(), **options})
    except ModelcheckError as error:
        raise error.at(f"--metric '{printable(text, 200)}'") from None


def build_metrics(tables: Sequence[Mapping[str, Any]]) -> tuple[MetricSpec, ...]:
    """All of [[metrics]], and no two that contradict each other."""
    specs = []
    for number, table in enumerate(tables, start=1):
        try:
            specs.append(build_metric(table))
        except ModelcheckError as error:
            raise error.at(f"[[metrics]] {number}") from None
    return checked_together(specs)


def build_metric(table: Mapping[str, Any]) -> MetricSpec:
    """The metric of one table: kind, min or max, and what else the kind takes."""
    options = {key.replace("-", "_"): value for key, value in table.items()}
    if len(options) != len(table):
        raise UsageError("a key is given twice, once with '_'")
    kind = options.pop("kind", None)
    if kind not in _KNOWN:
        what = "has no kind" if kind is None else f"unknown metric {printable(repr(kind))}"
        near = None if kind is None else did_you_mean(str(kind), _KNOWN)
        raise UsageError(what, remedy=near or f"The metrics are {', '.join(_KNOWN)}.")
    facts = KINDS[kind]
    assert facts.make is not None
    limit = _limit(kind, facts, options)
    shared = {key: options.pop(key) for key in ("name", "share", "confidence") if key in options}
    for key in shared.keys() & {"share", "confidence"}:
        shared[key] = _number(key, shared[key], fraction=True)
    if not isinstance(shared.get("name", ""), str) or shared.get("name") == "":
        raise UsageError("must be text", where="name")
    valid = validate(facts.make, options, kind)
    spec = MetricSpec(kind, limit, options=tuple(sorted(valid.items())), **shared)
    spec.metric()  # what does not go together shows now
    return spec


def _limit(kind: str, facts: Kind, options: dict[str, Any]) -> float:
    other = "max" if facts.limit == "min" else "min"
    if other in options:
        better = "higher" if facts.limit == "min" else "lower"
        both = facts.limit in options
        raise UsageError(
            f"the limit of {kind} is {facts.limit}, since the {better} the better"
            + (f"; {other} = {options[other]} contradicts it" if both else ""),
            where=other,
            remedy=f"Leave {other} out." if both else f"Write {facts.limit} = {options[other]}.",
        )
    if facts.limit not in options:
        raise UsageError(
            f"{kind} has no limit",
            remedy=f"Give {facts.limit} = {'0.95' if facts.asks is not Asks.SHARE else 30}"
            if facts.limit == "min"
            else f"Give {facts.limit} = 0.02.",
        )
    return _number(facts.limit, options.pop(facts.limit), fraction=facts.asks is not Asks.SHARE)


def _number(key: str, value: object, *, fraction: bool) -> float:
    if isinstance(value, str) and fraction:
        return parse_fraction(value, key=key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{printable(repr(value))} is not a number", where=key)
    return float(value)
