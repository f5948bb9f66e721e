"""What was measured, on a screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.bench import Bench, Comparison, Row
from modelcheck.bench.plan import LEVELS
from modelcheck.errors import printable
from modelcheck.judge.quantiles import Bounded, runs_needed

_TOO_FEW = (
    "A ratio to another session is bounded from 7 processes in each. Raise --time-budget in both."
)
_WEAKER = (
    "The baseline was measured in another session. That is weaker evidence than models side by "
    "side in one run: what has changed since then in this machine's clock, load and temperature "
    "is in no interval."
)


def print_bench(result: Bench, console: Console) -> None:
    """Where everything ran, latencies, costs, and how rows compare with each other."""
    _print_subjects(result, console)
    console.print()
    console.print(_places(result))
    measured = [(i, row) for i, row in enumerate(result.rows) if row.measured]
    if measured:
        for table in (_latencies(result, measured), _costs(result, measured)):
            console.print()
            console.print(table)
    first = result.plan.subjects[0].label
    for against, compared in (
        (printable(first, 60), result.between_models()),
        (result.plan.targets[0].name, result.between_targets()),
    ):
        if compared:
            console.print()
            console.print(_speedups(result, f"AS FAST AS {against} [95 %]", compared))


def print_baseline(
    result: Bench,
    compared: Sequence[Comparison],
    file: str,
    differences: Sequence[str],
    console: Console,
) -> None:
    """The comparison with a saved measurement, and why it counts for less."""
    console.print()
    console.print(_speedups(result, f"AS FAST AS IN {printable(file, 60)} [95 %]", compared))
    for i, row in enumerate(result.rows):
        if row.measured and i not in {c.row for c in compared}:
            console.print(Text(f"{_label(result, row)}: not in the baseline.", style="dim"))
    console.print(Text(_WEAKER, style="yellow"))
    if not all(c.speedup.is_bounded for c in compared):
        console.print(Text(_TOO_FEW, style="dim"))
    for line in differences:
        console.print(Text(f"FORCED although it differs: {line}", style="yellow"))


def print_bench_findings(result: Bench, console: Console) -> None:
    """What could not be measured and why; what the figures do not tell."""
    notes = list(_notes(result))
    failed = [row for row in result.rows if not row.measured]
    if notes or failed:
        console.print()
    for row in failed:
        optional = " (optional)" if row.target.optional else ""
        reason = printable(str(row.failure), limit=2000)
        console.print(
            Text.assemble((f"UNSUPPORTED{optional}", "yellow"), f" {_label(result, row)}: {reason}")
        )
    for note in notes:
        console.print(note)


def print_bench_end(result: Bench, code: int, command: str, fate: str, console: Console) -> None:
    failed = [row for row in result.rows if not row.measured]
    required = sum(not row.target.optional for row in failed)
    counts = [f"{len(result.rows) - len(failed)} of {units.plural(len(result.rows), 'row')}"]
    if failed:
        counts.append(f"{len(failed)} unsupported" + (", required" if required else ", optional"))
    console.print()
    console.print(Text.assemble(("MEASURED", "bold"), f": {'; '.join(counts)}. {fate}".rstrip()))
    reproduce = Text(f"Reproduce: {printable(command, limit=2000)}", style="dim")
    console.print(reproduce, soft_wrap=True)
    console.print(Text(f"exit {code}   {units.duration(result.seconds)}", style="dim"))


def _print_subjects(result: Bench, console: Console) -> None:
    from importlib import metadata

    versions = {row.opencv.version: None for row in result.rows if row.opencv is not None}
    opencv = "".join(f"   OpenCV {version}" for version in versions)
    version = metadata.version("modelcheck")
    console.print(Text(f"modelcheck {version}{opencv}   seed {result.plan.seed}", style="dim"))
    console.print()
    table = Table.grid(padding=(0, 3, 0, 0))
    for subject in result.plan.subjects:
        shapes = ", ".join("×".join(map(str, a.shape)) for a in subject.samples[0].values())
        table.add_row(
            Text(printable(subject.label), style="bold"),
            Text(f"{units.short_digest(subject.model.digest)}   {shapes}"),
            Text(printable(subject.origin)),
        )
    console.print(table)


def _places(result: Bench) -> Table:
    table = _table("", "RAN ON", "OPENCV", "PROCESSES", "RUNS")
    for row in result.rows:
        version = "–" if row.opencv is None else row.opencv.version
        if not row.measured:
            table.add_row(_label(result, row), Text("UNSUPPORTED", style="yellow"), version)
            continue
        actual = "–" if row.placement is None else printable(row.placement.actual)
        simulated = row.placement is not None and row.placement.simulated
        ran_on = Text(actual) + Text(" SIMULATED" if simulated else "", style="yellow")
        table.add_row(
            _label(result, row), ran_on, version, str(len(row.processes)), f"{row.runs:,}"
        )
    return table


def _latencies(result: Bench, rows: Sequence[tuple[int, Row]]) -> Table:
    table = _table("LATENCY [95 %]", *(name.upper() for name in LEVELS))
    for _, row in rows:
        cells = (
            units.duration_within(found.value, found.low, found.high)
            for found in row.latency_s.values()
        )
        table.add_row(_label(result, row), *cells)
    return table


def _costs(result: Bench, rows: Sequence[tuple[int, Row]]) -> Table:
    table = _table("", "LOAD", "FIRST", "THROUGHPUT", "CPU/WALL", "MEMORY", "OF IT THE MODEL")
    for _, row in rows:
        table.add_row(
            _label(result, row),
            units.duration(row.load_s.value),
            units.duration(row.first_s.value),
            units.rate(row.samples_per_s),
            f"{row.cpu_wall:.2f}",
            units.size(row.peak_bytes),
            units.size(max(0.0, row.added_bytes)),
        )
    return table


def _speedups(result: Bench, title: str, compared: Sequence[Comparison]) -> Table:
    table = _table("", title)
    for comparison in compared:
        found = comparison.speedup
        text = Text(f"{units.ratio(found.value)} {_within(found)}")
        if not comparison.differs:
            text.append("  no difference proven", style="dim")
        table.add_row(_label(result, result.rows[comparison.row]), text)
    return table


def _notes(result: Bench) -> Iterator[Text]:
    for row in result.rows:
        if row.placement is None or not row.measured:
            continue
        label = _label(result, row)
        if row.placement.simulated:
            yield _warning(f"{label}: SIMULATED: a CPU plays the device. No measure of its speed.")
        if row.placement.partial:
            layers = units.plural(len(row.placement.fallback_layers), "layer")
            yield _warning(f"{label}: {layers} fell back to the CPU.")
    if noisy := [row for row in result.rows if row.measured and row.noisy]:
        yield _warning(
            f"The machine was busy: medians of processes differ by up to "
            f"{units.ratio(max(row.spread for row in noisy))}, and CPU over wall time went down to "
            f"{min(row.cpu_wall for row in noisy):.2f}. Repeat it when nothing else runs."
        )
    yield from _open_bounds(result)
    if any(subject.synthetic for subject in result.plan.subjects):
        yield Text("The inputs are synthetic: no --data was given.", style="dim")


def _open_bounds(result: Bench) -> Iterator[Text]:
    """Why an interval is open, and what would close it."""
    rows = [row for row in result.rows if row.measured]
    for name, level in LEVELS.items():
        if any(not row.latency_s[name].is_bounded for row in rows):
            yield Text(
                f"{name} is open where the runs bound it on one side only: that takes "
                f"{runs_needed(level)} independent runs, and runs of one process are not "
                "independent. More --time-budget helps.",
                style="dim",
            )


def _within(found: Bounded) -> str:
    return f"[{found.low:.2f}, {found.high:.2f}]" if found.is_bounded else "[…]"


def _label(result: Bench, row: Row) -> str:
    """What tells the row from the others."""
    words = [printable(row.subject.label, 60)] if len(result.plan.subjects) > 1 else []
    if len(result.plan.targets) > 1 or not words:
        words.append(row.target.name)
    return ", ".join(words)


def _warning(text: str) -> Text:
    return Text(text, style="yellow")


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in columns:  # on a narrow screen the names fold, the figures never
        table.add_column(name, no_wrap=name not in ("RAN ON", "OF IT THE MODEL"), overflow="fold")
    return table
