"""Quantiles: the intervals hold what they promise, and are open where nothing can be promised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge.quantiles import (
    CONFIDENCE,
    Bounded,
    median_of,
    quantile,
    runs_needed,
    speedup,
    unpaired_speedup,
)

LEVELS = (0.5, 0.9, 0.99)
REPEATS = 300
# A true 95 % gives fewer than 92 % of 300 in less than one of a hundred seeds.
LEAST = 0.92
times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)


def simulated(
    seed: int, processes: int, runs: int, between: float, within: float
) -> list[list[float]]:
    """Log-normal times: each process has a speed of its own."""
    random = np.random.default_rng(seed)
    speeds = random.normal(0, between, (processes, 1))
    return np.exp(speeds + random.normal(0, within, (processes, runs))).tolist()


def paired(slow: Sequence[float], fast: Sequence[float]) -> Bounded:
    return speedup([a / b for a, b in zip(slow, fast, strict=True)])


class TestCoverage:
    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize(
        ("processes", "runs", "between", "within"),
        [
            (1, 500, 0.0, 0.05),
            (4, 100, 0.02, 0.05),
            (8, 50, 0.0, 0.05),
            (8, 50, 0.02, 0.05),
            (8, 50, 0.2, 0.02),
            (8, 200, 0.1, 0.03),
        ],
    )
    def test_the_interval_holds_the_true_quantile_as_often_as_promised(
        self, level: float, processes: int, runs: int, between: float, within: float
    ) -> None:
        truth = math.exp(NormalDist(0, math.hypot(between, within)).inv_cdf(level))
        held = 0
        for seed in range(REPEATS):
            found = quantile(simulated(seed, processes, runs, between, within), level)
            held += found.low <= truth <= found.high
        assert held / REPEATS >= LEAST

    @pytest.mark.parametrize("processes", [6, 8, 15])
    def test_so_does_the_interval_of_a_speed_up(self, processes: int) -> None:
        random = np.random.default_rng(processes)
        held = {paired: 0, unpaired_speedup: 0}
        for _ in range(REPEATS):
            slow, fast = np.exp(random.normal(0, 0.1, (2, processes))) * [[1.5], [1.0]]
            for judged in held:
                found = judged(slow, fast)
                held[judged] += found.low <= 1.5 <= found.high
        assert min(held.values()) / REPEATS >= LEAST


class TestTooFew:
    def test_p99_of_few_runs_has_no_upper_bound(self) -> None:
        found = quantile([list(range(1, 101))], 0.99)
        assert found.value == 99
        assert math.isfinite(found.low)
        assert found.high == math.inf
        assert not found.is_bounded

    @pytest.mark.parametrize("level", LEVELS)
    def test_the_number_that_is_needed_is_the_first_that_suffices(self, level: float) -> None:
        needed = runs_needed(level)
        enough, too_few = (quantile([list(range(n))], level) for n in (needed, needed - 1))
        assert enough.is_bounded
        assert not too_few.is_bounded

    def test_one_odd_process_bounds_nothing(self) -> None:
        """Its many slow runs look like a tail that was seen often."""
        ordinary = simulated(0, 7, 400, 0.0, 0.01)
        found = quantile([*ordinary, [2.0] * 400], 0.99)
        assert found.low < 1.5
        assert found.high == math.inf

    @pytest.mark.parametrize("processes", [1, 4, 5])
    def test_a_speed_up_of_fewer_than_six_processes_is_open(self, processes: int) -> None:
        found = speedup([2.0] * processes)
        assert found == Bounded(2.0, 0.0, math.inf)

    def test_sessions_apart_need_more_processes(self) -> None:
        assert unpaired_speedup([2.0] * 6, [1.0] * 6) == Bounded(2.0, 0.0, math.inf)
        assert unpaired_speedup([2.0] * 8, [1.0] * 8) == Bounded(2.0, 2.0, 2.0)


class TestShape:
    @given(st.lists(times, min_size=1, max_size=6), st.sampled_from(LEVELS))
    def test_an_estimate_is_a_run_and_lies_within_its_interval(
        self, processes: list[list[float]], level: float
    ) -> None:
        found = quantile(processes, level)
        every = [time for process in processes for time in process]
        assert found.value in every
        assert found.low <= found.value <= found.high
        assert {found.low, found.high} <= {*every, -math.inf, math.inf}

    @given(times, st.permutations(range(4)))
    def test_the_order_of_processes_changes_nothing(
        self, process: list[float], order: list[int]
    ) -> None:
        processes = [[t * (i + 1) for t in process] for i in range(4)]
        shuffled = [processes[i] for i in order]
        for level in LEVELS:
            assert quantile(processes, level) == quantile(shuffled, level)

    @given(times, times)
    def test_slower_for_faster_is_the_inverse(self, a: list[float], b: list[float]) -> None:
        n = min(len(a), len(b))
        there, back = paired(a[:n], b[:n]), paired(b[:n], a[:n])
        assert there.value * back.value == pytest.approx(1)
        assert there.low * back.high == pytest.approx(1) or there.low == 0

    def test_ever_more_runs_narrow_the_interval(self) -> None:
        widths = []
        for runs in (10, 100, 1000):
            found = quantile(simulated(1, 8, runs, 0.0, 0.1), 0.5)
            widths.append(found.high - found.low)
        assert widths == sorted(widths, reverse=True)

    def test_the_promise_is_two_sided(self) -> None:
        assert CONFIDENCE == 0.95
        assert median_of(range(1, 9)) == Bounded(4.5, 1.0, 8.0)
