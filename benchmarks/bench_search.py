"""What `modelcheck search` gains on trained nets, over the original on its fastest engine.

    python benchmarks/bench_search.py [MODEL...] [--target cpu:threads=1] [--max-time 100] [--exact]
                                      [--rows build/search/rows.jsonl]

Without names: the ten nets that today's tools were measured on. One search each, a Markdown row
each: the original on its engines, the exact form and the best one by the race of all contenders
(point estimates, so that everything is scored alike), what was chosen, and the gate's own figure.
Figures are of one interleaved race; a search measures by itself, so nothing else may run. --rows
writes a line of JSON a net, too, and what passed the gate beside it, for benchmarks/peers.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import Peak
from modelcheck import units
from modelcheck.data import split_in_three
from modelcheck.errors import ModelcheckError
from modelcheck.model.saving import save
from modelcheck.recipe import TargetSettings
from modelcheck.searching import Contender, Searched, SearchPlan, search_events
from modelcheck.targets import Target
from modelcheck.transforms import Claim
from zoo import ZooModel, available, zoo

TEN = (
    "squeezenet_fp16", "winml_cifar_cnn", "mnist_cntk_8", "yolox_nano", "ultraface_rfb_320",
    "yunet_n_320", "ppocrv3_det_ch", "person_reid_0288", "super_resolution_subpixel", "prisma_seg",
)  # fmt: skip
_SAMPLES = 60
_HEAD = "| net | original | exact | best | what | gate |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=TEN, help="names of models.toml")
    parser.add_argument("--target", default="cpu:threads=1")
    parser.add_argument("--max-time", type=float, default=100.0, help="seconds a net")
    parser.add_argument("--exact", action="store_true", help="no int8")
    parser.add_argument("--rows", type=Path, help="append what was found to this file, too")
    asked = parser.parse_args()
    if not available():
        print("skipped: ../shared/models is absent")
        return 0
    print(_HEAD, "|---" * 6 + "|", sep="\n")
    exact, best = [], []
    for model in zoo():
        if model.name not in asked.names:
            continue
        peak = Peak(os.getpid())
        try:
            found = _searched(model, Target.parse(asked.target), asked.max_time, asked.exact)
        except ModelcheckError as error:
            print(f"| {model.name} | {str(error).splitlines()[0]} | | | | |", flush=True)
            continue
        finally:
            peak.stop()
        holding = [c for c in found.contenders if c.holds]
        exact.append(_gain([c for c in holding if c.claim is Claim.EXACT]))
        best.append(_gain(holding))
        row = _row(model.name, found, holding)
        print(f"| {' | '.join(row)} |", flush=True)
        if asked.rows is not None:
            _keep(asked.rows.absolute(), model.name, row, found, peak.bytes)
    print()
    print(f"Geometric mean: exact {_mean(exact)}, best {_mean(best)}, of {len(best)} nets.")
    return 0


def _searched(model: ZooModel, target: Target, seconds: float, exact: bool) -> Searched:
    loaded = model.load()
    with tempfile.TemporaryDirectory() as folder:
        samples = model.samples(loaded.signature, Path(folder), _SAMPLES)
        lossy = not exact and not samples.synthetic
        plan = SearchPlan(
            loaded, split_in_three(samples, None, calibrate=lossy), TargetSettings(target),
            claim=Claim.LOSSY if lossy else Claim.EXACT, time_budget_s=seconds,
        )  # fmt: skip
        *_, last = search_events(plan)
    assert isinstance(last, Searched)
    return last


def _gain(contenders: Sequence[Contender]) -> float:
    """Of the fastest; where nothing is faster, the original is the answer."""
    return max([1.0, *(c.gain.ratio for c in contenders)])


def _keep(path: Path, name: str, row: Sequence[str], found: Searched, peak_bytes: int) -> None:
    """A line with the row's cells and what the search cost, and a file of what passed."""
    kept = {
        "model": name, "cells": list(row), "seconds": found.seconds, "peak_bytes": peak_bytes,
        "max_time": found.plan.time_budget_s, "target": found.plan.settings.target.name,
        "opencv": found.opencv.version, "file": "",
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    if found.best is not None:
        kept["file"] = f"{name}.onnx"
        save(found.best.made.model, path.with_name(f"{name}.onnx"))
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(kept) + "\n")


def _row(name: str, found: Searched, holding: Sequence[Contender]) -> list[str]:
    original = ", ".join(
        f"{units.duration(seconds)} {engine}" for engine, seconds in found.original.items()
    )
    fastest = max(holding, key=lambda c: c.gain.ratio, default=None)
    wins = fastest is not None and fastest.gain.ratio > 1.0
    what = f"{fastest.name} on {fastest.target.engine}" if fastest and wins else "the original"
    gate = "–"
    if found.judged:
        verdict = (found.best or found.judged[-1]).verification
        speed = verdict.targets[0].speed
        figures = "" if speed is None else f" {units.ratio(speed.ratio)} [{speed.low:.2f}, "
        gate = f"{verdict.outcome.value}{figures}" + ("" if speed is None else f"{speed.high:.2f}]")
    exact = _gain([c for c in holding if c.claim is Claim.EXACT])
    return [name, original, units.ratio(exact), units.ratio(_gain(holding)), what, gate]


def _mean(gains: Sequence[float]) -> str:
    if not gains:
        return "–"
    return units.ratio(math.exp(sum(map(math.log, gains)) / len(gains)))


if __name__ == "__main__":
    raise SystemExit(main())
