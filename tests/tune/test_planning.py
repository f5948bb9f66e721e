"""Which settings are tried and which are chosen: pure, on made-up gains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelcheck.errors import UsageError
from modelcheck.targets import Engine, NetOptions, OpenCV, Target
from modelcheck.tune.settings import ServingLimits, Setting
from modelcheck.tune.space import (
    batch_settings,
    engine_settings,
    pool_settings,
    space_of,
    switch_settings,
    thread_settings,
)
from modelcheck.tune.tried import Standing, Tried, best_first, choose, finalists

FIVE = OpenCV("5.0.0", ("auto", "new", "classic"), "2.0", "3.11", 4, 4, "")
FOUR = OpenCV("4.12.0", ("auto",), "2.0", "3.11", 4, 4, "")
SAMPLE_BYTES = 1 << 20


def tried(
    setting: Setting, latency: float, throughput: float | None = None, **more: object
) -> Tried:
    rate = latency if throughput is None else throughput
    return Tried(setting, Standing.RIGHT, "", latency, rate, **more)  # type: ignore[arg-type]


def cpu(words: str = "", **changes: object) -> Setting:
    return replace(Setting(Target.parse(f"cpu{words}")), **changes)  # type: ignore[arg-type]


class TestSpace:
    def test_the_default_is_what_a_program_does_that_sets_nothing(self) -> None:
        default = space_of(Target(), FIVE, True, SAMPLE_BYTES).default
        assert default == Setting(Target())
        assert default.name == "cpu auto, own threads, 1 net"

    def test_what_a_target_pins_stays_as_it_is(self) -> None:
        space = space_of(Target.parse("cpu:classic:threads=2"), FIVE, True, SAMPLE_BYTES)
        assert (space.engines, space.threads) == ((), ())
        assert engine_settings(space, "classic") == []
        found = switch_settings([tried(space.default, 1.0)])
        assert {setting.target for setting in found} == {space.default.target}

    def test_off_the_cpu_the_default_is_the_engine_that_gets_there(self) -> None:
        assert space_of(Target.parse("opencl"), FIVE, True, 1).default.target.engine == "classic"
        assert space_of(Target.parse("opencl"), FOUR, True, 1).default.target.engine == "auto"

    def test_opencv_4_has_one_engine(self) -> None:
        space = space_of(Target(), FOUR, True, SAMPLE_BYTES)
        assert engine_settings(space, "classic") == []

    def test_the_engine_that_auto_takes_is_not_tried_twice(self) -> None:
        space = space_of(Target(), FIVE, True, SAMPLE_BYTES)
        assert [s.target.engine for s in engine_settings(space, "new")] == [Engine.CLASSIC]
        assert [s.target.engine for s in engine_settings(space, "classic")] == [Engine.NEW]

    def test_batches_are_tried_only_where_the_model_takes_them(self) -> None:
        assert space_of(Target(), FIVE, False, SAMPLE_BYTES).batches == ()
        assert space_of(Target(), FIVE, True, SAMPLE_BYTES).batches == (2, 4, 8)
        assert space_of(Target(), FIVE, True, 20 << 20).batches == (2,)

    def test_pools_fill_the_cores_or_a_little_more(self) -> None:
        space = space_of(Target(), FIVE, True, SAMPLE_BYTES)
        assert space.net_counts(1) == (4, 5, 8)
        assert space.net_counts(2) == (2, 3, 4)
        assert space.net_counts(4) == (2,)


class TestStages:
    space = space_of(Target(), FIVE, True, SAMPLE_BYTES)

    def test_switches_are_tried_on_engines_that_are_worth_it(self) -> None:
        seen = [tried(cpu(), 1.0), tried(cpu(":classic"), 0.6)]
        assert switch_settings(seen) == [
            cpu(options=NetOptions(winograd=False)),
            cpu(options=NetOptions(fusion=False)),
        ]

    def test_an_engine_that_is_clearly_slower_goes_no_further(self) -> None:
        seen = [tried(cpu(), 1.0), tried(cpu(":classic"), 0.6)]
        found = thread_settings(self.space, seen)
        assert {s.target.engine for s in found} == {Engine.AUTO}
        assert [s.target.threads for s in found] == [1, 2]

    def test_a_setting_that_is_wrong_goes_no_further_however_fast(self) -> None:
        wrong = Tried(cpu(":classic"), Standing.WRONG, "", 5.0, 5.0)
        found = thread_settings(self.space, [tried(cpu(), 1.0), wrong])
        assert {s.target.engine for s in found} == {Engine.AUTO}

    def test_pools_are_made_for_every_number_of_threads(self) -> None:
        """One thread is slower by itself, and yet the usual pool: it is compared among its like."""
        seen = [tried(cpu(), 1.0), tried(cpu(":threads=1"), 0.3), tried(cpu(":threads=2"), 0.6)]
        found = pool_settings(self.space, seen)
        assert {(s.target.threads, s.nets) for s in found} == {
            (None, 2), (1, 4), (1, 5), (1, 8), (2, 2), (2, 3), (2, 4),
        }  # fmt: skip

    def test_batches_go_with_the_most_throughput_and_the_best_single_net(self) -> None:
        pool = cpu(":threads=1", nets=4)
        seen = [
            tried(cpu(), 1.0),
            tried(pool, 0.5, 2.0),
            tried(cpu(":threads=1", nets=8), 0.3, 1.8),
        ]
        found = batch_settings(self.space, seen)
        assert replace(pool, batch=4) in found
        assert replace(cpu(), batch=8) in found
        assert all(s.batch > 1 for s in found)

    def test_without_anything_tried_there_is_nothing_to_combine(self) -> None:
        assert thread_settings(self.space, []) == []
        assert pool_settings(self.space, []) == []
        assert batch_settings(self.space, []) == []


class TestChoice:
    def test_the_best_by_each_measure(self) -> None:
        seen = [tried(cpu(), 1.0), tried(cpu(":classic"), 1.4), tried(cpu(nets=4), 0.5, 2.0)]
        assert choose(seen, "latency") == seen[1]
        assert choose(seen, "throughput") == seen[2]

    @pytest.mark.parametrize("standing", [Standing.WRONG, Standing.UNPROVEN, Standing.CANNOT])
    def test_only_what_is_right_is_chosen(self, standing: Standing) -> None:
        seen = [tried(cpu(), 1.0), Tried(cpu(":classic"), standing, "", 9.0, 9.0)]
        assert choose(seen, "latency") == seen[0]
        assert choose(seen[1:], "latency") is None

    def test_of_equally_good_ones_the_simplest(self) -> None:
        plain, switched = cpu(":classic"), cpu(":classic", options=NetOptions(winograd=False))
        seen = [tried(switched, 1.51), tried(plain, 1.5), tried(cpu(nets=2), 1.52)]
        assert choose(seen, "latency") == seen[1]

    def test_limits_bound_the_choice(self) -> None:
        """Most throughput within the latency asked for; 10 ms and 100/s are the default's."""
        seen = [tried(cpu(), 1.0), tried(cpu(nets=2), 0.7, 1.5), tried(cpu(nets=8), 0.2, 3.0)]
        known = {"default_latency_s": 0.01, "default_samples_per_s": 100.0}
        within = ServingLimits(max_latency_s=0.02)
        assert choose(seen, "throughput", within, **known) == seen[1]
        rate = ServingLimits(min_samples_per_s=250)
        assert choose(seen, "latency", rate, **known) == seen[2]

    def test_where_nothing_meets_the_limits_the_nearest_is_proven(self) -> None:
        seen = [tried(cpu(), 1.0), tried(cpu(":classic"), 1.6), tried(cpu(nets=4), 0.4, 2.0)]
        limits = ServingLimits(max_latency_s=0.005)
        nearest = choose(seen, "throughput", limits, default_latency_s=0.01)
        assert nearest == seen[1]

    def test_finalists_are_the_best_by_either_measure_each_once(self) -> None:
        seen = [tried(cpu(), 1.0), tried(cpu(":classic"), 1.4, 1.4), tried(cpu(nets=4), 0.5, 2.0)]
        assert set(finalists(seen, 1)) == {seen[1], seen[2]}
        assert len(finalists(seen, 3)) == 3

    def test_a_second_look_is_averaged_in(self) -> None:
        once = tried(cpu(), 2.0)
        twice = once.seen_again(0.5, 8.0)
        assert (twice.latency_gain, twice.throughput_gain) == (
            pytest.approx(1.0),
            pytest.approx(4.0),
        )
        assert best_first([once, twice], "throughput")[0] == twice


class TestLimits:
    def test_limits_that_no_pool_could_hold_contradict_each_other(self) -> None:
        limits = ServingLimits(max_latency_s=0.001, min_samples_per_s=1e6)
        with pytest.raises(UsageError, match="contradict each other"):
            limits.check_possible(64)

    def test_limits_that_a_large_pool_could_hold_do_not(self) -> None:
        ServingLimits(max_latency_s=0.1, min_samples_per_s=600).check_possible(64)
        ServingLimits(max_latency_s=1e-9).check_possible(1)
        ServingLimits(min_samples_per_s=1e9).check_possible(1)
