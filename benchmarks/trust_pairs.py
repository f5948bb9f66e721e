"""The models of the trust measurement, with their data, and what is planted in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modelcheck import gate
from modelcheck.data import Samples, open_samples
from modelcheck.errors import ModelcheckError
from modelcheck.model import Model, load
from modelcheck.recipe import DataSettings, Recipe, parse_step
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.testing.faults import FAULTS
from trust_cv2 import traps
from zoo import zoo

FAULT, EQUIVALENT, TRAP = "fault", "equivalent", "cv2 only"
ITSELF = "itself"  # the equivalent that is no rewrite: shows that the original can be judged at all
_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
_DIGITS = ("digits_resnet", "digits_depthwise", "digits_twohead", "digits_mlp", "digits_vit")
_QUANTIZED = ("digits_resnet", "mnist_cntk_8", "winml_cifar_cnn")
_CALIBRATING = 16
_TRAPS = 5  # nets of each trap


@dataclass(frozen=True)
class Pair:
    """One candidate for a subject: a planted fault, an equivalent form or a trap."""

    sort: str
    kind: str
    seed: int
    candidate: Model


@dataclass(frozen=True)
class Subject:
    """One original with the samples that everybody gets, and the engines that run it."""

    name: str
    model: Model
    samples: Samples
    data: Path  # the same samples as an npz
    engines: tuple[str, ...]
    trap: Pair | None = None  # where the net was made for one pair


def subjects(folder: Path, names: Sequence[str], count: int) -> Iterator[Subject]:
    """The fixtures, the models of ../shared/models, some of either quantized, and traps."""
    for name in _DIGITS:
        if not names or name in names:
            data = DataSettings(path=_FIXTURES / "digits_test.npz", count=count)
            yield _subject(name, load(_FIXTURES / f"{name}.onnx"), data, folder, ("new", "classic"))
    for name in _QUANTIZED:
        if not names or f"{name} int8" in names:
            yield _quantized(name, folder, count)
    if not names or TRAP in names:
        yield from _traps(folder, count)
    for found in zoo():
        engines = tuple(e for e in ("new", "classic") if found.expected(e) == "ok")
        if (names and found.name not in names) or not engines:
            continue
        yield _subject(found.name, found.load(), found.data(folder, count), folder, engines)


def pairs(subject: Subject, seeds: Sequence[int]) -> Iterator[Pair]:
    """Everything that can be planted: all kinds, with each seed."""
    if subject.trap is not None:
        yield Pair(EQUIVALENT, ITSELF, 0, subject.model)
        yield subject.trap
        return
    for seed in seeds:
        for number, equivalent in enumerate(EQUIVALENTS):
            if equivalent.name == ITSELF and seed != seeds[0]:
                continue
            random = np.random.default_rng([seed, number])
            made = equivalent.rewrite(subject.model, random)
            if made is not None:
                yield Pair(EQUIVALENT, equivalent.name, seed, made)
        for number, fault in enumerate(FAULTS):
            random = np.random.default_rng([seed, number])
            try:
                made = fault.plant(subject.model, random)
            except ModelcheckError as error:
                print(f"{subject.name}, {fault.name}: {error}", file=sys.stderr)
                continue
            if made is not None and made != subject.model:
                yield Pair(FAULT, fault.name, seed, made)


def _subject(
    name: str, model: Model, data: DataSettings, folder: Path, engines: tuple[str, ...]
) -> Subject:
    """Decodes the samples once: images become arrays that open in no time."""
    path = folder / f"{name.replace(' ', '-').replace('/', '-')}.samples.npz"
    opened = open_samples(
        data.path, model.signature, preprocessing=data.preprocessing, shapes=data.shapes,
        count=data.count,
    )  # fmt: skip
    arrays = [sample.arrays for sample in opened]
    np.savez(path, **{k: np.concatenate([a[k] for a in arrays]) for k in arrays[0]})
    samples = open_samples(path, model.signature, count=data.count)
    return Subject(name, model, samples, path, engines)


def _traps(folder: Path, count: int) -> Iterator[Subject]:
    for trap, seed in traps(_TRAPS):
        original, candidate = trap.models(seed)
        name = f"{trap.name}, {trap.engine}, {seed}"
        data = DataSettings(count=count)
        subject = _subject(name, original, data, folder, (trap.engine,))
        yield replace(subject, trap=Pair(TRAP, trap.name, seed, candidate))


def _quantized(name: str, folder: Path, count: int) -> Subject:
    """An int8 model as the original: what is planted are wrong scales and zero points."""
    if name.startswith("digits"):
        original = load(_FIXTURES / f"{name}.onnx")
        data = DataSettings(path=_FIXTURES / "digits_test.npz", count=count + _CALIBRATING)
    else:
        found = next(model for model in zoo() if model.name == name)
        original, data = found.load(), found.data(folder, count + _CALIBRATING)
    recipe = Recipe(data=data, steps=(parse_step("quantize:form=qdq"),))
    inputs = gate.open_inputs(original, recipe)
    made = gate.make_candidate(original, inputs, recipe).model
    return _subject(f"{name} int8", made, replace(data, count=count), folder, ("new", "classic"))
