"""Saturation hides nothing: an exact claim also holds for the tensors before a final Softmax.

Where Softmax, Sigmoid or Clip is saturated, faulty weights leave the output as it was, on these
samples. So original and candidate run once more, on the kept samples, with the tensors that go
into such a final operator as their outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.errors import ModelcheckError
from modelcheck.judge import (
    Blame,
    Check,
    Comparison,
    EquivalenceCase,
    EquivalenceEvidence,
    Outcome,
    judge_equivalence,
    parse_limit,
)
from modelcheck.judge.limits import TOTAL_ERROR_FLOOR
from modelcheck.model import Model
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.reference.probes import with_values
from modelcheck.verification.equivalence import Kept, aligned
from modelcheck.verification.lane import Lane

_SATURATING = frozenset(
    (
        "Softmax",
        "LogSoftmax",
        "Sigmoid",
        "HardSigmoid",
        "Tanh",
        "Erf",
        "Clip",
        "Softsign",
        "Hardmax",
        "ArgMax",
    )
)
# What may stand between a saturating operator and the output: its first input leads back.
_PASSING = frozenset(
    (
        "Identity",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Cast",
        "Mul",
        "Add",
        "Sub",
        "Div",
        "Neg",
    )
)
_KEY = "before saturation"


def tensors_before_saturation(model: Model) -> dict[str, str]:
    """For each output that ends in a saturating operator, the tensor that goes into it."""
    found = {}
    for output in model.graph.outputs:
        value: ir.Value | None = output
        while value is not None and (node := value.producer()) is not None:
            if node.op_type in _SATURATING:
                before = node.inputs[0]
                if before is not None and before.producer() is not None:
                    found[str(output.name)] = str(before.name)
                break
            value = node.inputs[0] if node.op_type in _PASSING else None
    return found


def check_before_saturation(
    lane: Lane,
    reference: Reference,
    models: tuple[Model, Model],
    kept: Sequence[Kept],
    workspace: Workspace,
    judged: Check,
) -> Check | None:
    """Judge the tensors before saturation under the exact claim.

    None where an output does not end like that, where the two models end in different ways, or
    where a model does not run with these outputs: then the ordinary check stands alone.
    """
    names = [tensors_before_saturation(model) for model in models]
    if not names[0] or names[0].keys() != names[1].keys():
        return None
    try:
        cases = _run(lane, reference, models, names, kept, workspace)
    except ModelcheckError:
        return None
    total, there, moved = (comparison.result() for comparison in cases)
    found = judge_equivalence(
        EquivalenceCase(
            lane.settings.target.name,
            "exact",
            target_drift=there,
            transform_drift=moved,
            total=total,
            judged_samples=len(kept),
            limit=parse_limit(f"max-error={_limit(judged):.9f}"),
        )
    )
    if found.outcome is not Outcome.FAIL or found.blame is not Blame.TRANSFORM:
        return None
    outputs = ", ".join(f"'{name}'" for name in names[0])
    return Check(
        "before saturation",
        found.target,
        Outcome.FAIL,
        f"{found.target}: the outputs ({outputs}) are alike on these samples only because they "
        f"saturate. Before that the two models differ: {found.message}",
        Blame.TRANSFORM,
        optional=lane.settings.target.optional,
    )


def _run(
    lane: Lane,
    reference: Reference,
    models: tuple[Model, Model],
    names: list[dict[str, str]],
    kept: Sequence[Kept],
    workspace: Workspace,
) -> tuple[Comparison, Comparison, Comparison]:
    """(candidate with reference, original with reference, candidate with original)."""
    assert lane.original is not None
    assert lane.candidate is not None
    exact, outputs = with_values(as_float32(models[0]), list(names[0].values()))
    path = workspace.path / "before-saturation.onnx"
    write_private(exact, path)
    reference.load(path, key=_KEY)
    shapes = {name: x.shape for name, x in reference.run(kept[0].arrays, key=_KEY).items()}
    for session, model, tensors in zip((lane.original, lane.candidate), models, names, strict=True):
        probed, _ = with_values(model, list(tensors.values()))
        for value in probed.graph.outputs:  # cv2 wants type and shape of an output
            value.type = ir.TensorType(_float_type(model))
            value.shape = ir.Shape(shapes[str(value.name)])
        write_private(probed, path)
        session.load(path, outputs, key=_KEY)
    total, there, moved = (Comparison(outputs) for _ in range(3))
    for i, k in enumerate(kept):
        expected = reference.run(k.arrays, key=_KEY)
        original = aligned(lane.original.forward(k.arrays, key=_KEY), expected)
        candidate = aligned(lane.candidate.forward(k.arrays, key=_KEY), expected)
        total.update(expected, candidate, i)
        there.update(expected, original, i)
        moved.update(original, candidate, i)
    return total, there, moved


def _float_type(model: Model) -> ir.DataType:
    half = any(spec.dtype == np.float16 for spec in model.signature.inputs)
    return ir.DataType.FLOAT16 if half else ir.DataType.FLOAT


def _limit(judged: Check) -> float:
    """What the outputs themselves were held to, and never less than the total's floor."""
    evidence = judged.evidence
    floor = evidence.noise_floor if isinstance(evidence, EquivalenceEvidence) else None
    return TOTAL_ERROR_FLOOR if floor is None else max(TOTAL_ERROR_FLOOR, floor.limit)
