"""Measuring: what models cost where they run, side by side, and against a saved measurement."""

from modelcheck.bench.baseline import Baseline, compare, find_differences, read_baseline
from modelcheck.bench.machine import fingerprint
from modelcheck.bench.plan import Bench, BenchPlan, Comparison, Process, Row, Subject
from modelcheck.bench.run import bench
from modelcheck.bench.saved import check_save_path, save, to_document

__all__ = [
    "Baseline",
    "Bench",
    "BenchPlan",
    "Comparison",
    "Process",
    "Row",
    "Subject",
    "bench",
    "check_save_path",
    "compare",
    "find_differences",
    "fingerprint",
    "read_baseline",
    "save",
    "to_document",
]
