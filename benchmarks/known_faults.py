"""Writes docs/known-faults.md from the table of model/patterns.py.

python benchmarks/known_faults.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modelcheck.model.patterns import ALL, MEASURED, PATTERNS, Pattern, Severity

PAGE = Path(__file__).resolve().parents[1] / "docs" / "known-faults.md"
_INTRODUCTION = """\
# Known faults

What OpenCV's engines are known to get wrong, refuse or do slowly. Made by
`python benchmarks/known_faults.py` from `src/modelcheck/model/patterns.py`; errors are parts of the
output's scale.

`inspect` shows what of it a model contains. `apply --verify`, `verify` and `tune` say so before
they run, for the OpenCV and the engine of each target: evidence, never a verdict. Where a check
fails then, its message refers to it. What takes certain values or uses besides (*only*) is not said
before, because most models never meet it. Measured with {versions}, on x86-64. On another version
or device the message says that it was not measured there.

Each row is held by `tests/targets/test_known_faults.py`: a small net that has the form must still
go wrong, the form that the remedy names must be right, and so must a net that only looks like it.
Where an OpenCV has mended a row, the test says so. Rows that no test holds: {untested}.
"""
_HEADINGS = {
    Severity.WRONG: "Silently wrong",
    Severity.FAILS: "Refused, or the process dies",
    Severity.SLOW: "Slow",
}
# What was said of an OpenCV, and did not come about in nets of every form that came to mind.
_NOT_FOUND = (
    (
        "QLinearMatMul of two activations on 5.0 new: 12 % error",
        "right, of rank 2 to 4, int8 and uint8",
    ),
    (
        "weights dequantized from uint8 on 5.0 new: refused",
        "right for Conv, Gemm and MatMul, with zero point 128 or another",
    ),
    ("QGemm on 5.0 new: 2.5 % error a layer", "right without a bias, 60 % with one"),
    (
        "QDQ Gemm on 5.0 new: refused",
        "only with int8 weights and a dequantized bias, rounded at once",
    ),
    (
        "AveragePool in QOperator form: error 0.43 everywhere",
        "right but for single steps, unless it pads without counting",
    ),
    (
        "QLinearAdd of a constant on 4.14 and classic: wrong at N = 64",
        "right but for single steps; refused where the constant begins with a dimension of 1",
    ),
    (
        "squeeze-excite in int8 on 5.0 new: wrong",
        "by `int8-tail` (1x1 on one pixel) and `int8-sigmoid`, and by nothing of its own",
    ),
    ("float16 inputs on classic: wrong", "right; activations cast to float16 are refused"),
    (
        "an input of rank 5 on 4.14 and classic: the process dies",
        "Relu, Conv, MaxPool and Transpose of rank 5 are right",
    ),
    (
        "free sizes on 4.14 and classic: mostly not run",
        "Conv, pooling and Flatten run; Shape is refused",
    ),
)
_END = """
`pytest -n 0 tests/targets/test_known_faults.py -k said_elsewhere` runs a net of each that
no row's tests run.

What the last pixels of a wrong int8 convolution are differed from run to run and between
processors, so that such a net may be right by chance.
"""


def page() -> str:
    versions = ", ".join(f"{version} ({column})" for column, version in MEASURED.items())
    untested = (
        "`over-2-gib` (measured once), `qdq-conv-unfused` ([benchmarks](benchmarks.md)), "
        "`reused-net-…` (modelcheck gives no Net a second shape; `fixtures/README.md`)"
    )
    lines = [_INTRODUCTION.format(versions=versions, untested=untested)]
    for severity, heading in _HEADINGS.items():
        lines += [f"## {heading}", "", f"| | {' | '.join(ALL)} | what to do |"]
        lines += ["|---" * (len(ALL) + 2) + "|"]
        lines += [*_rows(p for p in PATTERNS if p.severity is severity), ""]
    lines += ["## Said elsewhere, and not found", "", "| said | measured |", "|---|---|"]
    lines += [f"| {said} | {measured} |" for said, measured in _NOT_FOUND]
    return "\n".join([*lines, _END])


def _rows(patterns: Iterator[Pattern]) -> Iterator[str]:
    for pattern in patterns:
        when = f" *Only {pattern.when}.*" if pattern.when else ""
        marks = " | ".join("✗" if column in pattern.engines else "" for column in ALL)
        yield f"| `{pattern.id}`: {pattern.what}.{when} | {marks} | {pattern.remedy} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote docs/{PAGE.name}")
