"""What tuning found, on a screen and as JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.judge import Outcome, exit_code
from modelcheck.judge.serving import Figure, Gain
from modelcheck.report.document import plain
from modelcheck.report.styles import STYLES, VERDICTS
from modelcheck.tune import MEASURES, Proven, Standing, Tuning, as_dict

_UNMET = {Outcome.FAIL: "misses the limits", Outcome.INCONCLUSIVE: "limits undecided"}
_SHOWN = 4  # settings of one kind that are listed with their reason


def tuning_json(tuning: Tuning) -> dict[str, Any]:
    """Versioned plain values."""
    model = tuning.plan.model
    return {
        "schema": "modelcheck.tuning/1",
        "model": {"name": model.name, "digest": model.digest},
        "data": tuning.plan.samples.origin,
        "seed": tuning.plan.seed,
        "goal": tuning.plan.goal,
        "limits": tuning.plan.limits.describe(),
        "opencv": {place.name: plain(found) for place, found in tuning.opencv.items()},
        "outcome": tuning.outcome.value,
        "exit_code": exit_code(tuning.outcome),
        "message": tuning.message,
        "default": plain(as_dict(tuning, tuning.default)),
        "best": {m: plain(as_dict(tuning, proven)) for m, proven in tuning.best.items()},
        "tried": [
            {
                "name": t.setting.name,
                "setting": plain(t.setting),
                "standing": t.standing.value,
                "why": t.why,
                "latency_gain": plain(t.latency_gain),
                "throughput_gain": plain(t.throughput_gain),
            }
            for t in tuning.tried
        ],
        "rounds": tuning.rounds,
        "workers": tuning.workers,
        "notes": list(tuning.notes),
        "seconds": tuning.seconds,
    }


def print_tuning(tuning: Tuning, console: Console) -> None:
    """The figures of what was proven, and what became of the rest."""
    versions = "".join(f"   OpenCV {v}" for v in {o.version: 0 for o in tuning.opencv.values()})
    ours = metadata.version("modelcheck")
    console.print(Text(f"modelcheck {ours}{versions}   seed {tuning.plan.seed}", style="dim"))
    console.print()
    model, samples = tuning.plan.model, tuning.plan.samples
    facts = Table.grid(padding=(0, 3, 0, 0))
    facts.add_row(Text(printable(model.name), style="bold"), Text(units.short_digest(model.digest)))
    facts.add_row("data", Text(printable(samples.origin)))
    console.print(facts)
    if samples.synthetic:
        text = "SYNTHETIC INPUTS: no --data was given. Outputs are judged on noise."
        console.print(Text(text, style="yellow"))
    console.print()
    console.print(_table(tuning))
    console.print()
    for line in (*_standings(tuning), *tuning.notes):
        console.print(Text(line, style="dim"), soft_wrap=True)


def print_tuning_verdict(tuning: Tuning, console: Console, command: str, fate: str) -> None:
    """'PASSED: throughput 1.31x …', the command, the exit code."""
    console.print()
    sentences = [tuning.message] if tuning.message else list(_sentences(tuning))
    text = " ".join(f"{s[:1].upper()}{s[1:].rstrip('.')}." for s in sentences)
    console.print(
        Text.assemble(
            (VERDICTS[tuning.outcome], STYLES[tuning.outcome]), f": {text} {fate}".rstrip()
        ),
        soft_wrap=True,
    )
    console.print(Text(f"Reproduce: {printable(command, limit=2000)}", style="dim"), soft_wrap=True)
    code = exit_code(tuning.outcome)
    console.print(Text(f"exit {code}   {units.duration(tuning.seconds)}", style="dim"))


def _sentences(tuning: Tuning) -> Iterator[str]:
    """For each measure what is recommended, and by how much it is better."""
    for measure in MEASURES:
        proven = tuning.best.get(measure)
        if proven is None:
            continue
        if tuning.is_default(proven):
            yield f"no setting is provably better than the default in {measure}: keep the default"
        else:
            found = _gain(proven.gain(measure))
            yield f"best {measure} {found} with {proven.setting.name}"


def _table(tuning: Tuning) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("SETTING", overflow="fold")
    for name in ("LATENCY [98 %]", "GAIN [98 %]", "THROUGHPUT [98 %]", "GAIN [98 %]"):
        table.add_column(name, no_wrap=True)
    for role, proven in _rows(tuning):
        table.add_row(
            role,
            proven.setting.name,
            _seconds(proven.latency),
            "–" if tuning.is_default(proven) else _gain(proven.latency_gain),
            _rate(proven.throughput),
            "–" if tuning.is_default(proven) else _gain(proven.throughput_gain),
        )
    return table


def _rows(tuning: Tuning) -> Iterator[tuple[str, Proven]]:
    """The default, what is recommended, and what was measured in vain."""
    for proven in tuning.proven:
        best = [m for m in MEASURES if tuning.best.get(m) is proven]
        words = ["default"] if tuning.is_default(proven) else []
        if best:
            words.append("best" if len(best) == len(MEASURES) else f"best {best[0]}")
        if not proven.right:
            words.append("WRONG")
        if tuning.plan.limits.declared and proven.meets in _UNMET:
            words.append(_UNMET[proven.meets])
        yield ", ".join(words) or "not better", proven


def _standings(tuning: Tuning) -> Iterator[str]:
    """How many settings were tried, and why some are out of the question."""
    counts = {s: sum(t.standing is s for t in tuning.tried) for s in Standing}
    parts = ", ".join(f"{n} {s}" for s, n in counts.items() if n)
    rounds = f"{units.plural(tuning.rounds, 'round')} in {tuning.workers} sets of fresh processes"
    yield f"{units.plural(len(tuning.tried), 'setting')} tried ({parts}); proven by {rounds}"
    for standing in (Standing.WRONG, Standing.UNPROVEN, Standing.CANNOT):
        found = [t for t in tuning.tried if t.standing is standing]
        for t in found[:_SHOWN]:
            yield f"{standing}: {t.setting.name}: {printable(t.why, limit=200)}"
        if len(found) > _SHOWN:
            yield f"{standing}: and {len(found) - _SHOWN} more"


def _seconds(figure: Figure) -> str:
    low, high = (x if 0 < x < math.inf else math.nan for x in (figure.low, figure.high))
    return units.duration_within(figure.value, low, high)


def _rate(figure: Figure) -> str:
    low, high = (_known(units.rate(x), x).removesuffix("/s") for x in (figure.low, figure.high))
    return f"{units.rate(figure.value)} [{low}, {high}]"


def _gain(gain: Gain) -> str:
    low, high = (_known(f"{x:.2f}", x) for x in (gain.low, gain.high))
    return f"{units.ratio(gain.ratio)} [{low}, {high}]"


def _known(text: str, value: float) -> str:
    return text if 0 < value < math.inf else "…"
