"""The error of each part by itself, and what it does to the outputs.

Each part is fed with what the original computes before it in float32, so that no error of another
layer reaches it:

    own        candidate's part on the target   against the original in float32
    transform  candidate's part in onnxruntime  against the original in float32
    target     original's part on the target    against the original in float32
    reached    the whole candidate on the target, up to here, against the same

The effect of a part is found by adding its own error, and no other, to that tensor inside the
float32 original:  effect = max over outputs of  sum (y' - y)^2 / sum y^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from modelcheck.diagnose.bench import Answers, Arrays, NotRun
from modelcheck.diagnose.evidence import LayerEvidence, Origin, Part, noise_of, sqnr_of
from modelcheck.diagnose.study import Study
from modelcheck.judge.comparison import OutputComparison, OutputEvidence
from modelcheck.model import Model
from modelcheck.model.float32 import as_float32
from modelcheck.verification.equivalence import aligned

# An error is of that origin which makes at least this share of it.
_SHARE = 0.25
# Two forms of a layer in one engine, onnxruntime, round more alike than two engines do: 130 dB.
_WITHIN_ONE_ENGINE_DB = 15.0


def measure_parts(
    study: Study, *, rounding_db: float, done: Callable[[int], None]
) -> list[LayerEvidence]:
    """Every part by itself, in the candidate's order."""
    found: list[LayerEvidence] = []
    for piece in study.in_pieces(study.parts):
        values = study.reference_values(sorted({n for p in piece for n in (p.output, *p.inputs)}))
        reached = _reached(study, piece, values)
        for part in piece:
            found.append(_measure(study, part, values, reached.get(part.output), rounding_db))
            done(len(found))
    return found


def compare(name: str, expected: Sequence[np.ndarray], answers: Answers) -> OutputEvidence | None:
    """A part's answers with what they should be; None where it did not run."""
    if isinstance(answers, NotRun):
        return None
    comparison = OutputComparison(name)
    for i, (value, answer) in enumerate(zip(expected, answers, strict=True)):
        comparison.update(value, aligned({"y": answer["output_0"]}, {"y": value})["y"], i)
    return comparison.result()


def effects_of(
    study: Study, parts: Sequence[Part], run: Callable[[Part, list[dict[str, np.ndarray]]], Answers]
) -> dict[int, float]:
    """The effect of each part on the outputs; `run` gives a part's answers to its feeds."""
    effects: dict[int, float] = {}
    for piece in study.in_pieces(parts):
        values = study.reference_values(sorted({n for p in piece for n in (p.output, *p.inputs)}))
        deltas = {part.index: _deltas(study, part, values, run) for part in piece}
        open_parts = [p for p in piece if deltas[p.index]]
        if not open_parts:
            continue
        model = _with_additions(study.original.model, [p.output for p in open_parts])
        nothing = {f"add_{i}": np.zeros((), np.float32) for i in range(len(open_parts))}
        with study.bench.loaded(model):
            base = [study.bench.run({**s, **nothing}) for s in study.samples]
            for i, part in enumerate(open_parts):
                changed = (
                    study.bench.run({**s, **nothing, f"add_{i}": delta})
                    for s, delta in zip(study.samples, deltas[part.index], strict=True)
                )
                effects[part.index] = relative_noise(base, changed)
    return effects


def relative_noise(expected: Iterable[Arrays], actual: Iterable[Arrays]) -> float:
    """Noise over signal of the worst output, pooled over the samples; against 1 for all zeros."""
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for x, y in zip(expected, actual, strict=True):
        for name, value in x.items():
            one, other = value.astype(np.float64), y[name].astype(np.float64)
            signal[name] = signal.get(name, 0.0) + float(np.sum(one**2))
            difference = float(np.sum((other - one) ** 2)) if one.shape == other.shape else math.inf
            noise[name] = noise.get(name, 0.0) + difference
    ratios = (noise[name] / (signal[name] or 1.0) for name in signal)
    return max((math.inf if math.isnan(ratio) else ratio for ratio in ratios), default=0.0)


def _measure(
    study: Study,
    part: Part,
    values: Sequence[Mapping[str, np.ndarray]],
    reached: float | None,
    rounding_db: float,
) -> LayerEvidence:
    expected = [v[part.output] for v in values]
    feeds = study.feeds(part, values)
    theirs = study.candidate_part(part)
    answers = study.bench.on_target(theirs, feeds)
    own = compare(part.output, expected, answers)
    added = own
    if study.alone:
        target, transform = own, None
    else:
        ours = study.original_part(part)
        same = ours.digest == theirs.digest
        target = own if same else compare(part.output, expected, study.bench.on_target(ours, feeds))
        right = NotRun("") if same else study.bench.in_reference(theirs, feeds)
        transform = compare(part.output, expected, right)
        if not isinstance(right, NotRun):
            added = compare(part.output, [a["output_0"] for a in right], answers)
    evidence = LayerEvidence(
        part, own,
        added=0.0 if added is None else noise_of(sqnr_of(added)),
        transform_db=math.inf if transform is None else sqnr_of(transform),
        target_db=math.inf if target is None else sqnr_of(target),
        reached_db=reached,
        trouble=answers.reason if isinstance(answers, NotRun) else "",
    )  # fmt: skip
    if own is None:  # of a candidate that does not load, this may be why
        runs = target is not None
        return replace(evidence, origin=Origin.FORM if runs else None)
    if sqnr_of(own) <= rounding_db:
        return _with_origin(evidence)
    changed = evidence.transform_db <= rounding_db + _WITHIN_ONE_ENGINE_DB
    return replace(evidence, origin=Origin.TRANSFORM) if changed else evidence


def _with_origin(evidence: LayerEvidence) -> LayerEvidence:
    enough = _SHARE * evidence.noise
    if noise_of(evidence.target_db) >= enough:
        return replace(evidence, origin=Origin.TARGET)
    if noise_of(evidence.transform_db) >= enough:
        return replace(evidence, origin=Origin.TRANSFORM)
    return replace(evidence, origin=Origin.FORM)


def _reached(
    study: Study, piece: Sequence[Part], values: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, float]:
    answers = study.bench.on_target(
        study.with_probes(piece), study.candidate_samples(), outputs=len(piece)
    )
    if isinstance(answers, NotRun):
        return {}
    found = {}
    for i, part in enumerate(piece):
        mine: Answers = [{"output_0": a[f"output_{i}"]} for a in answers]
        evidence = compare(part.output, [v[part.output] for v in values], mine)
        if evidence is not None:
            found[part.output] = sqnr_of(evidence)
    return found


def _deltas(
    study: Study,
    part: Part,
    values: Sequence[Mapping[str, np.ndarray]],
    run: Callable[[Part, list[dict[str, np.ndarray]]], Answers],
) -> list[np.ndarray]:
    answers = run(part, study.feeds(part, values))
    if isinstance(answers, NotRun):
        return []
    deltas = []
    for value, answer in zip(values, answers, strict=True):
        expected = value[part.output]
        actual = aligned({"y": answer["output_0"]}, {"y": expected})["y"]
        if actual.shape != expected.shape:
            return []
        deltas.append(actual.astype(np.float32) - expected)
    return deltas


def _with_additions(model: Model, names: Sequence[str]) -> Model:
    """The model in float32 with inputs add_0, add_1, ... that are added to these tensors."""
    edited = as_float32(model).edit()
    graph = edited.graph
    values = {str(v.name): v for node in graph for v in node.outputs}
    for i, name in enumerate(names):
        addition = ir.Value(name=f"add_{i}", type=ir.TensorType(ir.DataType.FLOAT))
        node = ir.node("Add", [values[name], addition], name=f"add_{i}/node")
        node.outputs[0].name = f"add_{i}/sum"
        producer = values[name].producer()
        assert producer is not None
        values[name].replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
        node.replace_input_with(0, values[name])
        graph.insert_after(producer, node)
        graph.inputs.append(addition)
    return Model(edited, model.name)
