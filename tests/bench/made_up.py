"""Rows that nobody measured, with figures to choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelcheck.bench import Bench, BenchPlan, Process, Row, Subject
from modelcheck.model import load
from modelcheck.targets import OpenCV, Placement, Target

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
OPENCV = OpenCV("5.0.0", ("auto", "new", "classic"), "2.0", "3.12.0", 2, 2, "0" * 64)

CPU = Target()


def subject(name: str = "digits_mlp.onnx") -> Subject:
    samples = [{"image": np.zeros((1, 1, 8, 8), np.float32)}]
    return Subject(name, load(FIXTURES / name), samples, "made up")


def process(p50_s: float, *, runs: int = 20, seed: int = 0) -> Process:
    spread = np.random.default_rng(seed).normal(1, 0.01, runs)
    times = tuple((p50_s * spread).tolist())
    return Process(
        0.01, 0.002, (times[::2], times[1::2]), sum(times), sum(times), 60 << 20, 50 << 20
    )


def row(
    p50_s: float = 0.01,
    *,
    target: Target = CPU,
    of: Subject | None = None,
    processes: int = 8,
    placement: Placement | None = None,
    failure: str | None = None,
) -> Row:
    measured = () if failure else tuple(process(p50_s, seed=i) for i in range(processes))
    placement = placement or Placement(target.name, "cpu new", ("made up",))
    return Row(of or subject(), target, OPENCV, placement, measured, failure)


def result(*rows: Row) -> Bench:
    subjects = tuple({row.subject.model.digest: row.subject for row in rows}.values())
    targets = tuple(dict.fromkeys(row.target for row in rows))
    return Bench(BenchPlan(subjects, targets), rows)
