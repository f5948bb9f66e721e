"""docs/peers.md, made of rows: a table for each question."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelcheck import units
from peers_rows import NET_QUANTIZE, ORIGINAL, OURS, Judged, Machine, Made, Outcome, Raced, Rows
from peers_tools import PEERS
from peers_transform import ENVIRONMENTS
from peers_trial import CLASSIC, NEW, OPENCV414

_COLUMNS = (NEW, CLASSIC, OPENCV414)
_VERSIONS = {"OpenCV 5.0": (NEW, CLASSIC), "OpenCV 4.14": (OPENCV414,)}
_THREADS = {1: "one thread", 2: "two threads"}
_ALL = (*PEERS, NET_QUANTIZE, OURS)
_REASON_CHARACTERS = 200

_INTRODUCTION = """\
# Other tools on cv2

What other tools make of trained models, as `cv2.dnn` runs it: whether it loads, whether it is
right, how fast it is. Beside them what [`modelcheck search`](search.md) finds.

Made by `{command}`; what is said of the search by
`{search}`.
{machine}, OpenCV {opencv}. Peers: {packages}.

- **Right** is strict: 99 % of top classes as onnxruntime has them in float32, or 25 dB of every
  output, as that OpenCV runs it, on images that neither calibrated nor chose: {judged} a model,
  most where classes are compared. A third of {samples}, as `modelcheck search` parts them,
  calibrates everyone.
- **Ratios** are over the original on its fastest engine of the same OpenCV with as many threads,
  medians of one interleaved race of all files of a model in one process. Standard errors: {errors}.
- Each quantizer is helped as its users help it: the model in opset 13, weights in float32 and no
  inputs; onnxruntime's after its own pre-process, by tensor where it fails by channel; `no-gemm`
  leaves Gemm in float32, which OpenCV's new engine cannot load as QDQ.
- `cv2-net-quantize` is OpenCV 4's `Net.quantize`, which makes a net and no file: it is raced with
  the original in a process of its own, on 4.14 only. The search was asked for 5.0 with one thread.
"""


def render(
    rows: Rows, models: Sequence[str], samples: int, ours: Sequence[Mapping[str, object]],
    command: str,
) -> str:  # fmt: skip
    """The page of these models, of what was measured with so many samples."""
    found = {str(row["model"]): row for row in ours if row["model"] in models}
    table = Table.of(rows, models, samples, searched=frozenset(found))
    lines = [_introduction(rows, table, samples, found, command)]
    for version, columns in _VERSIONS.items():
        for threads, said in _THREADS.items():
            if any(r.column in columns and r.threads == threads for r in table.raced.values()):
                lines += [f"## Right, and how fast: {version}, {said}", ""]
                lines += [*_fast(table, columns, threads), ""]
    lines += ["## How right", "", *_right(table), ""]
    lines += ["## Time and memory of the transforms", "", *_cost(table), ""]
    lines += ["## What is not made, or does not run, and why", "", *_reasons(table)]
    if found:
        lines += ["", "## What `modelcheck search` found", "", *_search(found)]
    return "\n".join(lines).rstrip() + "\n"


@dataclass(frozen=True)
class Table:
    """The rows of a page, by what they are of."""

    models: Sequence[str]
    searched: frozenset[str]
    peers: Sequence[str]
    made: Mapping[tuple[str, str], Made]
    judged: Mapping[tuple[str, str, str], Judged]
    raced: Mapping[tuple[str, str, str, int], Raced]

    @classmethod
    def of(
        cls, rows: Rows, models: Sequence[str], samples: int, *, searched: frozenset[str]
    ) -> Table:
        """What was judged or raced of a file that was made anew since is left out."""

        def wanted(row: Made | Judged | Raced) -> bool:
            return row.model in models and row.samples == samples

        made = {(r.model, r.peer): r for r in rows.of(Made) if wanted(r)}

        def current(row: Judged | Raced) -> bool:
            of = made.get((row.model, row.peer))
            return wanted(row) and of is not None and of.digest == row.digest

        judged = {(r.model, r.peer, r.column): r for r in rows.of(Judged) if current(r)}
        raced = {(r.model, r.peer, r.column, r.threads): r for r in rows.of(Raced) if current(r)}
        there = {peer for _, peer in made}
        measured = [m for m in models if (m, ORIGINAL) in made]
        return cls(measured, searched, [p for p in _ALL if p in there], made, judged, raced)

    def fastest(self, model: str, peer: str, columns: Sequence[str], threads: int) -> Best | None:
        """On its best engine: the fastest of those where it is right, else of all."""
        found = []
        for column in columns:
            judged = self.judged.get((model, peer, column))
            raced = self.raced.get((model, peer, column, threads))
            if judged is not None and raced is not None and math.isfinite(raced.ratio):
                found.append(Best(peer, judged, raced))
        return max(found, key=lambda b: (b.judged.right, b.raced.ratio), default=None)


@dataclass(frozen=True)
class Best:
    """A candidate on its best engine."""

    peer: str
    judged: Judged
    raced: Raced

    @property
    def cell(self) -> str:
        engine = self.judged.column.partition(" ")[2]
        told = f"{units.ratio(self.raced.ratio)} {engine}".strip()
        return told if self.judged.right else f"({told}: {_figure(self.judged)})"


def _introduction(
    rows: Rows, table: Table, samples: int, ours: Mapping[str, Mapping[str, object]], command: str
) -> str:
    machine = next(iter(rows.of(Machine)), Machine("unknown machine", 0, "unknown", 0.0, 0))
    counts = [j.judged for j in table.judged.values() if j.judged]
    errors = [r.error / r.ratio for r in table.raced.values() if math.isfinite(r.ratio)]
    packages = dict.fromkeys(p for of in ENVIRONMENTS.values() for p in of)
    budgets = sorted({float(str(row["max_time"])) for row in ours.values()})
    search = "python benchmarks/bench_search.py --rows build/search/rows.jsonl"
    if len(budgets) == 1:
        search += f" --max-time {budgets[0]:g}"
    return _INTRODUCTION.format(
        command=command,
        search=search,
        machine=f"{machine.processor}, {units.plural(machine.cpus, 'core')}",
        opencv=machine.opencv,
        packages=", ".join(p.replace("==", " ") for p in packages),
        judged=f"{min(counts)} to {max(counts)}" if counts else "none",
        samples=f"at most {samples}",
        errors=f"median {units.percent(statistics.median(errors))}, at most "
        f"{units.percent(max(errors))}"
        if errors
        else "none",
    )


def _fast(table: Table, columns: Sequence[str], threads: int) -> Iterator[str]:
    yield "In parentheses what is not right, with how far it is off; – what does not run there."
    yield "Geometric means take the original, 1.00x, where a peer is not right."
    yield ""
    yield _line("", table.models, "geometric mean")
    yield "|---" * (len(table.models) + 2) + "|"
    yield _line("original", (_original(table, m, columns, threads) for m in table.models), "1.00x")
    for peer in table.peers:
        found = [table.fastest(m, peer, columns, threads) for m in table.models]
        if any(found):
            gains = [b.raced.ratio if b and b.judged.right else 1.0 for b in found]
            cells = [b.cell if b else "–" for b in found]
            if peer == OURS:
                pairs = list(zip(cells, table.models, strict=True))
                cells = [
                    "the original" if c == "–" and m in table.searched else c for c, m in pairs
                ]
            yield _line(peer, cells, _mean(gains))
    yield _best(table, columns, threads)


def _original(table: Table, model: str, columns: Sequence[str], threads: int) -> str:
    """'2.21 ms classic': its fastest engine."""
    best = table.fastest(model, ORIGINAL, columns, threads)
    if best is None or not best.judged.right:
        return "–"
    engine = best.judged.column.partition(" ")[2]
    return f"{units.duration(best.raced.seconds)} {engine}".strip()


def _best(table: Table, columns: Sequence[str], threads: int) -> str:
    """The best right peer of each model; the original where none is faster."""
    cells, gains = [], []
    for model in table.models:
        found = (table.fastest(model, p, columns, threads) for p in table.peers if p != OURS)
        right = [b for b in found if b is not None and b.judged.right and b.raced.ratio > 1]
        best = max(right, key=lambda b: b.raced.ratio, default=None)
        gains.append(1.0 if best is None else best.raced.ratio)
        told = "the original" if best is None else f"{units.ratio(best.raced.ratio)} {best.peer}"
        cells.append(f"**{told}**")
    return _line("**best right peer**", cells, f"**{_mean(gains)}**")


def _right(table: Table) -> Iterator[str]:
    yield f"Each on {', '.join(_COLUMNS)}: bold where right; – where it does not run or load."
    yield ""
    yield from _grid(table, lambda model, peer: _rightness(table, model, peer))


def _rightness(table: Table, model: str, peer: str) -> str:
    cells = []
    for column in _COLUMNS:
        row = table.judged.get((model, peer, column))
        told = _figure(row) if row is not None and row.runs else "–"
        cells.append(f"**{told}**" if row is not None and row.right else told)
    return " / ".join(cells)


def _figure(row: Judged) -> str:
    if row.agreement is None:
        return units.decibels(row.db)
    return f"{units.percent(row.agreement)}, {units.decibels(row.db)}"


def _cost(table: Table) -> Iterator[str]:
    yield "Wall time of the whole process, imports too, and its peak memory with children (PSS)."
    yield ""
    yield from _grid(table, lambda model, peer: _spent(table.made.get((model, peer))))


def _spent(row: Made | None) -> str:
    if row is None or row.outcome is Outcome.NOT_APPLICABLE:
        return "–"
    if row.outcome in (Outcome.MADE, Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT):
        told = f"{units.duration(row.seconds)}, {units.size(row.peak_bytes)}"
        return told if row.outcome is Outcome.MADE else f"**{row.outcome}** ({told})"
    return f"**{row.outcome}**"


def _grid(table: Table, cell: Callable[[str, str], str]) -> Iterator[str]:
    """A line a peer, a column a model."""
    yield _line("", table.models)
    yield "|---" * (len(table.models) + 1) + "|"
    for peer in table.peers:
        yield _line(peer, (cell(model, peer) for model in table.models))


def _reasons(table: Table) -> Iterator[str]:
    """Each reason once, with what it holds for."""
    reasons: dict[tuple[str, str], dict[str, list[str]]] = {}

    def add(what: str, reason: str, model: str, peer: str) -> None:
        said = " ".join(reason.split()).replace("|", "\\|")[:_REASON_CHARACTERS]
        reasons.setdefault((what, said), {}).setdefault(peer, []).append(model)

    for (model, peer), made in table.made.items():
        if made.outcome not in (Outcome.MADE, Outcome.NOT_APPLICABLE):
            add(made.outcome, made.reason, model, peer)
    for (model, peer, column), judged in table.judged.items():
        if not judged.runs:
            add(f"does not run on {column}", judged.reason, model, peer)
        elif judged.reason:
            add(f"runs on {column}", judged.reason, model, peer)
    for (model, peer, column, _), raced in table.raced.items():
        if raced.reason:
            add(f"gave no time on {column}", raced.reason, model, peer)
    for (what, reason), peers in reasons.items():
        where = "; ".join(f"{p}: {', '.join(dict.fromkeys(of))}" for p, of in peers.items())
        yield f"- **{what}**, {where}. `{reason}`"
    if not reasons:
        yield "Nothing."


def _search(found: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    yield "By its own race and its own gate, whatever was raced above."
    yield ""
    yield "| net | original | exact | best | what | gate | time | memory |"
    yield "|---" * 8 + "|"
    for row in found.values():
        cells = row["cells"]
        assert isinstance(cells, list)
        spent = units.duration(float(str(row["seconds"])))
        yield _line(cells[0], cells[1:], spent, units.size(int(str(row["peak_bytes"]))))


def _line(first: str, cells: Iterable[str], *last: str) -> str:
    return f"| {' | '.join([first, *cells, *last])} |"


def _mean(gains: Sequence[float]) -> str:
    return units.ratio(math.exp(sum(map(math.log, gains)) / len(gains))) if gains else "–"
