"""Throughput of what `modelcheck tune` recommends against the default, in one interleaved run.

    python benchmarks/bench_tune.py [--time-budget 120s] [MODEL...]

The default is what a program does that sets nothing: engine AUTO, OpenCV's own threads, one net,
one sample a request. Both figures come from tune's own last run, in fresh processes that take
turns; where nothing is provably better the default is recommended, and the ratio is 1. Then the
script that tune writes runs by itself in a process with cv2 and numpy alone.
Goal: at least 1.15x as the geometric mean on two cores, and never below 1.0.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from zoo import ZooModel, available, zoo

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
_MODELS = ("yolox_nano", "squeezenet_fp16")
_VIT = "digits_vit"
_SAMPLES = 16


def main() -> None:
    words = sys.argv[1:]
    budget = "120s"
    if words[:1] == ["--time-budget"]:
        budget, words = words[1], words[2:]
    names = words or [*_MODELS, _VIT]
    ratios = []
    print(f"{'model':18} {'throughput of the default':>26} {'of the best':>12}   gain [98 %]")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            command = _command(name, Path(folder))
            if command is None:
                print(f"{name:18} skipped: ../shared/models is absent")
                continue
            ratios.append(_tune(name, command, Path(folder), budget))
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"geometric mean {mean:.2f}x, lowest {min(ratios):.2f}x (goal: 1.15x, never below 1)")


def _tune(name: str, command: list[str], folder: Path, budget: str) -> float:
    out = folder / f"{name}.toml"
    done = subprocess.run(
        [*command, "--time-budget", budget, "--json", "-o", str(out)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    default, best = found["default"], found["best"]["throughput"]
    ratio, low, high = best["throughput-gain"] if not best["is-default"] else (1.0, 1.0, 1.0)
    print(
        f"{name:18} {default['samples-per-s'][0]:24.1f}/s {best['samples-per-s'][0]:10.1f}/s   "
        f"{ratio:.2f}x [{low:.2f}, {high:.2f}]   {_words(best)}   "
        f"{len(found['tried'])} settings, {found['rounds']} rounds, {found['seconds']:.0f} s"
    )
    latency = found["best"]["latency"]
    ratio_latency, low, high = latency["latency-gain"]
    print(f"{'':18} latency {ratio_latency:.2f}x [{low:.2f}, {high:.2f}]   {_words(latency)}")
    script = subprocess.run(
        [sys.executable, "-I", str(out.with_suffix(".py"))],
        cwd=Path(command[2]).parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    print(f"{'':18} the script by itself: {script.stdout.strip()}", flush=True)
    return float(ratio)


def _words(setting: dict[str, Any]) -> str:
    if setting["is-default"]:
        return "the default"
    threads = setting["threads"] or "own"
    text = (
        f"{setting['engine']}, threads {threads}, nets {setting['nets']}, batch {setting['batch']}"
    )
    return text + "".join(f", no {s}" for s in ("winograd", "fusion") if not setting[s])


def _command(name: str, folder: Path) -> list[str] | None:
    """`modelcheck tune MODEL --data …` for a model of the zoo or a fixture."""
    tool = str(Path(sys.executable).with_name("modelcheck"))
    if name == _VIT:
        data = FIXTURES / "digits_test.npz"
        return [tool, "tune", str(FIXTURES / f"{name}.onnx"), "--data", str(data)]
    if not available():
        return None
    model = next(m for m in zoo() if m.name == name)
    return [tool, "tune", str(model.path), *_data(model, folder)]


def _data(model: ZooModel, folder: Path) -> list[str]:
    settings = model.data(folder, _SAMPLES)
    if settings.path is None:
        return []
    words = ["--data", str(settings.path)]
    how = settings.preprocessing
    if how is None:
        return words
    words += ["--resize", how.resize, "--rgb" if how.rgb else "--bgr", "--layout", how.layout]
    if how.size is not None:
        words += ["--size", "x".join(map(str, how.size))]
    if how.shorter_side is not None:
        words += ["--shorter-side", str(how.shorter_side)]
    for option in ("mean", "std"):
        value = getattr(how, option)
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{option}", ",".join(map(str, values))]
    pad = how.pad_value if isinstance(how.pad_value, (int, float)) else 0.0
    return words + (["--pad-value", str(pad)] if pad else [])


if __name__ == "__main__":
    main()
