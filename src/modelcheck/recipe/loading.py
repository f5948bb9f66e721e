"""Reads recipe files and merges the command line over them."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelcheck import units
from modelcheck.data import Preprocessing
from modelcheck.errors import ModelcheckError, UsageError, printable
from modelcheck.judge import EquivalenceLimit, Limits, limit_of, parse_fraction, parse_limit
from modelcheck.judge.budgets import declared_budgets, overlaid
from modelcheck.judge.metrics import overlaid_metrics
from modelcheck.recipe import schema
from modelcheck.recipe.findings import usage_error
from modelcheck.recipe.metrics import build_metrics
from modelcheck.recipe.settings import DataSettings, Judging, ModelPair, Recipe, TargetSettings
from modelcheck.recipe.steps import build_step
from modelcheck.targets import Target
from modelcheck.transforms import Transform

_MAX_BYTES = 1 << 20
# A time budget without a unit is in seconds; in a latency, 'm' would be a slip for 'ms'.
_UNITS_S = {**units.SECONDS, "m": 60.0, "": 1.0}


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe, policy or *.modelcheck.toml file. Raises UsageError."""
    return parse_recipe(_read(path), file=path)


def parse_recipe(text: str, *, file: Path) -> Recipe:
    """The recipe in a TOML text; `file` names it in errors, and its paths are relative to it."""
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # tomllib's own, and Python's for a number of 5,000 digits
        raise UsageError(f"is not valid TOML: {error}", where=file.name) from None
    except RecursionError:
        raise UsageError("is nested too deep", where=file.name) from None
    try:
        parsed = schema.RecipeFile.model_validate(table)
    except ValidationError as error:
        raise usage_error(error, file.name) from None
    try:
        return _recipe(parsed, file)
    except ModelcheckError as error:
        raise error.at(file.name) from None


def parse_duration(text: float | str, *, key: str) -> float:
    """60, '90s', '2min' -> seconds; positive."""
    try:
        seconds = units.quantity(str(text), _UNITS_S)
    except ValueError:
        seconds = 0.0
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(
            f"'{printable(str(text))}' is not a time", where=key, remedy="Write for example '60s'."
        )
    return seconds


def limits_of(table: schema.LimitKeys, inherited: Limits = Limits()) -> Limits:  # noqa: B008
    """The limits a table declares, over those it inherits."""
    slowdown, fallback = table.max_slowdown, table.max_fallback
    if isinstance(slowdown, str):
        slowdown = parse_fraction(slowdown, key="max-slowdown")
    if isinstance(fallback, str):
        fallback = parse_fraction(fallback, key="max-fallback")
    declared = _equivalence(table)
    return Limits(
        equivalence=inherited.equivalence if declared is None else declared,
        min_speedup=inherited.min_speedup if table.min_speedup is None else table.min_speedup,
        max_slowdown=inherited.max_slowdown if slowdown is None else slowdown,
        max_fallback=inherited.max_fallback if fallback is None else fallback,
        budgets=overlaid(inherited.budgets, declared_budgets(table.model_dump())),
        search_inputs=inherited.search_inputs
        if table.search_inputs is None
        else table.search_inputs,
        max_worst_error=inherited.max_worst_error
        if table.max_worst_error is None
        else table.max_worst_error,
    )


def _read(path: Path) -> str:
    try:
        if not path.exists():
            raise UsageError("does not exist", where=str(path))
        if not path.is_file():
            raise UsageError("is not a file", where=str(path), remedy="Give a recipe in TOML.")
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError("is too large for a recipe", where=str(path))
        return path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError:
        raise UsageError("is not a text file in UTF-8", where=str(path)) from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _recipe(parsed: schema.RecipeFile, file: Path) -> Recipe:
    folder = file.parent
    shared = _at("[limits]", lambda: limits_of(parsed.limits))
    shared = replace(shared, metrics=build_metrics(parsed.metrics))
    targets = tuple(
        _at(f"[[targets]] {i}", lambda t=t: _target_settings(t, shared, folder))
        for i, t in enumerate(parsed.targets, start=1)
    )
    return Recipe(
        steps=tuple(_step(i, table) for i, table in enumerate(parsed.steps, start=1)),
        data=_at("[data]", lambda: _data(parsed.data, folder)),
        targets=targets or (TargetSettings(Target(), shared),),
        judging=_at("[limits]", lambda: _judging(parsed.limits)),
        models=tuple(
            ModelPair(folder / m.original, None if m.candidate is None else folder / m.candidate)
            for m in parsed.models
        ),
        seed=parsed.seed or 0,
        file=file,
    )


def _at(where: str, make: Any) -> Any:
    try:
        return make()
    except ModelcheckError as error:
        raise error.at(where) from None


def _step(number: int, table: dict[str, Any]) -> Transform:
    options = dict(table)
    name = options.pop("transform", None)
    where = f"step {number}"
    if name is None:
        keys = ", ".join(repr(printable(key)) for key in table) or "none"
        raise UsageError(
            f"has no key 'transform' (its keys: {keys})",
            where=where,
            remedy='Name one: transform = "prune-weights". `modelcheck transforms` lists them.',
        )
    if not isinstance(name, str):
        raise UsageError(f"'transform' must be text (got {printable(repr(name))})", where=where)
    transform: Transform = _at(where, lambda: build_step(name, options))
    return transform


def _target_settings(table: schema.TargetTable, shared: Limits, folder: Path) -> TargetSettings:
    limits = limits_of(table, shared)
    metrics = overlaid_metrics(shared.metrics, build_metrics(table.metrics))
    return TargetSettings(_target(table, folder), replace(limits, metrics=metrics))


def _target(table: schema.TargetTable, folder: Path) -> Target:
    python = table.python
    if python is not None and "/" in python:
        python = str(folder / python)
    return Target(
        device=table.device,
        engine=table.engine,
        threads=table.threads,
        python=python,
        optional=table.optional,
    )


def _data(table: schema.DataTable, folder: Path) -> DataSettings:
    given = table.preprocessing
    return DataSettings(
        path=None if table.path is None else folder / table.path,
        calibration=None if table.calibration is None else folder / table.calibration,
        count=table.count,
        shapes=table.shapes,
        allow_synthetic=table.allow_synthetic,
        preprocessing=None
        if given is None
        else Preprocessing(**given.model_dump(exclude_unset=True)),
    )


def _judging(table: schema.LimitsTable) -> Judging:
    judging = Judging(claim=table.claim, since_last=table.since_last)
    if table.checks is not None:
        judging = replace(judging, checks=frozenset(table.checks))
    if table.baseline is not None:
        judging = replace(judging, baseline=table.baseline)
    if table.time_budget is not None:
        seconds = parse_duration(table.time_budget, key="time-budget")
        judging = replace(judging, time_budget_s=seconds)
    if table.search_radius is not None:
        judging = replace(judging, search_radius=table.search_radius)
    return judging


def _equivalence(table: schema.LimitKeys) -> EquivalenceLimit | None:
    agreement = table.min_agreement
    if isinstance(agreement, str):
        agreement = parse_fraction(agreement, key="min-agreement")
    single = limit_of(min_agreement=agreement, min_sqnr=table.min_sqnr, max_error=table.max_error)
    forms = [single, table.limit, table.any_of]
    if sum(form is not None for form in forms) > 1:
        raise UsageError(
            "'limit', 'any-of' and single limits (min-agreement, min-sqnr, max-error) exclude "
            "each other",
            remedy="Write one expression: limit = 'min-agreement=0.99|min-sqnr=25'.",
        )
    if table.any_of is not None:
        return parse_limit("|".join(table.any_of))
    return single if table.limit is None else parse_limit(table.limit)
