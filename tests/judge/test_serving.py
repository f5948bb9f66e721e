"""Comparing ways to serve a model, on simulated stretches of time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelcheck.judge.serving import Round, Stretch, figure, gain, meets

WORKERS = 4


def rounds(
    count: int, *, ratio: float, noise: float = 0.1, in_flight: int = 1, seed: int = 0
) -> list[Round]:
    """Rounds of a default of 10 ms, and of a setting that is `ratio` times as good as that."""
    random = np.random.default_rng(seed)

    def stretch(seconds: float, samples: int) -> Stretch:
        taken = seconds * math.exp(random.normal(0, noise))
        return Stretch(taken * samples, 1 / taken)

    return [
        Round(
            i % WORKERS,
            {
                "default": (stretch(0.01, 1), stretch(0.01, 1)),
                "other": (stretch(0.01 / ratio, in_flight), stretch(0.01 / ratio, in_flight)),
            },
        )
        for i in range(count)
    ]


def test_a_setting_that_is_better_is_proven_so() -> None:
    found = gain(rounds(60, ratio=1.3), "default", "other", "throughput", workers=WORKERS)
    assert found.proven
    assert 1 < found.low <= found.ratio <= found.high
    assert found.ratio == pytest.approx(1.3, rel=0.1)


def test_a_pool_gains_throughput_and_loses_latency() -> None:
    seen = rounds(60, ratio=1.5, in_flight=4)
    assert gain(seen, "default", "other", "throughput", workers=WORKERS).proven
    assert gain(seen, "default", "other", "latency", workers=WORKERS).decision == "fail"


def test_equal_settings_are_almost_never_proven_better() -> None:
    proven = sum(
        gain(rounds(60, ratio=1.0, seed=i), "default", "other", "latency", workers=WORKERS).proven
        for i in range(300)
    )
    assert proven <= 9  # 1 % of 300 is 3; more than 9 has a chance below 0.2 %


def test_a_decision_and_its_interval_never_contradict_each_other() -> None:
    for seed in range(100):
        found = gain(rounds(40, ratio=1.05, seed=seed), "default", "other", "throughput", workers=4)
        if found.proven:
            assert found.low >= 1
        if found.decision == "fail":
            assert found.high <= 1


@pytest.mark.parametrize("count", [1, 15])
def test_nothing_is_decided_before_every_worker_has_given_four_rounds(count: int) -> None:
    seen = rounds(count, ratio=5.0)
    found = gain(seen, "default", "other", "latency", workers=WORKERS)
    assert (found.decision, found.low, found.high) == (None, 0.0, math.inf)
    for measure, limit in (("latency", 1.0), ("throughput", 1.0)):
        assert meets(seen, "other", measure, limit, workers=WORKERS) is None  # type: ignore[arg-type]
    shown = figure(seen, "other", "throughput", workers=WORKERS)
    assert (shown.low, shown.high) == (0.0, math.inf)


def test_figures_are_medians_with_intervals_around_them() -> None:
    seen = rounds(80, ratio=2.0, in_flight=4)
    latency = figure(seen, "other", "latency", workers=WORKERS)
    rate = figure(seen, "other", "throughput", workers=WORKERS)
    assert latency.low < latency.value < latency.high
    assert rate.low < rate.value < rate.high
    assert latency.value * rate.value == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("measure", "limit", "decision"),
    [
        ("latency", 0.0125, "pass"),
        ("latency", 0.008, "fail"),
        ("latency", 0.01, None),
        ("throughput", 80.0, "pass"),
        ("throughput", 125.0, "fail"),
        ("throughput", 100.0, None),
    ],
)
def test_an_absolute_limit_is_passed_failed_or_left_open(
    measure: str, limit: float, decision: str | None
) -> None:
    seen = rounds(60, ratio=1.0, noise=0.15, seed=3)
    assert meets(seen, "default", measure, limit, workers=WORKERS) == decision  # type: ignore[arg-type]
