"""The tensors before a final Softmax, Sigmoid or ArgMax: both models run once more to give them.

In a process of their own, on more samples than are kept: a model that dies of its additional
outputs does no harm to its lane. See judge.saturation for what is made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from modelcheck.data import Sample, Samples
from modelcheck.errors import ContainedFailure, InvalidInput, ModelcheckError, Unsupported
from modelcheck.judge import (
    AgreementEvidence,
    Check,
    EquivalenceCase,
    EquivalenceEvidence,
)
from modelcheck.judge.saturation import (
    is_blind,
    judge_before_saturation,
    not_looked,
    rests_on_agreement,
)
from modelcheck.model import Model
from modelcheck.model.endings import Ending, endings
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.reference.probes import with_values
from modelcheck.verification.equivalence import Kept, Tally
from modelcheck.verification.floors import Ground, Meter, engine_of, lane_floors, with_noise_floor
from modelcheck.verification.lane import Arrays, Lane
from modelcheck.verification.memory import Memory
from modelcheck.verification.plan import Plan

_SAMPLES = 32  # twice what an SQNR wants
_KEY, _FILE = "before saturation", "before-saturation.onnx"
_PAIR = ("original", "candidate")


class _Apart(ModelcheckError):
    """The two models end in ways that cannot be compared."""


@dataclass(frozen=True)
class Look:
    """What the look before saturation goes by; `judged` is the case of the outputs."""

    lane: Lane
    reference: Reference
    original: Model
    candidate: Model
    samples: Samples
    kept: Sequence[Kept]
    judged: EquivalenceCase
    evidence: EquivalenceEvidence
    seed: int
    memory: Memory | None

    @classmethod
    def of(
        cls, plan: Plan, lane: Lane, reference: Reference, case: EquivalenceCase, judged: Check,
        kept: Sequence[Kept],
    ) -> Look:  # fmt: skip
        """Of a plan's two models on one lane, whose outputs have passed with the check `judged`."""
        assert plan.candidate is not None
        assert isinstance(judged.evidence, EquivalenceEvidence)
        samples = plan.samples.select(range(min(_SAMPLES, plan.samples.count)))
        return cls(
            lane, reference, plan.original, plan.candidate, samples, kept, case,
            judged.evidence, plan.seed, plan.memory,
        )  # fmt: skip


@dataclass(frozen=True)
class _Probed:
    """Both models with the tensors as outputs, under the same names in the same order."""

    original: Model
    candidate: Model
    behind: Mapping[str, str]  # the tensor's name as an output -> the output behind it


def check_before_saturation(look: Look, workspace: Workspace) -> tuple[Check | None, list[str]]:
    """The check, and a warning where the models cannot be compared there.

    No check where no output ends like that, where its classes alone or a declared metric let the
    candidate pass, or where the outputs show differences although what stands before them cannot
    be compared.
    """
    exempt = look.judged.exempt
    ends = {name: end for name, end in endings(look.original).items() if name not in exempt}
    if not ends or (not look.judged.exact and rests_on_agreement(look.judged)):
        return None, []
    try:
        probed = _probed(look, ends, workspace)
        case, ground = _compared(look, probed, workspace)
        check = _judged(look, probed, case, ground, workspace)
    except (_Apart, InvalidInput, Unsupported, ContainedFailure) as error:
        return _without(look, ends, error.what)
    return check, []


def _without(look: Look, ends: Mapping[str, Ending], reason: str) -> tuple[Check | None, list[str]]:
    target = look.lane.settings.target
    blind = any(
        all(is_blind(end.operators[0], k.expected[name]) for k in look.kept)
        for name, end in ends.items()
    )
    if blind:
        return not_looked(target.name, reason, optional=target.optional), []
    operators = "; ".join(sorted({end.describe() for end in ends.values()}))
    return None, [
        f"{target.name}: what goes into the last operators ({operators}) was not compared: {reason}"
    ]


def _judged(
    look: Look, probed: _Probed, case: EquivalenceCase, ground: Ground, workspace: Workspace
) -> Check:
    if case.exact:
        floors = lane_floors(
            look.lane, ground, workspace,
            seed=look.seed, memory=look.memory, samples=look.samples.digest,
        )  # fmt: skip
        case = with_noise_floor(case, floors)
    return judge_before_saturation(case, look.evidence, probed.behind)


def _probed(look: Look, ends: Mapping[str, Ending], workspace: Workspace) -> _Probed:
    """Pair the tensors of the two models, by name or else by what is in them."""
    others = endings(look.candidate)
    firsts = [(tensor, output) for output, end in ends.items() for tensor in end.tensors]
    seconds = [tensor for end in others.values() for tensor in end.tensors]
    if len(firsts) > len(seconds):
        raise _Apart(
            f"the original ends in {_described(ends)}, the candidate in {_described(others)}"
        )
    path = workspace.path / _FILE
    tensors = [tensor for tensor, _ in firsts]
    before = _in_reference(look, look.reference, look.original, tensors, path)
    pairs, after = tensors, before
    if set(tensors) - set(seconds):
        # A process of its own: what a candidate does there must not end the reference.
        with Reference(limits=look.lane.limits) as another:
            after = _in_reference(look, another, look.candidate, seconds, path)
        pairs = _pairs(tensors, seconds, before, after)
    names = [f"before saturation {i}" for i in range(len(firsts))]
    return _Probed(
        _with_outputs(look.original, dict(zip(names, tensors, strict=True)), before),
        _with_outputs(look.candidate, dict(zip(names, pairs, strict=True)), after),
        {name: output for name, (_, output) in zip(names, firsts, strict=True)},
    )


def _described(ends: Mapping[str, Ending]) -> str:
    return "; ".join(f"{e.describe()} ('{name}')" for name, e in ends.items()) or "none of these"


def _in_reference(
    look: Look, reference: Reference, model: Model, tensors: Sequence[str], path: Path
) -> dict[str, np.ndarray]:
    """The tensors on the first sample, in float32."""
    exact, outputs = with_values(as_float32(model), list(tensors))
    write_private(exact, path)
    reference.load(path, key=_KEY)
    found = reference.run(next(iter(look.samples)).arrays, key=_KEY)
    reference.unload(_KEY)
    return {tensor: found[output] for tensor, output in zip(tensors, outputs, strict=True)}


def _pairs(
    firsts: Sequence[str],
    seconds: Sequence[str],
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
) -> list[str]:
    """For each tensor of the original that of the candidate: the namesake, or the nearest."""
    left, pairs = list(seconds), []
    for first in firsts:
        alike = [second for second in left if after[second].shape == before[first].shape]
        if not alike:
            raise _Apart(f"nothing in the candidate corresponds to '{first}'")
        nearest = min(alike, key=lambda second: _distance(before[first], after[second]))
        pairs.append(first if first in alike else nearest)
        left.remove(pairs[-1])
    return pairs


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    distance = float(np.abs(x.astype(np.float64) - y).max()) if x.size else 0.0
    return distance if np.isfinite(distance) else float("inf")


def _with_outputs(
    model: Model, tensors: Mapping[str, str], values: Mapping[str, np.ndarray]
) -> Model:
    """The model with these tensors as its outputs, by new name; cv2 wants their type and shape."""
    half = any(spec.dtype == np.float16 for spec in model.signature.inputs)
    probed, _ = with_values(model, list(tensors.values()))
    edited = probed.edit()
    for value, (name, tensor) in zip(edited.graph.outputs, tensors.items(), strict=True):
        value.name = name
        value.type = ir.TensorType(ir.DataType.FLOAT16 if half else ir.DataType.FLOAT)
        value.shape = ir.Shape(values[tensor].shape)
    return Model.freeze(edited, name=model.name)


def _compared(look: Look, probed: _Probed, workspace: Workspace) -> tuple[EquivalenceCase, Ground]:
    """The case of the tensors, and what their noise floor is measured on."""
    names = tuple(probed.behind)
    tally = Tally(names, lambda shapes: frozenset(), alone=False)
    for sample, expected, original, candidate in _runs(look, probed, names, workspace):
        tally.add(sample, expected, original, candidate)
    moved, total = tally.transform_drift, tally.total.result()
    for output in total.outputs:
        if output.shape_mismatch is not None:
            raise _Apart(f"'{output.name}' has another shape in the candidate")
    judged = look.judged
    case = replace(
        judged,
        target_drift=tally.target_drift.result(),
        transform_drift=None if moved is None else moved.result(),
        total=total,
        judged_samples=tally.samples,
        target_agreement=_agreements(judged.target_agreement, probed.behind),
        total_agreement=_agreements(judged.total_agreement, probed.behind),
        noise_floor=None,
    )
    return case, Ground.of_kept(probed.original, tally.kept)


def _runs(
    look: Look, probed: _Probed, names: Sequence[str], workspace: Workspace
) -> Iterator[tuple[Sample, Arrays, Arrays, Arrays]]:
    """Each sample with what the reference, the original and the candidate make of it."""
    lane, path = look.lane, workspace.path / _FILE
    exact = as_float32(probed.original)
    write_private(exact, path)
    look.reference.load(path, key=_KEY)
    placements = (lane.original_placement, lane.candidate_placement)
    shapes = None
    with Meter(lane.settings.target, lane.limits) as meter:
        for key, model, placement in zip(
            _PAIR, (probed.original, probed.candidate), placements, strict=True
        ):
            assert placement is not None
            write_private(model, path)
            meter.load(path, names, engine_of(placement), key=key)
        for sample in look.samples:
            found = {name: array.shape for name, array in sample.arrays.items()}
            shapes = shapes or found
            if found != shapes:
                continue  # the shapes of the tensors were fixed by the first sample
            expected = look.reference.run(sample.arrays, key=_KEY)
            original, candidate = (meter.forward(sample.arrays, expected, key=k) for k in _PAIR)
            yield sample, expected, original, candidate
    look.reference.unload(_KEY)


def _agreements(
    by_output: Mapping[str, AgreementEvidence], behind: Mapping[str, str]
) -> dict[str, AgreementEvidence]:
    """Classes are the same before a Softmax and behind it."""
    return {name: by_output[output] for name, output in behind.items() if output in by_output}
