"""The screen of `bench`: every figure whole, whatever the width, and every caveat said."""

from __future__ import annotations

import io

import pytest
from made_up import result, row, subject
from rich.console import Console

from modelcheck import units
from modelcheck.bench import Bench, Comparison
from modelcheck.judge.quantiles import Bounded
from modelcheck.report.bench import (
    print_baseline,
    print_bench,
    print_bench_end,
    print_bench_findings,
)
from modelcheck.targets import Placement, Target

CLASSIC = Target.parse("cpu:classic:python=/opt/opencv-4.14/bin/python")


def shown(found: Bench, width: int = 100) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, emoji=False)
    print_bench(found, console)
    print_bench_findings(found, console)
    print_bench_end(found, 0, "modelcheck bench net.onnx", "", console)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_figures_are_whole_on_narrow_and_wide_terminals(width: int) -> None:
    first, second = subject(), subject("digits_vit.onnx")
    found = result(
        row(0.01, of=first),
        row(0.0201, of=first, target=CLASSIC),
        row(0.000123, of=second),
        row(1.23, of=second, target=CLASSIC),
    )
    text = shown(found, width)
    assert max(map(len, text.splitlines()[:-3])) <= width  # the command to repeat is never broken
    for one in found.rows:
        p50 = one.latency_s["p50"]
        assert units.duration_within(p50.value, p50.low, p50.high) in text
    assert "AS FAST AS digits_mlp.onnx [95 %]" in text
    assert "AS FAST AS cpu auto [95 %]" in text


def test_a_failure_is_named_with_its_reason_and_whether_it_was_required() -> None:
    gone = row(target=CLASSIC, failure="cannot be started. Name a Python.")
    text = " ".join(shown(result(row(), gone), 160).split())
    assert "UNSUPPORTED cpu classic, /opt/opencv-4.14/bin/python: cannot be started. Name" in text
    assert "MEASURED: 1 of 2 rows; 1 unsupported, required." in text


def test_what_a_cpu_simulates_is_marked_and_no_speed_of_the_device() -> None:
    opencl = Target.parse("opencl:classic")
    placement = Placement(
        opencl.name, "opencl classic on pthread", ("22 launches",), simulated=True
    )
    text = shown(result(row(), row(target=opencl, placement=placement)))
    assert "opencl classic on pthread SIMULATED" in text
    assert "No measure of its speed" in text


def test_an_interval_that_the_runs_do_not_bound_is_open_and_says_what_it_takes() -> None:
    text = " ".join(shown(result(row())).split())
    assert "…]" in text
    assert "that takes 368 independent runs" in text


def test_a_baseline_of_another_session_is_called_weaker_evidence() -> None:
    stream = io.StringIO()
    compared = [Comparison(0, None, Bounded(1.02, 0.9, 1.1))]
    found = result(row(), row(target=CLASSIC))
    console = Console(file=stream, width=160, highlight=False)
    print_baseline(found, compared, "old.json", ["kernel: 6.1 there, 6.2 here"], console)
    text = " ".join(stream.getvalue().split())
    assert "AS FAST AS IN old.json" in text
    assert "1.02x [0.90, 1.10] no difference proven" in text
    assert "weaker evidence" in text
    assert "cpu classic, /opt/opencv-4.14/bin/python: not in the baseline." in text
    assert "FORCED although it differs: kernel" in text


def test_names_that_others_made_up_cannot_move_the_cursor() -> None:
    from dataclasses import replace

    text = shown(result(row(of=replace(subject(), label="a\x1b[2J[red]b"))))
    assert "\x1b" not in text
    assert "[red]b" in text
