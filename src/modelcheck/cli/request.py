"""The command line over the recipe file: one Recipe that says all."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from enum import Enum
from typing import TypeVar

from modelcheck.cli.options import DataOptions, ImageOptions, LimitOptions, RunOptions
from modelcheck.data import Preprocessing
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.judge import EquivalenceLimit, Limits, limit_of, parse_fraction, parse_limit
from modelcheck.judge.budgets import declared_budgets, overlaid
from modelcheck.judge.metrics import overlaid_metrics
from modelcheck.process import ChildLimits
from modelcheck.recipe import (
    Baseline,
    CheckKind,
    DataSettings,
    Judging,
    Recipe,
    TargetSettings,
    parse_duration,
    parse_metric,
)
from modelcheck.targets import Target
from modelcheck.transforms import Claim

E = TypeVar("E", bound=Enum)


def overridden(
    recipe: Recipe, data: DataOptions, images: ImageOptions, limits: LimitOptions, run: RunOptions
) -> Recipe:
    """The recipe with everything that the command line says in place of what the file says."""
    return replace(
        recipe,
        data=_data(recipe.data, data, images),
        targets=_targets(recipe.targets, limits),
        judging=_judging(recipe.judging, limits),
        seed=recipe.seed if run.seed is None else run.seed,
    )


def child_limits(run: RunOptions) -> ChildLimits:
    return ChildLimits(request_s=run.timeout, memory_bytes=run.memory_limit << 20)


def with_claim(recipe: Recipe, claim: str | None) -> Recipe:
    """The recipe with the claim of the command line, if there is one."""
    if claim is None:
        return recipe
    return replace(recipe, judging=replace(recipe.judging, claim=_word(Claim, claim, "--claim")))


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """['input=1x3x224x224'] -> {'input': (1, 3, 224, 224)}."""
    return dict(map(_shape, texts or ()))


def _data(settings: DataSettings, data: DataOptions, images: ImageOptions) -> DataSettings:
    return replace(
        settings,
        path=data.data or settings.path,
        calibration=data.calibration_data or settings.calibration,
        count=data.count or settings.count,
        shapes={**settings.shapes, **parse_shapes(data.shape)},
        allow_synthetic=data.allow_synthetic or settings.allow_synthetic,
        preprocessing=preprocessing(settings.preprocessing, images),
    )


def preprocessing(base: Preprocessing | None, images: ImageOptions) -> Preprocessing | None:
    given = {
        "size": None if images.size is None else _size(images.size),
        "resize": images.resize,
        "shorter_side": images.shorter_side,
        "pad_value": images.pad_value,
        "rgb": images.rgb,
        "gray": images.gray,
        "mean": None if images.mean is None else _channels("--mean", images.mean),
        "std": None if images.std is None else _channels("--std", images.std),
        "layout": images.layout,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    return replace(base or Preprocessing(), **changes) if changes else base  # type: ignore[arg-type]


def _targets(
    targets: tuple[TargetSettings, ...], limits: LimitOptions
) -> tuple[TargetSettings, ...]:
    if limits.target:
        shared = targets[0].limits if len({t.limits for t in targets}) == 1 else Limits()
        targets = tuple(TargetSettings(Target.parse(t), shared) for t in limits.target)
    equivalence = _equivalence(limits)
    slowdown, fallback = limits.max_slowdown, limits.max_fallback
    metrics = tuple(map(parse_metric, limits.metric or ()))
    budgets = declared_budgets(asdict(limits))
    return tuple(
        replace(
            t,
            limits=replace(
                t.limits,
                equivalence=equivalence or t.limits.equivalence,
                min_speedup=t.limits.min_speedup
                if limits.min_speedup is None
                else limits.min_speedup,
                max_slowdown=t.limits.max_slowdown
                if slowdown is None
                else parse_fraction(slowdown, key="--max-slowdown"),
                max_fallback=t.limits.max_fallback
                if fallback is None
                else parse_fraction(fallback, key="--max-fallback"),
                metrics=overlaid_metrics(t.limits.metrics, metrics),
                budgets=overlaid(t.limits.budgets, budgets),
            ),
        )
        for t in targets
    )


def _equivalence(limits: LimitOptions) -> EquivalenceLimit | None:
    agreement = limits.min_agreement
    single = limit_of(
        min_agreement=None if agreement is None else parse_fraction(agreement, key="min-agreement"),
        min_sqnr=limits.min_sqnr,
        max_error=limits.max_error,
    )
    if limits.limit is None:
        return single
    if single is not None:
        raise UsageError(
            "--limit and --min-agreement, --min-sqnr, --max-error exclude each other",
            remedy="Write one expression: --limit 'min-agreement=0.99|min-sqnr=25'.",
        )
    return parse_limit(limits.limit)


def _judging(judging: Judging, limits: LimitOptions) -> Judging:
    if limits.checks is not None:
        words = [w.strip() for w in limits.checks.split(",") if w.strip()]
        judging = replace(judging, checks=frozenset(_word(CheckKind, w, "--checks") for w in words))
        if not judging.checks:
            raise UsageError(
                "names no check", where="--checks", remedy="Known: equivalence, speed."
            )
    if limits.baseline is not None:
        judging = replace(judging, baseline=_word(Baseline, limits.baseline, "--baseline"))
    if limits.time_budget is not None:
        seconds = parse_duration(limits.time_budget, key="--time-budget")
        judging = replace(judging, time_budget_s=seconds)
    if limits.since_last is not None:
        judging = replace(judging, since_last=limits.since_last)
    return judging


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, dims = text.rpartition("=")
    if not equals or not re.fullmatch(r"\d+([x,×]\d+)*", dims):
        raise UsageError(
            f"'{text}' is not a shape", where="--shape", remedy="Write --shape input=1x3x224x224."
        )
    return name, tuple(int(d) for d in re.split("[x,×]", dims))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[x×,](\d+)", text)
    if match is None:
        raise UsageError(f"'{text}' is not WIDTHxHEIGHT", where="--size", remedy="E.g. 224x224.")
    return int(match[1]), int(match[2])


def _channels(option: str, text: str) -> float | tuple[float, ...]:
    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        raise UsageError(
            f"'{text}' is neither one number nor three",
            where=option,
            remedy="E.g. 127.5,127.5,127.5.",
        )
    return values[0] if len(values) == 1 else values


def _word(kind: type[E], word: str, where: str) -> E:
    known = [str(k.value) for k in kind]
    if word not in known:
        raise UsageError(
            f"unknown word '{word}'",
            where=where,
            remedy=did_you_mean(word, known) or f"Known: {', '.join(known)}.",
        )
    return kind(word)
