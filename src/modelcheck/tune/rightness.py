"""Does a setting give the model's outputs? By the judge of `verify`, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelcheck.data import Sample
from modelcheck.errors import ContainedFailure, Unsupported
from modelcheck.judge import (
    Check,
    EquivalenceCase,
    NoiseFloor,
    Outcome,
    judge_equivalence,
    needs_noise_floor,
)
from modelcheck.judge.limits import MIN_AGREEMENT, EquivalenceLimit
from modelcheck.model import Model
from modelcheck.model.permutation import longest_reduction
from modelcheck.reference import Reference
from modelcheck.targets.pool import PoolRun
from modelcheck.tune.settings import Setting
from modelcheck.tune.tried import Standing
from modelcheck.verification.equivalence import (
    Kept,
    Tally,
    class_outputs,
    made_by,
    scale_relative,
)

Arrays = Mapping[str, np.ndarray]
_ROWS_DIFFER = 1e-3  # as in verification: more than rounding


@dataclass(frozen=True)
class Expected:
    """The samples of a run, all of one shape, with what onnxruntime makes of them."""

    model: Model
    samples: tuple[Sample, ...]
    outputs: tuple[Arrays, ...]
    synthetic: bool

    @classmethod
    def of(
        cls, model: Model, samples: Sequence[Sample], reference: Reference, *, synthetic: bool
    ) -> Expected:
        """Run the reference on those samples that have the first one's shape."""
        first = _shapes(samples[0].arrays)
        alike = tuple(s for s in samples if _shapes(s.arrays) == first)
        outputs = tuple(reference.run(s.arrays) for s in alike)
        return cls(model, alike, outputs, synthetic)

    @property
    def arrays(self) -> list[Arrays]:
        return [s.arrays for s in self.samples]

    @property
    def sample_bytes(self) -> int:
        return sum(array.nbytes for array in self.samples[0].arrays.values())

    def why_not_batched(self, reference: Reference) -> str | None:
        """Why several samples cannot be one request of this model; None where they can."""
        if not all(spec.batch_is_free for spec in self.model.signature.inputs):
            return "the model fixes its batch"
        pair = [self.samples[i % len(self.samples)].arrays for i in range(2)]
        together = {name: np.concatenate([p[name] for p in pair]) for name in pair[0]}
        try:
            batched = reference.run(together)
        except (Unsupported, ContainedFailure):
            return "the model refuses a batch of 2"
        for i in range(2):
            alone = self.outputs[i % len(self.outputs)]
            rows = _rows(batched, 2, i)
            if rows is None or not scale_relative(alone, rows) < _ROWS_DIFFER:
                return "rows of a batch are not the model's outputs for single samples"
        return None


def judge_outputs(
    expected: Expected,
    setting: Setting,
    run: PoolRun,
    limit: EquivalenceLimit | None,
    floors: Callable[[Sequence[Kept]], Iterable[NoiseFloor]] | None = None,
) -> Check:
    """The check of a pool's outputs; also that its nets, running at once, agree to the last bit.

    `floors` measures the noise floor there, which is done only where the verdict depends on it;
    without it such a check is INCONCLUSIVE.
    """
    name = setting.name
    if run.differing:
        first = run.differing[0]
        return Check(
            "equivalence",
            name,
            Outcome.FAIL,
            f"{name}: net {first.net + 1} gives other bits than net 1 for output "
            f"'{first.output}' when all run at the same time",
        )
    tally = _tally(expected, limit)
    done: set[int] = set()
    for number, outputs in enumerate(run.outputs):
        for row in range(setting.batch):
            index = (number * setting.batch + row) % len(expected.samples)
            if index not in done:
                done.add(index)
                found = _rows(outputs, setting.batch, row)
                sample, wanted = expected.samples[index], expected.outputs[index]
                tally.add(sample, wanted, outputs if found is None else found, None)
    compared = tally.target_drift.result()
    agreement = {key: a.result() for key, a in tally.target_agreement.items()}
    case = EquivalenceCase(
        target=name,
        claim="exact",
        target_drift=compared,
        transform_drift=None,
        total=compared,
        judged_samples=tally.samples,
        limit=limit,
        target_agreement=agreement,
        total_agreement=agreement,
        reduction_length=longest_reduction(expected.model),
        synthetic=expected.synthetic,
        half_floats=setting.target.device.is_half,
    )
    check = judge_equivalence(case)
    if floors is not None and needs_noise_floor(case):
        for floor in floors(tally.kept):
            check = judge_equivalence(replace(case, noise_floor=floor))
            if check.outcome is Outcome.PASS:
                break
    return check


def standing_of(check: Check) -> Standing:
    """What a check's outcome means for a setting."""
    return {Outcome.PASS: Standing.RIGHT, Outcome.FAIL: Standing.WRONG}.get(
        check.outcome, Standing.UNPROVEN
    )


def _tally(expected: Expected, limit: EquivalenceLimit | None) -> Tally:
    operators = made_by(expected.model)
    terms = [] if limit is None else [t for all_of in limit.any_of for t in all_of]
    labels = [s.label for s in expected.samples if s.label is not None]

    def classes(shapes: Mapping[str, tuple[int, ...]]) -> frozenset[str]:
        return class_outputs(
            shapes,
            operators,
            declared=any(term.kind == MIN_AGREEMENT for term in terms),
            largest_label=max(labels, default=None),
        )

    names = [spec.name for spec in expected.model.signature.outputs]
    return Tally(names, classes, alone=True)


def _rows(outputs: Arrays, batch: int, row: int) -> dict[str, np.ndarray] | None:
    """The part of a batch's outputs that belongs to one of its samples; None if they have none."""
    if batch == 1:
        return dict(outputs)
    parts = {}
    for name, array in outputs.items():
        if array.ndim == 0 or array.shape[0] % batch:
            return None
        n = array.shape[0] // batch
        parts[name] = array[row * n : (row + 1) * n]
    return parts


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}
