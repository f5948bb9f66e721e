"""How often the speed verdict is wrong: live decisions on pairs of nets whose ratio is known.

    python benchmarks/trust_timing.py --calibrate --out timing.json       # on a quiet machine
    python benchmarks/trust_timing.py --runs 300 --truth timing.json --out timing.jsonl
    python benchmarks/trust_timing.py --table --truth timing.json --out timing.jsonl

The original is 20 equal convolutions, the candidate 20, 19, 18 (and so on) of them; between the
two there is nothing but their number. `--calibrate` measures the true ratio of each pair in many
fresh processes in turn, with an interval. The runs then decide `--min-speedup 1.10` through what
`verify` uses (verification.timing, judge.speed), each in fresh workers, while another process
loads the machine in random phases. They append to a file, so that they can be stopped and go on.

The first calls of each run are also scored as others would: by the mean of ten calls of either
model, and by a saved baseline (the original's mean in an earlier run) with a 10 % rule.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from modelcheck.judge import Outcome, clopper_pearson, judge_speed
from modelcheck.judge.quantiles import speedup
from modelcheck.process import ChildLimits
from modelcheck.recipe import TargetSettings
from modelcheck.targets import Target
from modelcheck.verification.lane import Files
from modelcheck.verification.timing import Timer, TimingRequest

BUDGET = 1.10
TARGET = "cpu:new:threads=1"
_SHAPE = (1, 32, 20, 20)
# Convolutions of (original, candidate). A candidate cannot lack 0.05 of 20 layers, so the counts
# differ from pair to pair; the original of each takes about the same time.
PAIRS = {
    "1.00": (21, 21),
    "1.05": (21, 20),
    "1.10": (22, 20),
    "1.15": (23, 20),
    "1.25": (25, 20),
}


@dataclass(frozen=True)
class Run:
    """One live decision."""

    ratio: str
    outcome: str
    calls: int  # of each model until the decision
    seconds: float
    load: bool
    original_s: list[float]  # the first calls, in their order
    candidate_s: list[float]


def main() -> None:
    asked = _arguments()
    if asked.load:
        burn(asked.seed)
    elif asked.table:
        print(table(read_runs(asked.out), json.loads(asked.truth.read_text())))
    elif asked.calibrate:
        asked.out.write_text(json.dumps(calibrate(asked), indent=1) + "\n")
        print(asked.out.read_text())
    else:
        measure(asked)
        if asked.truth is not None:
            print(table(read_runs(asked.out), json.loads(asked.truth.read_text())))


def convolutions(count: int) -> onnx.ModelProto:
    """So many equal 3x3 convolutions, one after the other; seeded, and stable in scale."""
    rng = np.random.default_rng(0)
    channels = _SHAPE[1]
    weights = rng.normal(size=(channels, channels, 3, 3)) / math.sqrt(9 * channels)
    names = ["x", *(f"y{i}" for i in range(1, count)), "y"]
    helper = onnx.helper
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, _SHAPE) for n in ("x", "y")]
    nodes, initializers = [], []
    for i in range(count):  # each has weights of its own: as many bytes as layers
        array = np.roll(weights, i, axis=0).astype(np.float32)
        initializers.append(onnx.numpy_helper.from_array(array, f"w{i}"))
        nodes.append(
            helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], pads=[1, 1, 1, 1])
        )
    graph = helper.make_graph(nodes, "convolutions", value[:1], value[1:], initializers)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def files_of(folder: Path, ratio: str) -> Files:
    """The pair's files, made where they are not yet."""
    paths = [folder / f"{count}.onnx" for count in PAIRS[ratio]]
    for path, count in zip(paths, PAIRS[ratio], strict=True):
        if not path.exists():
            path.write_bytes(convolutions(count).SerializeToString())
    return Files(paths[0], paths[1], ("y",))


def request(files: Files, *, seed: int, required: float | None, budget_s: float) -> TimingRequest:
    """As `verify --min-speedup 1.1 --time-budget 60s` asks for it."""
    sample = np.random.default_rng(seed).normal(size=_SHAPE).astype(np.float32)
    return TimingRequest(
        settings=TargetSettings(Target.parse(TARGET)),
        files=files,
        samples=[{"x": sample}],
        required=required,
        checks=1,
        budget_s=budget_s,
        seed=seed,
        limits=ChildLimits(),
    )


def calibrate(asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The true ratio of each pair: one median of a timing's blocks, over many timings in turn.

    Each timing has four fresh processes of its own, so the medians are independent, and their
    order statistics bound the ratio (judge.quantiles).
    """
    found: dict[str, list[float]] = {ratio: [] for ratio in asked.ratios}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.runs):
            for ratio in random.Random(number).sample(asked.ratios, len(asked.ratios)):
                timer = Timer(
                    request(
                        files_of(Path(folder), ratio), seed=number, required=None, budget_s=60.0
                    )
                )
                for _ in timer.run():
                    pass
                ds = [block.log_ratio for block in timer.blocks]
                found[ratio].append(math.exp(statistics.median(ds)))
                print(f"{number} {ratio} {found[ratio][-1]:.4f}", file=sys.stderr, flush=True)
    result = {}
    for ratio, ratios in found.items():
        bounded = speedup(ratios)
        result[ratio] = {"value": bounded.value, "low": bounded.low, "high": bounded.high,
                         "timings": len(ratios)}  # fmt: skip
    return result


def measure(asked: argparse.Namespace) -> None:
    """Take the pairs in turn until each has its number of runs in the file."""
    done = [run.ratio for run in read_runs(asked.out)] if asked.out.exists() else []
    with tempfile.TemporaryDirectory() as folder, _loaded(asked) as loading:
        for number in range(asked.runs):
            for ratio in asked.ratios:
                if done.count(ratio) > number:
                    continue
                while asked.pause is not None and asked.pause.exists():
                    time.sleep(1.0)
                run = decide(files_of(Path(folder), ratio), ratio, seed=_seed(ratio, number))
                with asked.out.open("a") as file:
                    file.write(json.dumps({**run.__dict__, "load": loading}) + "\n")
                print(f"{number} {ratio} {run.outcome} {run.calls} calls {run.seconds:.2f} s",
                      file=sys.stderr, flush=True)  # fmt: skip


def decide(files: Files, ratio: str, *, seed: int) -> Run:
    """One run: fresh workers, the sequential test, the verdict."""
    begin_s = time.monotonic()
    timer = Timer(request(files, seed=seed, required=BUDGET, budget_s=60.0))
    for _ in timer.run():
        pass
    check = judge_speed(timer.case())
    first = timer.blocks[:10]
    return Run(
        ratio=ratio,
        outcome=check.outcome.value,
        calls=2 * len(timer.blocks),
        seconds=time.monotonic() - begin_s,
        load=False,
        original_s=[t for block in first for t in block.original_s],
        candidate_s=[t for block in first for t in block.candidate_s],
    )


def burn(seed: int) -> None:
    """Sort and multiply in random phases, at work about half of the time, while a parent lives."""
    parent = os.getppid()
    phases = random.Random(seed)
    array = np.random.default_rng(seed).normal(size=(400, 400))
    while os.getppid() == parent:
        until_s = time.monotonic() + phases.expovariate(1 / 0.5)
        while time.monotonic() < until_s:
            np.sort(array @ array, axis=None)
        time.sleep(phases.expovariate(1 / 0.5))


class _loaded:  # noqa: N801
    """The load process, for as long as the runs last."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> bool:
        if not self._asked.quiet:
            command = [sys.executable, __file__, "--load", "--seed", str(self._asked.seed)]
            environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(command, env={**os.environ, **environment})
        return self._process is not None

    def __exit__(self, *args: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def read_runs(path: Path) -> list[Run]:
    return [Run(**json.loads(line)) for line in path.read_text().splitlines() if line.strip()]


def table(runs: Sequence[Run], truth: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: each pair by each rule, and what was wrong over all pairs that have an answer."""
    lines = [
        f"Budget {BUDGET:.2f}x, {len(runs)} runs, {sum(run.load for run in runs)} of them beside "
        "a process that loads the machine.",
        "",
        "| true ratio [95 %] | rule | runs | PASS | FAIL | INCONCLUSIVE | wrong [95 %] "
        "| calls a model: median, p90 | s a run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    wrong: dict[str, list[bool]] = {}
    undecided: list[bool] = []
    for ratio in PAIRS:
        of_pair = [run for run in runs if run.ratio == ratio]
        if not of_pair or ratio not in truth:
            continue
        known = truth[ratio]
        right = right_answer(known)
        for rule, answers in answers_by_rule(of_pair):
            lines.append(_row(known, rule, answers, right, of_pair))
            if right is not None:
                wrong.setdefault(rule, []).extend(_is_wrong(a, right) for a in answers)
        if right is not None:
            undecided += [run.outcome == "INCONCLUSIVE" for run in of_pair]
    lines += ["", "Over all pairs 2 % or more from the budget:", ""]
    for rule, found in wrong.items():
        lines.append(f"- {rule}: {_rate(found)} wrong")
    lines.append(f"- the sequential test: {_rate(undecided)} inconclusive")
    return "\n".join(lines)


def right_answer(known: Mapping[str, float]) -> str | None:
    """None where the pair's interval comes within 2 % of the budget."""
    if known["low"] >= 1.02 * BUDGET:
        return "PASS"
    return "FAIL" if known["high"] <= BUDGET / 1.02 else None


def answers_by_rule(of_pair: Sequence[Run]) -> Iterator[tuple[str, list[str]]]:
    """What each rule says of each run. The baseline was saved by the run before it."""
    yield "**sequential test**", [run.outcome for run in of_pair]
    yield (
        "mean of 10",
        [
            _by_ratio(statistics.mean(run.original_s[:10]) / statistics.mean(run.candidate_s[:10]))
            for run in of_pair
        ],
    )
    yield (
        "mean against a saved baseline, 10 %",
        [
            _by_ratio(
                statistics.mean(saved.original_s[:10]) / statistics.mean(run.candidate_s[:10])
            )
            for saved, run in itertools.pairwise(of_pair)
        ],
    )


def _by_ratio(ratio: float) -> str:
    return "PASS" if ratio >= BUDGET else "FAIL"


def _is_wrong(answer: str, right: str) -> bool:
    return answer in ("PASS", "FAIL") and answer != right


def _row(
    known: Mapping[str, float],
    rule: str,
    answers: Sequence[str],
    right: str | None,
    runs: Sequence[Run],
) -> str:
    counts = [f"{100 * answers.count(o.value) / max(1, len(answers)):.1f} %" for o in Outcome][:3]
    test = rule.startswith("**")
    calls = sorted(run.calls for run in runs)
    p90 = calls[math.ceil(0.9 * len(calls)) - 1]
    cells = [
        f"{known['value']:.3f}x [{known['low']:.3f}, {known['high']:.3f}]", rule,
        str(len(answers)), *counts,
        "–" if right is None else _rate([_is_wrong(a, right) for a in answers]),
        f"{statistics.median(calls):.0f}, {p90}" if test else "10",
        f"{statistics.median(run.seconds for run in runs):.1f}" if test else "–",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _rate(found: Sequence[bool]) -> str:
    """'0 of 1,200, at most 0.25 %': the upper end of the one-sided 95 % interval."""
    if not found:
        return "none to count"
    _, upper = clopper_pearson(sum(found), len(found))
    return f"{sum(found)} of {len(found):,}, at most {100 * upper:.2f} %"


def _seed(ratio: str, number: int) -> int:
    return 1000 * list(PAIRS).index(ratio) + 10_000 * number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--calibrate", action="store_true", help="measure the true ratios")
    mode.add_argument("--table", action="store_true", help="only print the table of --out")
    mode.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=300, help="of each ratio")
    parser.add_argument("--ratios", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--truth", type=Path, help="what --calibrate wrote")
    parser.add_argument("--out", type=Path, default=Path("timing.jsonl"))
    parser.add_argument("--pause", type=Path, help="no run begins while this file exists")
    parser.add_argument("--quiet", action="store_true", help="without the load process")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.table and asked.truth is None:
        parser.error("--table needs --truth: measure it with --calibrate")
    return asked


if __name__ == "__main__":
    main()
