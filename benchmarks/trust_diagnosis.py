"""Planted single-layer faults: how often `modelcheck diagnose` names the right layer.

    python benchmarks/trust_diagnosis.py --out faults.jsonl --count 100
    python benchmarks/trust_diagnosis.py --out faults.jsonl --show

Each fault is one of ten kinds in one layer of a fixture or of a trained model of ../shared; every
second faulty model is then renamed throughout or has its BatchNormalizations folded. A fault
counts where it moves an output by more than 1e-5 of its scale in onnxruntime; the others are
listed as dropped. A layer is right when both the first and the worst layer named hold the faulty
node. A run that was interrupted goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from modelcheck.data import Samples, open_samples
from modelcheck.diagnose import DiagnosisPlan, diagnose
from modelcheck.judge import clopper_pearson
from modelcheck.model import Model, load
from modelcheck.model.static import Static
from modelcheck.process import Workspace
from modelcheck.reference import open_reference
from modelcheck.targets import Target
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import Slot, layer_name, slots
from zoo import zoo

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
TRAINED = (
    "squeezenet_fp16", "winml_cifar_cnn", "mnist_cntk_8", "ultraface_rfb_320", "yunet_n_320",
    "fsanet_1x1", "fastestdet", "yolox_nano", "road_seg_adas_0001", "nanotrack_v2_backbone",
)  # fmt: skip
# Models that take long come in one or two of every six rounds.
ROUNDS = 6
COMES_IN = {
    "fastestdet": (5,), "yolox_nano": (4,), "road_seg_adas_0001": (3,),
    "squeezenet_fp16": (0, 3), "ultraface_rfb_320": (1, 4), "yunet_n_320": (0, 2),
    "fsanet_1x1": (1, 5), "nanotrack_v2_backbone": (2, 5),
}  # fmt: skip
_COUNTS_FROM = 1e-5
_SAMPLES = 2
_DISGUISES = (None, "nodes renamed", None, "BatchNormalization folded")

Random = np.random.Generator
Planted = tuple[Model, str] | None  # the faulty model and the faulty node's name


def _on_rows(change: Callable[[np.ndarray, Random], None]) -> Callable[[Model, Random], Planted]:
    """A fault in the weight of one layer, seen as rows: one for each output channel."""

    def plant(model: Model, random: Random) -> Planted:
        edit = Edit(model)
        found = [s for s in slots(edit.graph) if s.output_axis is not None]
        if not found:
            return None
        slot = found[int(random.integers(len(found)))]
        array = Static(edit.graph, edit.opset).constant(slot.weight)
        assert array is not None
        rows = np.moveaxis(array, slot.output_axis or 0, 0).copy()
        change(rows, random)
        if np.array_equal(rows, np.moveaxis(array, slot.output_axis or 0, 0)):
            return None
        return _with_weight(edit, slot, np.moveaxis(rows, 0, slot.output_axis or 0))

    return plant


def _with_weight(edit: Edit, slot: Slot, array: np.ndarray) -> Planted:
    edit.set_input(slot.node, slot.index, edit.initializer("planted", np.ascontiguousarray(array)))
    return edit.done(), layer_name(slot.node)


def _scale_one(factor: float) -> Callable[[np.ndarray, Random], None]:
    def change(rows: np.ndarray, random: Random) -> None:
        rows[_live(rows, random)] *= factor

    return change


def _live(rows: np.ndarray, random: Random) -> int:
    size = np.abs(rows.reshape(len(rows), -1).astype(np.float64)).sum(axis=1)
    return int(random.choice(np.flatnonzero(size >= np.median(size))))


def _swap_two(rows: np.ndarray, random: Random) -> None:
    if len(rows) > 1:
        a, b = random.choice(len(rows), 2, replace=False)
        rows[[a, b]] = rows[[b, a]]


def _four_bits(rows: np.ndarray, random: Random) -> None:
    step = float(np.abs(rows).max()) / 7 or 1.0
    rows[...] = np.rint(rows / step) * step


def _forgotten_inputs(rows: np.ndarray, random: Random) -> None:
    if rows.ndim > 1:
        rows[:, int(random.integers(rows.shape[1]))] = 0


def _whole(rows: np.ndarray, random: Random) -> None:
    rows *= 1.01


def _bias(model: Model, random: Random) -> Planted:
    edit = Edit(model)
    static = Static(edit.graph, edit.opset)
    found = [
        n for n in edit.graph
        if n.op_type in ("Conv", "Gemm") and len(n.inputs) > 2 and n.inputs[2] is not None
        and static.constant(n.inputs[2]) is not None
    ]  # fmt: skip
    if not found:
        return None
    node = found[int(random.integers(len(found)))]
    bias = static.constant(node.inputs[2])
    assert bias is not None
    edit.set_input(node, 2, edit.initializer("planted", np.roll(bias, 1)))
    return (edit.done(), layer_name(node)) if not np.array_equal(bias, np.roll(bias, 1)) else None


def _padding(model: Model, random: Random) -> Planted:
    edit = Edit(model)
    found = [
        n for n in edit.graph
        if n.op_type in ("Conv", "MaxPool") and any(n.attributes.get_ints("pads", ()))
    ]  # fmt: skip
    if not found:
        return None
    node = found[int(random.integers(len(found)))]
    pads = list(node.attributes.get_ints("pads"))
    begin = next(i for i, p in enumerate(pads) if p)
    other = (begin + len(pads) // 2) % len(pads)
    pads[begin], pads[other] = pads[begin] - 1, pads[other] + 1
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    return Model.freeze(edit.model, name=model.name), layer_name(node)


def _activation(model: Model, random: Random) -> Planted:
    """A Relu becomes a LeakyRelu, a Sigmoid a HardSigmoid."""
    edited = model.edit()
    others = {"Relu": "LeakyRelu", "Sigmoid": "HardSigmoid"}
    found = [n for n in edited.graph if n.op_type in others]
    if not found:
        return None
    node = found[int(random.integers(len(found)))]
    node.op_type = others[node.op_type]
    return Model.freeze(edited, name=model.name), layer_name(node)


KINDS: dict[str, Callable[[Model, Random], Planted]] = {
    "a channel x 1.05": _on_rows(_scale_one(1.05)),
    "a channel x 1.001": _on_rows(_scale_one(1.001)),
    "a channel's sign": _on_rows(_scale_one(-1.0)),
    "two channels swapped": _on_rows(_swap_two),
    "weights in 4 bits": _on_rows(_four_bits),
    "an input channel forgotten": _on_rows(_forgotten_inputs),
    "weights x 1.01": _on_rows(_whole),
    "bias rolled": _bias,
    "padding moved": _padding,
    "another activation": _activation,
}


@dataclass(frozen=True)
class Subject:
    """A model and its samples."""

    name: str
    model: Model
    samples: Samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number, and seed, of the first fault")
    parser.add_argument("--target", default="cpu:new")
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    if not given.show:
        run(given.out, given.count, given.first, Target.parse(given.target))
    show(given.out)


def run(out: Path, count: int, first: int, target: Target) -> None:
    """Plant and diagnose until so many faults counted; one JSON line a fault."""
    done = _read(out)
    with tempfile.TemporaryDirectory() as folder:
        subjects = list(_subjects(Path(folder)))
        number = 1 + max((row["number"] for row in done), default=first - 1)
        counted = sum(not row["dropped"] for row in done)
        while counted < count:
            subject = subjects[number % len(subjects)]
            lap = number // len(subjects) % ROUNDS
            if lap not in COMES_IN.get(subject.name, range(ROUNDS)):
                number += 1
                continue
            # A step of 3 and one of the models' number: every kind meets every model.
            kind = list(KINDS)[(3 * number + number // len(subjects)) % len(KINDS)]
            row = _one(subject, kind, number, target)
            row["number"] = number
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)
            number, counted = number + 1, counted + (not row["dropped"])


def _one(subject: Subject, kind: str, number: int, target: Target) -> dict[str, object]:
    random = np.random.default_rng(number)
    row: dict[str, object] = {"model": subject.name, "kind": kind, "dropped": "", "disguise": None}
    planted = KINDS[kind](subject.model, random)
    if planted is None:
        return {**row, "dropped": "nothing of the kind"}
    faulty, layer = planted
    if _moved(subject, faulty) <= _COUNTS_FROM:
        return {**row, "dropped": "moves no output"}
    disguise = _DISGUISES[number % len(_DISGUISES)]
    if disguise is not None:
        rewrite = next(e.rewrite for e in EQUIVALENTS if e.name == disguise)
        faulty = rewrite(faulty, random) or faulty
    start_s = time.monotonic()
    found = diagnose(
        DiagnosisPlan(subject.model, faulty, subject.samples, target), emit=lambda event: None
    )
    named = [[] if y is None else list(y.part.layers) for y in (found.first, found.worst)]
    return {
        **row,
        "disguise": disguise,
        "planted": layer,
        "first": named[0],
        "worst": named[1],
        "right": layer in named[0] and layer in named[1],
        "parts": len(found.layers),
        "seconds": round(time.monotonic() - start_s, 1),
    }


def _moved(subject: Subject, faulty: Model) -> float:
    """The largest change of an output over its scale, in onnxruntime."""
    answers = []
    for model in (subject.model, faulty):
        with Workspace() as workspace, open_reference(model, workspace) as reference:
            answers.append([reference.run(s.arrays) for s in subject.samples])
    return max(
        float(np.abs(y[n].astype(np.float64) - x[n]).max()) / (float(np.abs(x[n]).max()) or 1.0)
        for x, y in zip(*answers, strict=True)
        for n in x
    )


def _subjects(folder: Path) -> Iterator[Subject]:
    for path in sorted(FIXTURES.glob("*.onnx")):
        model = load(path)
        samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=_SAMPLES)
        yield Subject(path.stem, model, samples)
    for one in zoo():
        if one.name in TRAINED:
            model = one.load()
            yield Subject(one.name, model, one.samples(model.signature, folder, _SAMPLES))


def show(out: Path) -> None:
    rows = _read(out)
    counted = [row for row in rows if not row["dropped"]]
    right = sum(bool(row["right"]) for row in counted)
    low = clopper_pearson(right, len(counted))[0] if counted else 0.0
    print(f"{right} of {len(counted)} right, at least {low:.1%} (95 %); "
          f"{len(rows) - len(counted)} dropped")  # fmt: skip
    for key in ("kind", "model", "disguise"):
        totals = Counter(str(row[key]) for row in counted)
        hits = Counter(str(row[key]) for row in counted if row["right"])
        dropped = Counter(str(row[key]) for row in rows if row["dropped"])
        print(f"\n| {key} | right | dropped |\n|---|---|---|")
        for word in sorted({*totals, *dropped}):
            print(f"| {word} | {hits[word]} of {totals[word]} | {dropped[word]} |")
    for row in counted:
        if not row["right"]:
            print(row)


def _read(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


if __name__ == "__main__":
    main()
