"""What `rewrite` gains on whole trained nets, every layer rewritten, before anything is chosen.

    python benchmarks/bench_rewrite.py [--rules conv1x1-as-matmul] [--models yolox_nano ...]

For each model, rule and engine: how many layers are rewritten, the ratio of the original's time to
the rewritten one's on one thread from one interleaved run (with its 98 % interval), and how far the
two outputs lie apart there, of the scale. A Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelcheck import units
from modelcheck.errors import ModelcheckError
from modelcheck.judge import Comparison, measure_speed
from modelcheck.model import Model
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits
from modelcheck.recipe import TargetSettings
from modelcheck.targets import Target, TargetSession
from modelcheck.transforms import rewrite
from modelcheck.transforms.rewrite import RULES
from modelcheck.verification.lane import Arrays, Files
from modelcheck.verification.timing import Timer, TimingRequest
from zoo import ZooModel, zoo

_ENGINES = ("new", "classic")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=["conv1x1-as-matmul"])
    parser.add_argument("--models", nargs="+", help="names of models.toml; none given: all")
    asked = parser.parse_args()
    print("| model | rule | layers | " + " | ".join(f"{e}: ratio, error" for e in _ENGINES) + " |")
    print("|---|---|---|" + "---|" * len(_ENGINES))
    with tempfile.TemporaryDirectory() as folder:
        for entry in zoo():
            if asked.models is None or entry.name in asked.models:
                for line in rows(entry, asked.rules, Path(folder)):
                    print(line, flush=True)


def rows(entry: ZooModel, rules: list[str], folder: Path) -> Iterator[str]:
    """A line for each rule that finds something to rewrite."""
    original = entry.load()
    arrays = [sample.arrays for sample in entry.samples(original.signature, folder, 4)]
    for rule in rules:
        changed = rewrite(rules=(rule,))(original)
        if changed is original:
            continue
        layers = sum(node.op_type in RULES[rule].operators for node in original.graph) - sum(
            node.op_type in RULES[rule].operators for node in changed.graph
        )
        cells = [measured(original, changed, arrays, engine, folder) for engine in _ENGINES]
        yield f"| {entry.name} | {rule} | {layers or '–'} | {' | '.join(cells)} |"


def measured(
    original: Model, changed: Model, samples: list[Arrays], engine: str, folder: Path
) -> str:
    """'1.21x [1.19, 1.24], 2.0e-06', or why there is no figure."""
    outputs = tuple(spec.name for spec in original.signature.outputs)
    files = Files(folder / "original.onnx", folder / "changed.onnx", outputs)
    write_private(original, files.original)
    assert files.candidate is not None
    write_private(changed, files.candidate)
    target = Target.parse(f"cpu:{engine}:threads=1")
    try:
        error = _difference(files, samples, target)
        request = TimingRequest(
            settings=TargetSettings(target), files=files, samples=samples, required=None,
            checks=0, budget_s=60.0, seed=0, limits=ChildLimits(),
        )  # fmt: skip
        timer = Timer(request)
        for _ in timer.run():
            pass
    except ModelcheckError as refused:
        return f"does not run: {refused.what.splitlines()[0][:60]}"
    speed = measure_speed(timer.case())
    assert speed is not None
    return f"{units.ratio(speed.ratio)} [{speed.low:.2f}, {speed.high:.2f}], {error}"


def _difference(files: Files, samples: list[Arrays], target: Target) -> str:
    comparison = Comparison(files.outputs)
    with TargetSession(target, name="a worker") as session:
        assert files.candidate is not None
        session.load(files.original, files.outputs, key="a")
        session.load(files.candidate, files.outputs, key="b")
        for i, arrays in enumerate(samples):
            before = session.forward(arrays, key="a")
            comparison.update(before, session.forward(arrays, key="b"), i)
    worst = max(output.scale_relative_max for output in comparison.result().outputs)
    return units.scientific(worst)


if __name__ == "__main__":
    main()
