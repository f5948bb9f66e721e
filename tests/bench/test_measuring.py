"""Measuring on real targets: what runs is measured, what does not becomes a row that says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_up import FIXTURES

from modelcheck.bench import Bench, BenchPlan, Subject, bench
from modelcheck.bench.measuring import LEAST_GENERATIONS
from modelcheck.data import open_samples
from modelcheck.errors import UsageError
from modelcheck.model import load
from modelcheck.process import ChildLimits
from modelcheck.targets import Target

QUICK_S = 0.5  # less than the least: as few processes and runs as there are


def subject(path: Path, count: int = 2) -> Subject:
    model = load(path)
    samples = open_samples(None, model.signature, count=count)
    return Subject(path.name, model, [s.arrays for s in samples], samples.origin, True)


def measured(paths: list[Path], targets: list[str], limits: ChildLimits | None = None) -> Bench:
    plan = BenchPlan(
        tuple(map(subject, paths)),
        tuple(map(Target.parse, targets)),
        QUICK_S,
        0,
        limits or ChildLimits(),
    )
    return bench(plan, emit=lambda event: None)


@pytest.fixture(scope="module")
def two_by_three() -> Bench:
    models = [FIXTURES / "digits_mlp.onnx", FIXTURES / "digits_resnet.onnx"]
    return measured(models, ["cpu:new:threads=1", "cuda:optional", "cpu:classic"])


class TestRows:
    def test_each_model_has_a_row_on_each_target_models_first(self, two_by_three: Bench) -> None:
        found = [(r.subject.label, r.target.name) for r in two_by_three.rows]
        names = ["cpu new, 1 thread", "cuda auto", "cpu classic"]
        models = ["digits_mlp.onnx", "digits_resnet.onnx"]
        assert found == [(model, name) for model in models for name in names]

    def test_what_runs_is_measured_in_fresh_processes_where_it_was_proven_to_run(
        self, two_by_three: Bench
    ) -> None:
        for row in (r for r in two_by_three.rows if r.target.device.is_cpu):
            assert row.measured
            assert row.placement is not None
            assert row.placement.proven
            assert len(row.processes) >= LEAST_GENERATIONS
            assert all(p.load_s > 0 and p.first_s > 0 for p in row.processes)
            assert all(0 < p.idle_bytes < p.peak_bytes for p in row.processes)
            assert all(min(p.latencies_s) > 0 for p in row.processes)
            assert row.samples_per_s > 0
            assert row.cpu_wall > 0

    def test_a_target_that_is_not_there_says_why_and_the_others_go_on(
        self, two_by_three: Bench
    ) -> None:
        for row in (r for r in two_by_three.rows if r.target.device.is_cuda):
            assert not row.measured
            assert row.processes == ()
            assert row.failure

    def test_rows_that_took_turns_compare(self, two_by_three: Bench) -> None:
        assert [(c.row, c.other) for c in two_by_three.between_models()] == [(3, 0), (5, 2)]
        assert [(c.row, c.other) for c in two_by_three.between_targets()] == [(2, 0), (5, 3)]
        for comparison in two_by_three.between_models():
            assert comparison.speedup.is_bounded


class TestFailures:
    def test_a_model_that_does_not_fit_into_memory_is_a_row_that_says_so(self) -> None:
        found = measured([FIXTURES / "digits_mlp.onnx"], ["cpu"], ChildLimits(memory_bytes=1 << 26))
        assert [row.measured for row in found.rows] == [False]
        assert "cannot be imported" in str(found.rows[0].failure) or "memory" in str(
            found.rows[0].failure
        )

    def test_an_interpreter_that_is_not_there_is_a_row_that_says_so(self) -> None:
        found = measured([FIXTURES / "digits_mlp.onnx"], ["cpu:python=/no/such/python"])
        assert "Name a Python" in str(found.rows[0].failure)

    def test_an_objection_before_measuring_ends_it(self) -> None:
        plan = BenchPlan((subject(FIXTURES / "digits_mlp.onnx"),), (Target(),), QUICK_S)

        def object_to(rows: object) -> None:
            raise UsageError("another machine")

        with pytest.raises(UsageError):
            bench(plan, emit=lambda event: None, before_measuring=object_to)


def test_inputs_of_several_samples_make_a_batch() -> None:
    arrays = [{"image": np.zeros((4, 1, 8, 8), np.float32)}]
    assert Subject("x", load(FIXTURES / "digits_mlp.onnx"), arrays, "").batch == 4
