"""docs/compatibility.md, made of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compatibility_rows import Row, Verdict
from modelcheck import units

_INTRODUCTION = """\
# {title}

Which forms of a model each OpenCV's `cv2.dnn` runs rightly. Every file is judged by itself, as
`modelcheck verify FILE` does it: is what comes out there what onnxruntime computes from the same
file? What a transform costs in accuracy is another question: [real models](real-models.md).

Measured and written by `{command}`, in {duration} on {cores} cores.

Columns: {columns}.
{note}

- **right**: within the noise of float32; at 40 dB or better for half floats, and at 35 dB for int8,
  where sums are exact and only roundings may fall the other way.
- **wrong**: an answer beyond that; with the largest difference over the output's scale.
- **refused**: an error on loading or running. **timed out**: no answer within a minute, which says
  how slow it is there (PoCL, a busy machine), and nothing of right or wrong.
- **crashed**: the process died. It was a child, and the run went on: every crash here is contained.
- **fell back**: the OpenCL device ran no kernel in a forward, or nobody knows for what part of the
  work. **not proven**: nothing shows where it ran.
"""


@dataclass(frozen=True)
class Introduction:
    """What a page says of itself. `small`: of the part on small nets."""

    title: str
    command: str
    note: str
    heading: str
    small: str


CPU_AND_OPENCL = Introduction(
    "Compatibility",
    "python benchmarks/compatibility.py",
    "5.0 OpenCL is the classic engine on PoCL's CPU device, with its kernel launches counted.",
    "Transforms",
    """\
On how many small nets each form is what. `spare=false` quantizes those layers, too, that 5.0's new
engine is known to compute wrongly in int8; `quantize` leaves them in float32 otherwise.""",
)
ON_CUDA = Introduction(
    "Compatibility on CUDA",
    "python benchmarks/compatibility.py --cuda PYTHON --jobs 8",
    "Both are one build of OpenCV [with CUDA](cuda.md) on one GPU, with float32 and with half "
    "floats, held to\nthe limits of [targets](targets.md). A share is that of the "
    "multiply-accumulates in layers that left\nCUDA for the CPU.",
    "Small nets",
    "On how many small nets each is what, as they are.",
)
_LETTERS = {
    Verdict.RIGHT: "✓",
    Verdict.WRONG: "**✗**",
    Verdict.REFUSED: "r",
    Verdict.CRASHED: "**C**",
    Verdict.TIMED_OUT: "t",
    Verdict.FELL_BACK: "f",
    Verdict.NOT_PROVEN: "n",
    Verdict.UNDECIDED: "?",
    Verdict.NOT_MEASURED: "–",
}
_COUNTED = tuple(_LETTERS)
_LEGEND = (
    "✓ right, **✗** wrong, r refused, **C** crashed, t timed out, f fell back, n not proven, "
    "? undecided, – not measured; an empty cell: the form leaves that net as it is, or was "
    "refused for it."
)
_REASON_CHARACTERS = 240


def render(
    forms: Sequence[Row],
    models: Sequence[Row],
    columns: Sequence[str],
    seconds: float,
    about: Introduction,
) -> str:
    """The page. `forms` are rows on small nets, `models` those of trained models as they are."""
    versions = {row.column: row.opencv for row in [*forms, *models] if row.opencv}
    told = ", ".join(f"{column} ({versions.get(column, 'not measured')})" for column in columns)
    introduction = _INTRODUCTION.format(
        title=about.title,
        command=about.command,
        duration=units.duration(seconds),
        cores=os.cpu_count(),
        columns=told,
        note=about.note,
    )
    lines = [introduction, f"## {about.heading}", "", about.small, ""]
    for form in dict.fromkeys(row.form for row in forms):
        of_form = [row for row in forms if row.form == form]
        lines += _counts(f"`{form}`", of_form, columns, head=form == forms[0].form)
    lines += ["", f"Net by net, each in the order {', '.join(columns)}. {_LEGEND}", ""]
    lines += [*_grid(forms, columns), "", "### Why not", "", *_reasons(forms), ""]
    lines += ["## Trained models as they are", "", *_counts("models", models, columns, head=True)]
    lines += ["", *_table(models, columns), "", "### Why not, one by one", "", *_reasons(models)]
    return "\n".join(lines).rstrip() + "\n"


def _counts(what: str, rows: Sequence[Row], columns: Sequence[str], *, head: bool) -> Iterator[str]:
    """One line: how many are right, wrong and so on, by column."""
    if head:
        yield "| | " + " | ".join(columns) + " |"
        yield "|---" * (len(columns) + 1) + "|"
    cells = []
    for column in columns:
        verdicts = [row.verdict for row in rows if row.column == column]
        counts = {v: verdicts.count(v) for v in _COUNTED if v in verdicts}
        told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        cells.append(told or ("changes none" if verdicts else "not measured"))
    yield f"| {what} | " + " | ".join(cells) + " |"


def _grid(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    """A line a form, a column a net, a letter an OpenCV."""
    models = list(dict.fromkeys(row.model for row in rows))
    letters = {(row.model, row.form, row.column): _LETTERS.get(row.verdict, "") for row in rows}
    yield "| | " + " | ".join(models) + " |"
    yield "|---" * (len(models) + 1) + "|"
    for form in dict.fromkeys(row.form for row in rows):
        cells = (
            " ".join(letters.get((model, form, column), "–") for column in columns).strip()
            for model in models
        )
        yield f"| `{form}` | " + " | ".join(cells) + " |"


def _table(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    """A line a model, with figures."""
    cells = {(row.model, row.column): row for row in rows}
    yield "| model | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for model in dict.fromkeys(row.model for row in rows):
        found = [cells.get((model, column)) for column in columns]
        told = ("not measured" if row is None else _told(row) for row in found)
        yield f"| {model} | " + " | ".join(told) + " |"


def _told(row: Row) -> str:
    """'right 3.1e-07', '**crashed** at N=8'; with the launches, and with what fell back."""
    text = row.told
    if row.verdict in (Verdict.WRONG, Verdict.CRASHED):
        text = text.replace(row.verdict, f"**{row.verdict}**")
    return "; ".join(filter(None, [text, row.launches, row.fallback]))


def _reasons(rows: Sequence[Row]) -> Iterator[str]:
    """Each reason once, with what it holds for."""
    reasons: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.message:
            head, _, said = row.message.partition(": ")
            said = " ".join((said or head).split()).replace("|", "\\|")
            reasons.setdefault((row.verdict, said[:_REASON_CHARACTERS]), []).append(row)
    for (verdict, reason), of_reason in reasons.items():
        places: dict[tuple[str, str], list[str]] = {}
        for row in of_reason:
            places.setdefault((row.form, row.column), []).append(row.model)
        where = "; ".join(
            f"`{form}` on {column}: {', '.join(models)}"
            for (form, column), models in places.items()
        )
        yield f"- **{verdict}**, {where}. {reason}"
