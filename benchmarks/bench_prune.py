"""prune-weights on a generated 1 GB model, against reading and writing the same bytes.

    python benchmarks/bench_prune.py [--mib 1024]

Once as a single file, once with external data. Goals: at most 2x the time of a plain
read-and-write; peak memory at most 2.2x the file, and 1.2x with external data.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from measure import Cost, cost_of, interleaved, report
from modelcheck import units
from modelcheck.model import Model, save

_LAYERS = 16
# As durable as what it is compared with: the file is on the disk before it takes its name.
_COPY = """
import os, sys
pairs = list(zip(sys.argv[1::2], sys.argv[2::2]))
for source, out in pairs:
    data = open(source, "rb").read()
    with open(out + ".part", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(out + ".part", out)
"""


def generate(path: Path, mib: int, *, external: bool) -> int:
    """A chain of square MatMuls of that size in all; returns the bytes of its weights."""
    side = int((mib * 2**20 / 4 / _LAYERS) ** 0.5)
    rng = np.random.default_rng(0)
    weights, nodes, name = [], [], "x"
    for i in range(_LAYERS):
        values = rng.standard_normal((side, side), dtype=np.float32)
        weights.append(
            helper.make_tensor(f"w{i}", TensorProto.FLOAT, values.shape, values.tobytes(), raw=True)
        )
        nodes.append(helper.make_node("MatMul", [name, f"w{i}"], [f"y{i}"]))
        name = f"y{i}"
    graph = helper.make_graph(
        nodes, "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, side])],
        initializer=weights,
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(Model.from_proto(proto), path, external_data=external)
    return side * side * 4 * _LAYERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--generate", type=Path, help="only write the model")
    parser.add_argument("--external", action="store_true")
    asked = parser.parse_args()
    if asked.generate:
        generate(asked.generate, asked.mib, external=asked.external)
        return
    tool = str(Path(sys.executable).with_name("modelcheck"))
    for external in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            _compare(tool, Path(folder), asked.mib, external=external)


def _compare(tool: str, folder: Path, mib: int, *, external: bool) -> None:
    model = folder / "large.onnx"
    # In a process of its own, so that this one stays small.
    cost_of([sys.executable, __file__, "--generate", str(model), "--mib", str(mib),
             *(["--external"] if external else [])])  # fmt: skip
    files = [p for p in folder.iterdir() if p.is_file()]
    n_bytes = sum(p.stat().st_size for p in files)
    out = folder / "out"
    out.mkdir()
    copy = [sys.executable, "-c", _COPY]
    for file in files:
        copy += [str(file), str(out / f"copy-{file.name}")]
    ours = [
        tool, "apply", str(model), "-t", "prune-weights:amount=0.5", "--force", "--quiet",
        "-o", str(out / "pruned.onnx"),
    ]  # fmt: skip

    def fresh(command: list[str]) -> Cost:
        for old in out.iterdir():
            old.unlink()
        return cost_of(command)

    costs = interleaved(
        {"prune-weights": lambda: fresh(ours), "read and write": lambda: fresh(copy)}, rounds=3
    )
    kind = "external data" if external else "one file"
    report(f"prune-weights, {units.size(n_bytes)}, {kind} (goal: 2x the time)", costs,
           of="prune-weights", to="read and write")  # fmt: skip
    peak = max(c.peak_bytes for c in costs["prune-weights"])
    goal = 1.2 if external else 2.2
    print(f"  peak memory {peak / n_bytes:.2f}x the file (goal: {goal}x)")


if __name__ == "__main__":
    main()
