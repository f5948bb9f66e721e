"""The pairs of trust_equivalence.py, given to polygraphy and to onnxsim's check.

    python benchmarks/trust_peers.py --rows rows.jsonl --out peers.jsonl --environments FOLDER

Makes an environment for each peer in FOLDER if it is not there (pip install), and asks both of
every counted fault and every equivalent form among the rows, or of a seeded draw of --most each.
Pairs are made again from model, kind and seed; what --out holds already is not asked again.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from modelcheck.model.saving import write_private
from trust_page import counted
from trust_pairs import EQUIVALENT, FAULT, ITSELF, TRAP, Pair, Subject, pairs, subjects
from trust_rows import PeerRow, Row, read_peer_rows, read_rows

PEERS = {
    "polygraphy": ("polygraphy", "onnx", "onnxruntime"),
    "onnxsim": ("onnxsim", "onnx", "onnxruntime"),
}
_HERE = Path(__file__).resolve().parent


@dataclass
class Peer:
    """A peer's process, in its own environment."""

    name: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, name: str, environments: Path) -> Self:
        folder = environments / name
        python = folder / "bin" / "python"
        if not python.exists():
            venv.create(folder, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[name]], check=True)
        script = _HERE / f"peer_{name}.py"
        process = subprocess.Popen(
            [python, script], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return cls(name, process)

    def differ(
        self, original: Path, candidate: Path, shapes: dict[str, tuple[int, ...]]
    ) -> tuple[bool, str]:
        """Whether the peer says that the two differ, and what ailed it if it could not tell."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"original": str(original), "candidate": str(candidate), "shapes": shapes}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} died")
        found = json.loads(answer)
        return bool(found["caught"]), str(found["why"])


def asked_pairs(rows: list[Row], most: int | None, seed: int) -> set[tuple[str, str, int]]:
    """(model, kind, seed) of what the peers are asked: a seeded draw of each sort."""
    found: set[tuple[str, str, int]] = set()
    for sort in (FAULT, EQUIVALENT, TRAP):
        wanted = sorted({
            (r.model, r.kind, r.seed) for r in rows
            if r.sort == sort and r.kind != ITSELF and (sort != FAULT or counted(r))
        })  # fmt: skip
        random.Random(seed).shuffle(wanted)
        found.update(wanted[:most])
    return found


def ask(
    subject: Subject, wanted: list[Pair], peers: list[Peer], folder: Path, done: set[str]
) -> Iterator[PeerRow]:
    """Every peer's word on every pair of one subject."""
    original, candidate = folder / "original.onnx", folder / "candidate.onnx"
    write_private(subject.model, original)
    first = next(iter(subject.samples)).arrays
    shapes = {name: array.shape for name, array in first.items()}
    for pair in wanted:
        write_private(pair.candidate, candidate)
        for peer in peers:
            row = PeerRow(peer.name, subject.name, pair.sort, pair.kind, pair.seed, False, "")
            if row.key in done:
                continue
            caught, why = peer.differ(original, candidate, shapes)
            yield PeerRow(**{**asdict(row), "caught": caught, "why": why})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--most", type=int, help="so many of each sort; default: all")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rows = [row for path in asked.rows for row in read_rows(path)]
    wanted = asked_pairs(rows, asked.most, asked.seed)
    names, seeds = sorted({m for m, _, _ in wanted} | {TRAP}), sorted({s for _, _, s in wanted})
    done = {row.key for row in read_peer_rows(asked.out)}
    peers = [Peer.start(name, asked.environments) for name in PEERS]
    with tempfile.TemporaryDirectory() as folder, asked.out.open("a", encoding="utf-8") as out:
        for subject in subjects(Path(folder), names, 4):
            of_subject = [
                p for p in pairs(subject, seeds) if (subject.name, p.kind, p.seed) in wanted
            ]
            for row in ask(subject, of_subject, peers, Path(folder), done):
                out.write(json.dumps(asdict(row)) + "\n")
                out.flush()
                verdict = "differ" if row.caught else "same"
                print(
                    f"{row.peer}: {row.model} | {row.kind} | {verdict} {row.why}", file=sys.stderr
                )
    for peer in peers:
        peer.process.communicate()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
