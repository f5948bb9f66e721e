"""Rows and how they compare: plain arithmetic over what processes measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up import process, result, row, subject

from modelcheck.targets import Device, Target

CLASSIC = Target.parse("cpu:classic")


class TestFigures:
    def test_throughput_counts_samples_and_not_batches(self) -> None:
        one = row()
        batched = replace(
            one.subject,
            samples=[{k: v.repeat(4, axis=0) for k, v in one.subject.samples[0].items()}],
        )
        assert replace(one, subject=batched).samples_per_s == pytest.approx(4 * one.samples_per_s)
        assert one.samples_per_s == pytest.approx(100, rel=0.05)

    def test_the_memory_of_a_model_is_what_it_adds_to_a_process_with_cv2(self) -> None:
        assert (row().peak_bytes, row().added_bytes) == (60 << 20, 10 << 20)

    def test_a_machine_is_busy_where_processes_differ_or_wait(self) -> None:
        quiet = row()
        uneven = replace(quiet, processes=(*quiet.processes, process(0.013)))
        waiting = replace(
            quiet, processes=tuple(replace(p, cpu_s=p.wall_s / 2) for p in quiet.processes)
        )
        assert [r.noisy for r in (quiet, uneven, waiting)] == [False, True, True]

    def test_a_device_that_works_while_the_cpu_waits_is_not_busy(self) -> None:
        there = row(target=Target(device=Device.CUDA))
        waiting = tuple(replace(p, cpu_s=p.wall_s / 10) for p in there.processes)
        assert not replace(there, processes=waiting).noisy


class TestComparisons:
    def test_models_compare_on_their_target_and_targets_with_their_model(self) -> None:
        first, second = subject(), subject("digits_vit.onnx")
        found = result(
            row(0.02, of=first),
            row(0.04, of=first, target=CLASSIC),
            row(0.01, of=second),
            row(0.05, of=second, target=CLASSIC),
        )
        models = {(c.row, c.other): round(c.speedup.value, 2) for c in found.between_models()}
        targets = {(c.row, c.other): round(c.speedup.value, 2) for c in found.between_targets()}
        assert models == {(2, 0): 2.0, (3, 1): 0.8}
        assert targets == {(1, 0): 0.5, (3, 2): 0.2}

    def test_a_row_that_failed_compares_with_nothing(self) -> None:
        found = result(row(), row(target=CLASSIC, failure="it is not there"))
        assert found.between_targets() == ()

    def test_equal_rows_prove_no_difference(self) -> None:
        same = result(row(), row(target=CLASSIC)).between_targets()
        assert [c.differs for c in same] == [False]

    def test_few_processes_prove_no_difference_however_large_it_looks(self) -> None:
        found = result(row(0.01, processes=5), row(0.05, processes=5, target=CLASSIC))
        assert [c.differs for c in found.between_targets()] == [False]
