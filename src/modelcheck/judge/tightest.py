"""The tightest limits that would pass: what a user may declare with this evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from modelcheck.judge.agreement import AgreementEvidence
from modelcheck.judge.comparison import ComparisonEvidence, OutputEvidence
from modelcheck.judge.findings import SQNR_SAMPLES, error_of
from modelcheck.judge.limits import MAX_ERROR, MIN_AGREEMENT, MIN_SQNR


def tightest_limits(
    *,
    total: ComparisonEvidence,
    target_drift: ComparisonEvidence,
    transform_drift: ComparisonEvidence | None,
    agreement: Mapping[str, AgreementEvidence],
    samples: int,
) -> dict[str, float]:
    """For each term the tightest value that passes if declared alone; absent where none does.

    Three significant digits, rounded to the passing side. `transform_drift` is given where it
    counts (claim exact).
    """
    limits: dict[str, float] = {}
    error = _rounded(_largest_error(total), up=True)
    # Below the target drift, the total alone decides (the candidate repairs the target).
    if transform_drift is not None and _largest_error(target_drift) <= error:
        error = max(error, _rounded(_largest_error(transform_drift), up=True))
    if math.isfinite(error) and samples > 0:
        limits[MAX_ERROR] = error
    sqnr_db = _rounded(min(map(_sqnr_of, total.outputs), default=0.0), up=False)
    if 0 < sqnr_db < math.inf and samples >= SQNR_SAMPLES:
        limits[MIN_SQNR] = sqnr_db
    proven = [agreement[o.name].lower for o in total.outputs if o.name in agreement]
    if proven and len(proven) == len(total.outputs) and _rounded(min(proven), up=False) > 0:
        limits[MIN_AGREEMENT] = _rounded(min(proven), up=False)
    return limits


def _largest_error(comparison: ComparisonEvidence) -> float:
    return max(map(error_of, comparison.outputs), default=0.0)


def _sqnr_of(output: OutputEvidence) -> float:
    """The SQNR; where the reference is all zero, that of max abs (as of scale 1)."""
    if output.scale > 0:
        return output.sqnr_db
    return -20 * math.log10(output.max_abs) if output.max_abs > 0 else math.inf


def _rounded(value: float, *, up: bool) -> float:
    """To three significant digits, never to the other side of `value`."""
    if value == 0 or not math.isfinite(value):
        return value
    digits = 2 - math.floor(math.log10(abs(value)))
    nearest = round(value, digits)
    step = 10.0**-digits
    if up:
        return nearest if nearest >= value else round(nearest + step, digits)
    return nearest if nearest <= value else round(nearest - step, digits)
