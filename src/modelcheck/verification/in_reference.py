"""An exact candidate is the same model everywhere, so also in onnxruntime.

A target may not show what is wrong: OpenCV 5.0's new engine fuses attention without looking at the
axis of its Softmax, so that a candidate with another axis gives there the very outputs of the
original. The next version, or another engine, would run it as it is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelcheck import units
from modelcheck.errors import ModelcheckError, printable
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
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.verification.equivalence import Kept, aligned

_KEY = "candidate"


def drift_in_reference(
    reference: Reference, candidate: Model, kept: Sequence[Kept], workspace: Workspace
) -> ComparisonEvidence:
    """The candidate in onnxruntime, compared with the original there, on the kept samples.

    Nothing is compared where onnxruntime cannot run it: then the targets' word stands alone.
    """
    comparison = Comparison(list(kept[0].expected))
    path = workspace.path / "candidate-in-reference.onnx"
    write_private(as_float32(candidate), path)
    try:
        reference.load(path, key=_KEY)
        for i, k in enumerate(kept):
            actual = reference.run(k.arrays, key=_KEY)
            comparison.update(k.expected, aligned(actual, k.expected), i)
        reference.unload(_KEY)
    except ModelcheckError:
        return ComparisonEvidence((), 0)
    return comparison.result()


def check_in_reference(drift: ComparisonEvidence, judged: Check) -> Check | None:
    """FAIL where a candidate that passed on a target is another model in onnxruntime.

    The limit is the one that an exact total is held to. None where it holds.
    """
    evidence = judged.evidence
    floor = evidence.noise_floor if isinstance(evidence, EquivalenceEvidence) else None
    limit = TOTAL_ERROR_FLOOR if floor is None else max(TOTAL_ERROR_FLOOR, floor.limit)
    worst = max(drift.outputs, key=lambda o: o.scale_relative_max, default=None)
    if worst is None or worst.scale_relative_max <= limit:
        return None
    return Check(
        "in onnxruntime",
        judged.target,
        Outcome.FAIL,
        f"{judged.target}: the two models agree there, but not in onnxruntime, where output "
        f"'{printable(worst.name)}' differs by {units.scientific(worst.scale_relative_max)} of the "
        f"scale > {units.scientific(limit)}. This target does not run the candidate as it is "
        "written; another version or engine may. Leave out the step that changes the function.",
        Blame.TRANSFORM,
        optional=judged.optional,
    )
