"""An exact candidate is the same model everywhere, so also in onnxruntime.

A target may not show what is wrong: OpenCV 5.0's new engine fuses attention without looking at the
axis of its Softmax, so that a candidate with another axis gives there the very outputs of the
original. The next version, or another engine, would run it as it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelcheck import units
from modelcheck.errors import InvalidInput, ModelcheckError, printable
from modelcheck.judge import (
    Blame,
    Check,
    Comparison,
    ComparisonEvidence,
    EquivalenceEvidence,
    Outcome,
)
from modelcheck.judge.limits import TOTAL_ERROR_FLOOR
from modelcheck.model import Model
from modelcheck.model.finite import check_finite
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.verification.equivalence import Kept, aligned

_KEY = "candidate"
_KIND = "in onnxruntime"


@dataclass(frozen=True, slots=True)
class RefusedThere:
    """onnxruntime ran the original, and does not run the candidate."""

    reason: str


def drift_in_reference(
    reference: Reference, candidate: Model, kept: Sequence[Kept], workspace: Workspace
) -> ComparisonEvidence | RefusedThere:
    """The candidate in onnxruntime, compared with the original there, on the kept samples."""
    comparison = Comparison(list(kept[0].expected))
    path = workspace.path / "candidate-in-reference.onnx"
    write_private(as_float32(candidate), path)
    try:
        reference.load(path, key=_KEY)
        for i, k in enumerate(kept):
            actual = reference.run(k.arrays, key=_KEY)
            comparison.update(k.expected, aligned(actual, k.expected), i)
        reference.unload(_KEY)
    except ModelcheckError as error:
        return RefusedThere(error.what)
    return comparison.result()


def check_in_reference(drift: ComparisonEvidence | RefusedThere, judged: Check) -> Check | None:
    """FAIL where a candidate that passed on a target is another model in onnxruntime.

    The limit is the one that an exact total is held to. None where it holds. INCONCLUSIVE where
    onnxruntime refuses it: a target that runs what is no valid network proves nothing.
    """
    if isinstance(drift, RefusedThere):
        said = printable(drift.reason.partition("\n")[0], limit=200)
        return Check(
            _KIND,
            judged.target,
            Outcome.INCONCLUSIVE,
            f"{judged.target}: the two models agree there, but onnxruntime, which runs the "
            f"original, does not run the candidate: {said}. So nothing shows that it is the same "
            "model. Leave out the step that made it so, or declare a limit (--max-error 1e-4), "
            "which judges it on the targets alone.",
            Blame.TRANSFORM,
            optional=judged.optional,
        )
    evidence = judged.evidence
    floor = evidence.noise_floor if isinstance(evidence, EquivalenceEvidence) else None
    limit = TOTAL_ERROR_FLOOR if floor is None else max(TOTAL_ERROR_FLOOR, floor.limit)
    worst = max(drift.outputs, key=lambda o: o.scale_relative_max, default=None)
    if worst is None or worst.scale_relative_max <= limit:
        return None
    return Check(
        _KIND,
        judged.target,
        Outcome.FAIL,
        f"{judged.target}: the two models agree there, but not in onnxruntime, where output "
        f"'{printable(worst.name)}' differs by {units.scientific(worst.scale_relative_max)} of the "
        f"scale > {units.scientific(limit)}. This target does not run the candidate as it is "
        "written; another version or engine may. Leave out the step that changes the function.",
        Blame.TRANSFORM,
        optional=judged.optional,
    )


def check_weights(candidate: Model, judged: Check) -> Check | None:
    """FAIL where a candidate that passed holds NaN, or infinity in a weight; None where not.

    An activation may turn NaN into a number, in each engine into another one.
    """
    try:
        check_finite(candidate)
    except InvalidInput as error:
        return Check(
            "weights",
            judged.target,
            Outcome.FAIL,
            f"{judged.target}: the candidate's answers are finite there, but {error.where} "
            f"{error.what}: other engines, or other inputs, may show it. {error.remedy}",
            Blame.TRANSFORM,
            optional=judged.optional,
        )
    return None
