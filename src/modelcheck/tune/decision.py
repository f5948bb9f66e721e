"""From the last run's rounds to what is recommended, and to the verdict on the limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelcheck import units
from modelcheck.judge import Check, Outcome
from modelcheck.judge.serving import Measure, Round, figure, gain
from modelcheck.tune.plan import Proven
from modelcheck.tune.settings import ServingLimits, Setting

MEASURES: tuple[Measure, ...] = ("latency", "throughput")


def proven(
    rounds: Sequence[Round],
    key: str,
    setting: Setting,
    baseline: str,
    *,
    workers: int,
    meets: Outcome,
    check: Check,
) -> Proven:
    """The figures of one setting, with how it compares with the baseline."""
    return Proven(
        setting=setting,
        latency=figure(rounds, key, "latency", workers=workers),
        throughput=figure(rounds, key, "throughput", workers=workers),
        latency_gain=gain(rounds, baseline, key, "latency", workers=workers),
        throughput_gain=gain(rounds, baseline, key, "throughput", workers=workers),
        meets=meets,
        right=check.outcome is Outcome.PASS,
        why="" if check.outcome is Outcome.PASS else check.message,
    )


def recommend(
    default: Proven, rivals: Sequence[Proven], limits: ServingLimits
) -> dict[Measure, Proven]:
    """The best setting by each measure among those that are right and meet the limits.

    A rival is better only where the test says so; else the default stays. Where the default is
    wrong, or breaks a limit, the best of the rest by its median needs no such proof: there is
    nothing to stay with.
    """
    found: dict[Measure, Proven] = {}
    for measure in MEASURES:
        allowed = [p for p in rivals if p.right and _meets(p, limits)]
        if default.right and _meets(default, limits):
            allowed = [p for p in allowed if p.gain(measure).proven]
            found[measure] = default
        if allowed:
            found[measure] = max(allowed, key=lambda p: p.gain(measure).ratio)
    return found


def verdict(
    default: Proven, rivals: Sequence[Proven], limits: ServingLimits
) -> tuple[Outcome, str]:
    """PASS where a setting is right and meets every limit, with the reason in a sentence."""
    right = [p for p in (default, *rivals) if p.right]
    if not right:
        return Outcome.FAIL, f"no setting gives the model's outputs. {default.why}"
    if not limits.declared:
        return Outcome.PASS, ""
    wanted = limits.describe()
    passing = [p for p in right if p.meets is Outcome.PASS]
    if passing:
        return Outcome.PASS, f"{passing[0].setting.name} provably has {wanted}"
    nearest = ", ".join(_reading(p) for p in right)
    if all(p.meets is Outcome.FAIL for p in right):
        return Outcome.FAIL, f"no setting has {wanted}: {nearest}"
    return (
        Outcome.INCONCLUSIVE,
        f"the rounds do not decide whether a setting has {wanted}: {nearest}. Give --time-budget "
        "more time, or use a quieter machine",
    )


def race_keys(chosen: Mapping[Measure, Setting | None], default: Setting) -> dict[str, Setting]:
    """The settings of the last run by key; one that is best by both measures runs once."""
    keys: dict[str, Setting] = {}
    for measure, setting in chosen.items():
        if setting is not None and setting != default and setting not in keys.values():
            keys[measure] = setting
    return keys


def _meets(one: Proven, limits: ServingLimits) -> bool:
    return not limits.declared or one.meets is Outcome.PASS


def _reading(one: Proven) -> str:
    return (
        f"{one.setting.name} {units.duration(one.latency.value)} and "
        f"{units.rate(one.throughput.value)}"
    )
