"""What other tools achieve on cv2, beside what `modelcheck search` finds: load, right, fast.

    python benchmarks/bench_search.py --max-time 140 --rows build/search/rows.jsonl
    python benchmarks/peers.py --opencv414 PYTHON --ours build/search/rows.jsonl --page

Each peer transforms each model in an environment of its own (made with pip, pinned), under a limit
of time and memory; each file is judged and raced on both engines of OpenCV 5.0 and on 4.14, all
files of a model in one interleaved race. What a peer refuses, dies of or does not finish is a row
with the reason. Rows go to --rows as they come, and what is there is not measured again. --page
writes docs/peers.md. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench_search import TEN
from modelcheck import units
from modelcheck.errors import ModelcheckError
from modelcheck.model import Model
from modelcheck.process.machine import processor
from modelcheck.searching.stopwatch import NotRun, Times
from peers_page import render
from peers_rows import (
    NET_QUANTIZE,
    ORIGINAL,
    OURS,
    Judged,
    Machine,
    Made,
    Outcome,
    Raced,
    Rows,
    read_json_lines,
)
from peers_tools import PEERS
from peers_transform import (
    Allowed,
    Ended,
    Environments,
    digest_of,
    recipe_of,
    run_limited,
    transform,
)
from peers_trial import OPENCV414, Subject, Trial, gain_over, write_samples
from zoo import ZooModel, available, zoo

ROOT = Path(__file__).resolve().parents[1]
_PAGE = ROOT / "docs" / "peers.md"
_THREADS = (1, 2)
_NET_SCRIPT = Path(__file__).with_name("peers_opencv414.py")
_ROUNDS = 40
_MIB = 1 << 20
_NO_FIGURES = (float("nan"), float("nan"), float("nan"))  # seconds, ratio, error
_SAMPLES = 60


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    peers: Sequence[str]
    samples: int
    opencv414: str | None
    ours: Path | None
    folder: Path
    environments: Environments
    allowed: Allowed
    race_s: float


@dataclass(frozen=True)
class Comparison:
    """One model, measured step by step into the rows."""

    subject: Subject
    trial: Trial
    asked: Asked
    rows: Rows
    scratch: Path

    def run(self) -> None:
        made = list(self._candidates())
        running: dict[tuple[str, str], tuple[Model, Judged]] = {}
        for row, path in made:
            running |= self._judge(row, path)
        for columns in self._by_opencv():
            entrants = {key: one for key, one in running.items() if key[1] in columns}
            for threads in _THREADS:
                self._race(entrants, threads)
        if self.asked.opencv414 is not None and NET_QUANTIZE in self.asked.peers:
            self._net_quantize(self.asked.opencv414)

    def _by_opencv(self) -> list[list[str]]:
        five = [c for c in self.trial.columns if c != OPENCV414]
        return [five, [c for c in self.trial.columns if c == OPENCV414]]

    def _candidates(self) -> Iterator[tuple[Made, Path]]:
        """The original, ours, and what the peers make: all that are there as files."""
        yield self._taken(ORIGINAL, self.subject.as_it_is, {})
        known = {row["model"]: row for row in read_json_lines(self.asked.ours)}
        found = known.get(self.subject.name)
        if self.asked.ours is not None and found is not None and found["file"]:
            yield self._taken(OURS, self.asked.ours.parent / str(found["file"]), found)
        for peer in self.asked.peers:
            if peer != NET_QUANTIZE:
                row, path = self._made(peer)
                if row.outcome is Outcome.MADE:
                    yield row, path

    def _taken(self, name: str, path: Path, cost: dict[str, object]) -> tuple[Made, Path]:
        """A file that nobody has to make."""
        row = Made(
            self.subject.name, name, self.asked.samples, "", Outcome.MADE, "",
            float(str(cost.get("seconds", 0))), int(str(cost.get("peak_bytes", 0))),
            digest_of(path),
        )  # fmt: skip
        if self.rows.get(row) != row:
            self.rows.add(row)
        return row, path

    def _made(self, peer: str) -> tuple[Made, Path]:
        path = self.asked.folder / "files" / self.subject.name / f"{peer}.onnx"
        packages = recipe_of(peer)
        row = Made(self.subject.name, peer, self.asked.samples, packages, Outcome.REFUSED)
        known = self.rows.get(row)
        if known is not None and known.packages == packages:
            if known.outcome is not Outcome.MADE:
                return known, path
            if path.exists() and digest_of(path) == known.digest:
                return known, path
        path.parent.mkdir(parents=True, exist_ok=True)
        out = self.scratch / "made.onnx"
        out.unlink(missing_ok=True)
        ended = transform(
            peer, self.subject.in_float32, self.subject.calibration, out, self.asked.environments,
            self.asked.allowed,
        )  # fmt: skip
        made = ended.outcome is Outcome.MADE
        row = _with(row, ended, digest_of(out) if made else "")
        if made:
            shutil.move(out, path)
        self.rows.add(row)
        _say(row, f"{row.outcome} {row.reason}")
        return row, path

    def _judge(self, made: Made, path: Path) -> dict[tuple[str, str], tuple[Model, Judged]]:
        """The candidate with its row on each engine that runs it."""
        model = self.trial.read(path)
        found = {}
        for column in self.trial.columns:
            row = Judged(made.model, made.peer, made.samples, made.digest, column, False)
            known = self.rows.get(row)
            if known is None or known.digest != made.digest:
                if isinstance(model, str):
                    known = Judged(**{**asdict(row), "reason": model})
                else:
                    known = self._judged(row, model)
                self.rows.add(known)
                what = "does not run: " + known.reason if not known.runs else _rightness(known)
                _say(known, f"on {column}: {what}")
            if known.runs and not isinstance(model, str):
                found[made.peer, column] = (model, known)
        return found

    def _judged(self, row: Judged, model: Model) -> Judged:
        verdict = self.trial.judge(model, row.column)
        judged = len(self.trial.expected.samples)
        return Judged(**{**asdict(row), **asdict(verdict), "judged": judged})

    def _race(self, entrants: dict[tuple[str, str], tuple[Model, Judged]], threads: int) -> None:
        """All that run, unless every one of them was in such a race before."""
        blank = {
            key: Raced(j.model, j.peer, j.samples, j.digest, j.column, threads, *_NO_FIGURES)
            for key, (_, j) in entrants.items()
        }
        known = {key: self.rows.get(row) for key, row in blank.items()}
        if all(k is not None and k.digest == blank[key].digest for key, k in known.items()):
            return
        models = {key: model for key, (model, _) in entrants.items()}
        found = self.trial.race(models, threads, self.asked.race_s)
        original = min(
            (
                t for (peer, column), t in found.items()
                if peer == ORIGINAL and isinstance(t, Times) and entrants[peer, column][1].right
            ),
            key=lambda t: t.median_s, default=None,
        )  # fmt: skip
        for key, row in blank.items():
            raced = _raced(row, found[key], original)
            self.rows.add(raced)
            _say(
                raced,
                f"on {row.column}, {units.plural(threads, 'thread')}: {units.ratio(raced.ratio)}",
            )

    def _net_quantize(self, python: str) -> None:
        """OpenCV 4's own quantizer: no file, so it is judged and timed where it is made."""
        script = f"{_NET_SCRIPT.name} {digest_of(_NET_SCRIPT)}"
        row = Made(self.subject.name, NET_QUANTIZE, self.asked.samples, script, Outcome.REFUSED)
        known = self.rows.get(row)
        if known is not None and known.packages == script:
            return
        judged, out = self.scratch / "judged.npz", self.scratch / "outputs.npz"
        write_samples(self.trial.expected.samples, judged)
        model, calibration = self.subject.as_it_is, self.subject.calibration

        def run(*words: object) -> Ended:
            command = [python, str(_NET_SCRIPT), *map(str, words)]
            return run_limited(command, self.scratch, self.asked.allowed)

        cost = run("quantize", model, calibration)
        rest = cost
        if cost.outcome is Outcome.MADE:
            rest = run("run", model, calibration, judged, out, _ROUNDS, self.asked.race_s / 4)
        made = _with(row, cost, "")
        if rest.outcome is Outcome.MADE:
            self._of_net(made, out)
        elif cost.outcome is Outcome.MADE:
            blank = Judged(row.model, row.peer, row.samples, "", OPENCV414, False, rest.reason)
            self.rows.add(blank)
        self.rows.add(made)  # the last one: an interrupted trial is begun again
        _say(made, f"{made.outcome} {made.reason or rest.reason}")

    def _of_net(self, made: Made, path: Path) -> None:
        with np.load(path) as stored:
            arrays = dict(stored)
        names = [spec.name for spec in self.subject.original.signature.outputs]
        count = len(self.trial.expected.samples)
        outputs = [{name: arrays[f"{i}:{name}"] for name in names} for i in range(count)]
        verdict = self.trial.verdict_on(outputs, OPENCV414)
        place = (made.model, made.peer, made.samples, "", OPENCV414)
        used = int(arrays["calibrated"])
        judged = Judged(*place, **{**asdict(verdict), "judged": count})
        if used == 1:
            judged = Judged(**{**asdict(judged), "reason": "calibrated with one image: no batch"})
        self.rows.add(judged)
        for threads in _THREADS:
            times, original = (
                Times(tuple(map(float, arrays[f"{key} {threads}"])))
                for key in ("quantized", "original")
            )
            blank = Raced(*place, threads, *_NO_FIGURES)
            self.rows.add(_raced(blank, times, original))


def _raced(row: Raced, times: Times | NotRun, original: Times | None) -> Raced:
    gain = gain_over(times, original)
    seconds = times.median_s if isinstance(times, Times) else float("nan")
    reason = times.reason.splitlines()[0] if isinstance(times, NotRun) else ""
    figures = {"seconds": seconds, "ratio": gain.ratio, "error": gain.error, "reason": reason}
    return Raced(**{**asdict(row), **figures})


def _with(row: Made, ended: Ended, digest: str) -> Made:
    return Made(**{**asdict(row), **asdict(ended), "digest": digest})


def _rightness(row: Judged) -> str:
    told = units.decibels(row.db)
    if row.agreement is not None:
        told = f"{units.percent(row.agreement)}, {told}"
    return f"{'right' if row.right else 'wrong'}, {told}"


def _say(row: Made | Judged | Raced, text: str) -> None:
    print(f"{row.model} | {row.peer} | {text.strip()}", file=sys.stderr, flush=True)


def compare(entry: ZooModel, asked: Asked, rows: Rows) -> None:
    """Everything of one model."""
    with tempfile.TemporaryDirectory() as scratch:
        subject = Subject.of(entry, Path(scratch), asked.samples)
        with Trial(subject, asked.opencv414) as trial:
            limits = (asked.allowed.seconds, asked.allowed.memory_bytes)
            machine = Machine(processor(), os.cpu_count() or 1, trial.opencv(), *limits)
            if rows.get(machine) != machine:
                rows.add(machine)
            Comparison(subject, trial, asked, rows, Path(scratch)).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=TEN, help="names of models.toml")
    parser.add_argument("--all", action="store_true", help="every model with images")
    parser.add_argument("--peers", nargs="+", choices=[*PEERS, NET_QUANTIZE])
    parser.add_argument(
        "--samples", type=int, default=_SAMPLES, help="as bench_search.py takes them"
    )
    parser.add_argument("--opencv414", help="an interpreter with OpenCV 4.14")
    parser.add_argument("--ours", type=Path, help="rows of bench_search.py, its files beside them")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--rows", type=Path, help="default: rows.jsonl in --folder")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds a transform")
    parser.add_argument("--memory", type=int, default=12 * 1024, help="MiB a transform")
    parser.add_argument(
        "--race", type=float, default=15.0, help="seconds a race; 5 rounds at least"
    )
    parser.add_argument("--page", action="store_true", help="write docs/peers.md")
    parser.add_argument("--only-page", action="store_true", help="and measure nothing")
    given = parser.parse_args()
    if not available():
        print("skipped: ../shared/models is absent")
        return 0
    asked = Asked(
        given.peers or [*PEERS, NET_QUANTIZE], given.samples, given.opencv414,
        None if given.ours is None else given.ours.absolute(), given.folder.absolute(),
        Environments(given.folder.absolute() / "environments"),
        Allowed(given.timeout, given.memory * _MIB), given.race,
    )  # fmt: skip
    rows = Rows(given.rows or asked.folder / "rows.jsonl")
    wanted = [m for m in zoo() if (given.all and "data" in m.facts) or m.name in given.models]
    for entry in [] if given.only_page else wanted:
        try:
            compare(entry, asked, rows)
        except ModelcheckError as error:  # no reference, or too few images: nothing to compare
            print(f"{entry.name}: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
    if given.page or given.only_page:
        names = [m.name for m in wanted]
        ours = list(read_json_lines(asked.ours))
        text = render(rows, names, given.samples, ours, _command(given))
        _PAGE.write_text(text, encoding="utf-8")
        print(f"wrote docs/{_PAGE.name}")
    return 0


def _command(given: argparse.Namespace) -> str:
    """The command for this page, without this machine's paths."""
    words = ["python benchmarks/peers.py --opencv414 PYTHON --ours build/search/rows.jsonl --page"]
    if given.all:
        words.append("--all")
    elif tuple(given.models) != TEN:
        words += ["--models", *given.models]
    if given.samples != _SAMPLES:
        words.append(f"--samples {given.samples}")
    return " ".join(words)


if __name__ == "__main__":
    raise SystemExit(main())
