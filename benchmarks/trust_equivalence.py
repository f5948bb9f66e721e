"""How often the judge of equivalence is wrong: planted faults and equivalent forms of real models.

    python benchmarks/trust_equivalence.py --out rows.jsonl                  # all; hours
    python benchmarks/trust_equivalence.py --out rows.jsonl --models yolox_nano mnist_cntk_8
    python benchmarks/trust_page.py --rows rows.jsonl --peers peers.jsonl    # the tables

Every pair goes through `verify` with the exact claim, on cpu:new, every fourth on cpu:classic
too (a model that one engine does not run: all on the other). Rows are appended to --out as they
come; pairs whose row is there are not judged again, so an interrupted run goes on where it was,
and several runs may share one file, each with its own models.
A fault counts if float64 says that it moves an output by more than 1e-5 of its scale.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from modelcheck.errors import ModelcheckError
from modelcheck.judge import Outcome
from modelcheck.model.saving import write_private
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import Target
from modelcheck.verification import Plan, Verified, verify
from modelcheck.verification.memory import Memory
from trust_float64 import movement, on_cv2
from trust_pairs import EQUIVALENT, FAULT, ITSELF, Pair, Subject, pairs, subjects
from trust_rows import Row, read_rows
from zoo import available

_CLASSIC_EVERY = 4
_JUDGING = Judging(checks=frozenset({CheckKind.EQUIVALENCE}))


def judged(subject: Subject, pair: Pair, engine: str, memory: Memory) -> tuple[str, str, str]:
    """(outcome, the check that decided, its message) of the exact claim on one engine."""
    target = TargetSettings(Target.parse(f"cpu:{engine}:threads=1"))
    plan = Plan(
        subject.model, pair.candidate, subject.samples, (target,), judging=_JUDGING, memory=memory
    )
    try:
        *_, last = verify(plan)
    except ModelcheckError as error:
        return f"error {error.exit_code}", "", str(error)
    assert isinstance(last, Verified)
    result = last.result
    if result.outcome is Outcome.PASS:
        return result.outcome.value, "", ""
    worst = next(check for check in result.checks if check.outcome is result.outcome)
    return result.outcome.value, worst.kind, worst.message


@dataclass
class Bench:
    """What a run shares: a folder, the child that knows float64, and what is judged already."""

    folder: Path
    float64: Executor
    memory: Memory
    done: set[str]

    def run(self, subject: Subject, seeds: list[int], deadline_s: float) -> Iterator[Row]:
        """Judge every pair of one subject that has no row yet."""
        original = self.folder / "original.onnx"
        candidate = self.folder / "candidate.onnx"
        write_private(subject.model, original)
        refused: set[str] = set()
        for number, pair in enumerate(pairs(subject, seeds)):
            engines = subject.engines if self._on_all(pair, number) else subject.engines[:1]
            keys = {e: _key(subject, pair, e) for e in engines if e not in refused}
            keys = {e: key for e, key in keys.items() if key not in self.done}
            if not keys:
                continue
            if time.monotonic() > deadline_s:
                return
            write_private(pair.candidate, candidate)
            most = None if pair.sort == FAULT else 1
            moved = self.float64.submit(movement, original, candidate, subject.data, most=most)
            for engine, key in keys.items():
                start_s = time.monotonic()
                outcome, check, message = judged(subject, pair, engine, self.memory)
                taken_s = time.monotonic() - start_s
                if pair.kind == ITSELF and outcome != Outcome.PASS:
                    refused.add(engine)  # the original itself cannot be judged there
                alone = None
                if pair.sort == EQUIVALENT and outcome == Outcome.FAIL:
                    asked = (original, candidate, subject.data, engine)
                    alone = self.float64.submit(on_cv2, *asked).result()
                yield Row(
                    key, subject.name, engine, pair.sort, pair.kind, pair.seed, moved.result(),
                    outcome, check, message, round(taken_s, 2), alone,
                )  # fmt: skip

    def _on_all(self, pair: Pair, number: int) -> bool:
        return pair.kind == ITSELF or number % _CLASSIC_EVERY == 0


def _key(subject: Subject, pair: Pair, engine: str) -> str:
    facts = (subject.model.digest, pair.candidate.digest, subject.samples.digest, engine)
    return hashlib.sha256(json.dumps([*facts, pair.kind, pair.seed]).encode()).hexdigest()[:16]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="rows are appended here")
    parser.add_argument("--models", nargs="*", default=[], help="default: all")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--budget-minutes", type=float, default=600.0)
    asked = parser.parse_args()
    if not available():
        print("skipped: ../shared/models is absent")
        return 0
    # In float64 a second thread gains little, and loses much where the cores are busy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    deadline_s = time.monotonic() + 60 * asked.budget_minutes
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as float64,
        asked.out.open("a", encoding="utf-8") as out,
    ):
        memory = Memory(Path(folder) / "memory")
        for subject in subjects(Path(folder), asked.models, asked.samples):
            done = {row.key for row in read_rows(asked.out)}  # others may be writing too
            bench = Bench(Path(folder), float64, memory, done)
            for row in bench.run(subject, asked.seeds, deadline_s):
                out.write(json.dumps(asdict(row)) + "\n")
                out.flush()
                print(_line(row), file=sys.stderr, flush=True)
    return 0


def _line(row: Row) -> str:
    return (
        f"{row.model} {row.engine} | {row.kind} {row.seed} | moved {row.moved:.1e} | {row.outcome} "
        f"{row.check} | {row.seconds:.1f} s"
    )


if __name__ == "__main__":
    raise SystemExit(main())
