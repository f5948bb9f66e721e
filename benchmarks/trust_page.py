"""The tables of the trust measurement, from the rows of trust_equivalence.py and trust_peers.py.

python benchmarks/trust_page.py --rows rows.jsonl --peers peers.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from modelcheck.judge import clopper_pearson
from trust_float64 import COUNTS
from trust_pairs import EQUIVALENT, FAULT, ITSELF, TRAP
from trust_rows import PeerRow, Row, read_peer_rows, read_rows

_CONFIDENCE = 0.95
_BROKEN = 1e-2  # of the scale: a hundred times what any rounding of these nets does


def counted(row: Row) -> bool:
    """A planted fault that shows in float64."""
    return row.sort == FAULT and row.moved > COUNTS


def broken_by_cv2(row: Row) -> bool:
    """An equivalent form that OpenCV, by itself, runs wrongly or dies of: to reject it is right."""
    return row.sort == EQUIVALENT and row.on_cv2 is not None and row.on_cv2 > _BROKEN


def render(rows: Sequence[Row], peers: Sequence[PeerRow] = ()) -> str:
    """Everything: in short, by kind, by model, and every verdict that is wrong, by name."""
    refused = {(r.model, r.engine) for r in rows if r.kind == ITSELF and r.outcome != "PASS"}
    found = [r for r in rows if (r.model, r.engine) not in refused and r.kind != ITSELF]
    judged = [r for r in found if not broken_by_cv2(r)]
    lines = [*_in_short(judged)]
    if peers:
        lines += ["", "## Beside polygraphy and onnxsim", "", *_side_by_side(judged, peers)]
    lines += ["", "## Planted faults by kind", ""]
    lines += _table("fault", judged, FAULT, lambda row: row.kind)
    lines += ["", "## Equivalent forms by kind", ""]
    lines += _table("form", judged, EQUIVALENT, lambda row: row.kind)
    lines += ["", "## By model and engine", ""]
    lines += _by_model(judged)
    wrong = [r for r in judged if (r.sort != FAULT or counted(r)) and not right(r)]
    lines += ["", "## Wrong or undecided, one by one", "", *_one_by_one(wrong)]
    lines += ["", "## Equivalent on paper, broken by OpenCV", ""]
    lines += _one_by_one([r for r in found if broken_by_cv2(r)])
    lines += ["", "## Not judged", "", *_not_judged(rows, refused)]
    return "\n".join(lines) + "\n"


def right(row: Row) -> bool:
    return row.outcome == ("PASS" if row.sort == EQUIVALENT else "FAIL")


def _in_short(rows: Sequence[Row]) -> Iterator[str]:
    planted = [r for r in rows if r.sort == FAULT]
    faults, forms = [r for r in planted if counted(r)], [r for r in rows if r.sort == EQUIVALENT]
    traps = [r for r in rows if r.sort == TRAP]
    yield "| | pairs | models | right | share, lower 95 % bound |"
    yield "|---|---|---|---|---|"
    for name, of in (
        ("equivalent forms accepted", forms),
        ("counted faults rejected", faults),
        ("nets that break only on cv2, rejected", traps),
    ):
        yield f"| {name} | {len(of)} | {len({r.model for r in of})} | {_share(of)} |"
    dropped = len(planted) - len(faults)
    yield ""
    yield (
        f"{len(planted)} faults were planted, of {len({r.kind for r in planted})} kinds; {dropped} "
        f"({dropped / max(1, len(planted)):.1%}) move no output by more than 1e-5 of its scale in "
        "float64 and are not counted."
    )
    distinct = [len({(r.model, r.kind, r.seed) for r in of}) for of in (faults, forms)]
    yield ""
    yield (
        f"A pair judged on both engines counts twice: these are {distinct[0]} distinct faults and "
        f"{distinct[1]} distinct forms."
    )


def _side_by_side(rows: Sequence[Row], peers: Sequence[PeerRow]) -> Iterator[str]:
    """Each pair once, as the worse of our engines saw it, and as each peer did."""
    names = list(dict.fromkeys(p.peer for p in peers))
    said = {(p.peer, p.model, p.kind, p.seed): p.caught for p in peers}
    yield "| | pairs | modelcheck | " + " | ".join(names) + " |"
    yield "|---" * (3 + len(names)) + "|"
    sorts = (
        (FAULT, "counted faults, caught"),
        (TRAP, "nets that break only on cv2, caught"),
        (EQUIVALENT, "equivalent forms, false alarms"),
    )
    for sort, title in sorts:
        of: dict[tuple[str, str, int], bool] = {}
        for r in rows:
            pair = (r.model, r.kind, r.seed)
            asked = all((name, *pair) in said for name in names)
            if r.sort == sort and asked and (sort != FAULT or counted(r)):
                alarm = r.outcome == "FAIL" if sort != EQUIVALENT else r.outcome != "PASS"
                of[pair] = of.get(pair, sort != EQUIVALENT)
                of[pair] = of[pair] and alarm if sort != EQUIVALENT else of[pair] or alarm
        caught = [sum(said[name, *pair] for pair in of) for name in names]
        yield f"| {title} | {len(of)} | {sum(of.values())} | " + " | ".join(map(str, caught)) + " |"


def _share(rows: Sequence[Row]) -> str:
    n, k = len(rows), sum(map(right, rows))
    if not n:
        return "0 | –"
    lower, _ = clopper_pearson(k, n, _CONFIDENCE)
    return f"{k} | {k / n:.2%}, ≥ {lower:.2%}"


def _table(title: str, rows: Sequence[Row], sort: str, by: Callable[[Row], str]) -> Iterator[str]:
    found = [r for r in rows if r.sort == sort]
    verb = "rejected" if sort == FAULT else "accepted"
    yield f"| {title} | planted | not counted | {verb} | passed or failed wrongly | undecided |"
    yield "|---|---|---|---|---|---|"
    for kind in dict.fromkeys(by(r) for r in found):
        of = [r for r in found if by(r) == kind]
        judged = [r for r in of if sort == EQUIVALENT or counted(r)]
        good = sum(map(right, judged))
        wrong = sum(r.outcome in ("PASS", "FAIL") for r in judged) - good
        cells = (len(of), len(of) - len(judged), good, wrong, len(judged) - good - wrong)
        yield f"| {kind} | " + " | ".join(map(str, cells)) + " |"


def _by_model(rows: Sequence[Row]) -> Iterator[str]:
    yield "| model | engine | equivalent forms | accepted | counted faults | rejected |"
    yield "|---|---|---|---|---|---|"
    for model, engine in dict.fromkeys((r.model, r.engine) for r in rows if r.sort != TRAP):
        of = [r for r in rows if (r.model, r.engine) == (model, engine)]
        forms, faults = [r for r in of if r.sort == EQUIVALENT], [r for r in of if counted(r)]
        cells = (len(forms), sum(map(right, forms)), len(faults), sum(map(right, faults)))
        yield f"| {model} | {engine} | " + " | ".join(map(str, cells)) + " |"


def _one_by_one(rows: Sequence[Row]) -> Iterator[str]:
    for r in rows:
        message = " ".join(r.message.split())[:300]
        yield (
            f"- {r.model}, {r.engine}: {r.kind} (seed {r.seed}, moved {r.moved:.1e}): "
            f"{r.outcome}. {message}"
        )
    if not rows:
        yield "None."


def _not_judged(rows: Sequence[Row], refused: set[tuple[str, str]]) -> Iterator[str]:
    for row in rows:
        if row.kind == ITSELF and (row.model, row.engine) in refused:
            message = " ".join(row.message.split())[:300]
            yield f"- {row.model}, {row.engine}: the original itself is {row.outcome}. {message}"
    if not refused:
        yield "None."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, nargs="+", required=True)
    parser.add_argument("--peers", type=Path, nargs="*", default=[])
    asked = parser.parse_args()
    rows = {row.key: row for path in asked.rows for row in read_rows(path)}
    peers = [row for path in asked.peers for row in read_peer_rows(path)]
    print(render(list(rows.values()), peers), end="")


if __name__ == "__main__":
    main()
