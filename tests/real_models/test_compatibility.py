"""The page of compatibility: every form is tried, and every end of a run has its word."""

from __future__ import annotations

import pytest

from compatibility import COLUMNS, FORMS, forms
from compatibility_page import CPU_AND_OPENCL, render
from compatibility_rows import Row, Store, Verdict, row_of
from modelcheck.errors import Crashed, TimedOut
from modelcheck.judge import Blame, Check, Outcome
from modelcheck.recipe import TargetSettings, parse_step
from modelcheck.targets import FellBack, NotProven, Target, TargetRefused
from modelcheck.transforms.catalogue import CATALOGUE
from modelcheck.verification import TargetResult

ENDS = {
    Crashed("died of SIGSEGV"): Verdict.CRASHED,
    Crashed("ended with code 1"): Verdict.CRASHED,
    TimedOut("no answer within 60.0 s; it was killed"): Verdict.TIMED_OUT,
    FellBack("fell back to the CPU: 'it' ran no kernel in a forward"): Verdict.FELL_BACK,
    FellBack("fell back to the CPU: there is no OpenCL device"): Verdict.NOT_MEASURED,
    NotProven("placement not proven: the trace has 3 layers, the net 4"): Verdict.NOT_PROVEN,
    TargetRefused("(-215:Assertion failed) a == b in function 'f'"): Verdict.REFUSED,
}


def test_every_row_of_the_catalogue_is_tried() -> None:
    assert {parse_step(form).name for form in forms()} == set(CATALOGUE)
    assert set(FORMS) <= set(forms())


@pytest.mark.parametrize("error", ENDS, ids=lambda error: error.what)
def test_every_way_not_to_run_has_its_word(error: Exception) -> None:
    settings = TargetSettings(Target())
    check = Check("runs", "cpu auto", Outcome.UNSUPPORTED, f"cpu auto: {error}", Blame.TARGET)
    row = row_of("net", "original", "5.0 new", TargetResult(settings, (check,)))
    assert row.verdict is ENDS[error]  # type: ignore[index]


def test_an_interrupted_run_goes_on_until_something_changes(tmp_path) -> None:
    path = tmp_path / "folder" / "rows.json"
    row = Row("net", "original", COLUMNS[0], Verdict.WRONG, "why", 0.5)
    Store(path, key="a", fresh=False).add([row], 1.5)
    kept = Store(path, key="a", fresh=False)
    assert (kept.rows, kept.seconds) == ([row], 1.5)
    assert kept.has("net", "original")
    assert not Store(path, key="b", fresh=False).rows
    assert not Store(path, key="a", fresh=True).rows


def test_the_page_counts_every_cell_and_says_what_was_not_measured() -> None:
    verdicts = (Verdict.RIGHT, Verdict.WRONG, Verdict.CRASHED)
    rows = [
        Row("net", "original", c, v, "cpu: why", 0.5)
        for c, v in zip(COLUMNS[1:], verdicts, strict=True)
    ]
    page = render(rows, rows, COLUMNS, 1.0, CPU_AND_OPENCL)
    assert "| models | not measured | 1 right | 1 wrong | 1 crashed |" in page
    assert (
        "| net | not measured | right 5.0e-01 | **wrong** 5.0e-01 | **crashed** 5.0e-01 |" in page
    )
