"""How far two engines lie apart at the candidate's own precision: evidence of what its SQNR means.

Half floats and bfloat16 round more than float32, and every engine in its own order. A candidate
that is as near to the float32 original as two engines are to each other has lost nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelcheck.errors import ContainedFailure, InvalidInput, Unsupported
from modelcheck.judge import Comparison, ComparisonEvidence
from modelcheck.process import ChildLimits
from modelcheck.reference import Reference
from modelcheck.verification.equivalence import Kept, aligned
from modelcheck.verification.lane import Files


def two_engines(
    files: Files, kept: Sequence[Kept], limits: ChildLimits
) -> ComparisonEvidence | None:
    """The candidate in onnxruntime, as it is, against the candidate where it was judged.

    None where onnxruntime does not run it, in a process of its own, at this precision.
    """
    if files.candidate is None or not kept:
        return None
    comparison = Comparison(files.outputs)
    try:
        with Reference(limits=limits) as reference:
            reference.load(files.candidate)
            for index, k in enumerate(kept):
                if k.candidate is not None:
                    there = aligned(reference.run(k.arrays), k.expected)
                    comparison.update(there, k.candidate, index)
    except (InvalidInput, Unsupported, ContainedFailure):
        return None
    return comparison.result()
