"""The laws that every transform of the catalogue holds, one function a law.

A law takes a `Case` (a row, options, a model and samples) and raises `LawBroken` where it does
not hold. tests/properties asks all of them of all rows; a transform of one's own can be asked the
same:   for law in LAWS: law(Case(row, options, model, runner))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelcheck.judge import Comparison, ComparisonEvidence, OutputEvidence, lower_bound
from modelcheck.model import Model
from modelcheck.model.inspection import inspect
from modelcheck.model.permutation import longest_reduction
from modelcheck.testing.models import sample
from modelcheck.testing.rounding import FLOAT16, FLOAT32, rounding_noise
from modelcheck.testing.runner import Outputs, Runner
from modelcheck.transforms import Claim, Context, Transform, chain
from modelcheck.transforms.catalogue import Options, Row

MIN_SQNR_DB = 40.0  # the default limit of the precision claim (GATE.md)
_SPARE_DB = 12.0  # a net that rounding alone disturbs more may be disturbed this much more
_SPARE = 8.0  # the same factor as the judge's noise floor


class LawBroken(AssertionError):
    """A transform does not do what every transform promises."""


@dataclass(frozen=True)
class Case:
    """One transform with one set of options, one model, and the samples it is judged on."""

    row: Row
    options: Options
    model: Model
    runner: Runner
    samples: Sequence[Mapping[str, np.ndarray]] = ()
    seed: int = 0

    def transform(self, **changed: object) -> Transform:
        return self.row.factory(**{**self.options, **changed})

    def context(self) -> Context:
        """A fresh context, with activations where the transform calibrates."""
        if not self.transform().calibrates:
            return Context(seed=self.seed)
        batch = [sample(self.model.signature, seed) for seed in range(4)]
        activations = self.runner.activations(batch)
        return Context(seed=self.seed, activations=activations)

    def applied(self, model: Model | None = None) -> Model:
        return self.transform()(model or self.model, self.context())

    def require(self, holds: bool, law: str) -> None:
        if not holds:
            raise LawBroken(f"{self.row.name} {dict(self.options)}: {law}")


Law = Callable[[Case], None]


def leaves_its_input_unchanged(case: Case) -> None:
    """The bytes of the input are the same before and after. (Its digest is cached: no witness.)"""
    before = case.model.to_proto().SerializeToString(deterministic=True)
    first = case.applied()
    kept = first.to_proto().SerializeToString(deterministic=True)
    case.applied(first)
    after = case.model.to_proto().SerializeToString(deterministic=True)
    case.require(before == after, "changed its input")
    again = first.to_proto().SerializeToString(deterministic=True)
    case.require(kept == again, "changed its input when applied a second time")


def gives_a_valid_model(case: Case) -> None:
    """onnx's own checker, with shape inference, accepts the result."""
    case.runner.check(case.applied())


def keeps_the_signature(case: Case) -> None:
    """Inputs and outputs keep names, order, element types and shapes."""
    result = case.applied()
    case.require(
        result.signature == case.model.signature,
        f"the signature became {result.signature}, was {case.model.signature}",
    )


def holds_its_claim(case: Case) -> None:
    """The outputs of onnxruntime before and after differ by no more than the claim allows."""
    transform = case.transform()
    case.require(transform.claim == case.row.claim, f"claims {transform.claim} in this case")
    samples = case.samples or [sample(case.model.signature)]
    expected = case.runner.outputs(case.model, *samples)
    actual = case.runner.outputs(case.applied(), *samples)
    found = _compared(expected, actual)
    for output in found.outputs:
        case.require(output.shape_mismatch is None, f"{output.name}: {output.shape_mismatch}")
        case.require(output.dtype_mismatch is None, f"{output.name}: {output.dtype_mismatch}")
        case.require(output.non_finite == 0, f"{output.name} is not finite")
    if case.row.claim == Claim.EXACT:
        _require_exact(case, samples, found)
    elif case.row.claim == Claim.PRECISION:
        _require_precision(case, samples, found)


def is_deterministic(case: Case) -> None:
    """The same seed gives the same model, in a fresh transform and a fresh context."""
    case.require(case.applied() == case.applied(), "two runs with one seed differ")


def is_the_identity_at_its_identity_options(case: Case) -> None:
    """With the options that the row names, nothing changes at all."""
    if case.row.identity is None:
        return
    transform = case.row.factory(**case.row.identity)
    result = transform(case.model, case.context())
    case.require(result == case.model, f"{dict(case.row.identity)} changed something")


def is_idempotent(case: Case) -> None:
    """A second application changes nothing, where the row promises it."""
    if case.row.idempotent:
        once = case.applied()
        case.require(case.applied(once) == once, "a second application changed something")


def zeroes_what_it_promises(case: Case) -> None:
    """At least the promised fraction of the weights of all layers not left alone is zero."""
    if case.row.zeros is None:
        return
    transform, context = case.transform(), case.context()
    result = transform(case.model, context)
    promised = case.row.zeros(transform.options)
    alone = {left.layer for left in context.left_alone}
    weights = {
        layer.weight: (math.prod(layer.weight_shape or ()), layer.sparsity)
        for layer in inspect(result).layers
        if layer.sparsity is not None and layer.name not in alone
    }
    total = sum(n for n, _ in weights.values())
    zeros = sum(round(n * sparsity) for n, sparsity in weights.values())
    case.require(
        zeros >= math.floor(promised * total), f"{zeros} zeros of {total}, promised {promised:.0%}"
    )


LAWS: tuple[Law, ...] = (
    leaves_its_input_unchanged,
    gives_a_valid_model,
    keeps_the_signature,
    holds_its_claim,
    is_deterministic,
    is_the_identity_at_its_identity_options,
    is_idempotent,
    zeroes_what_it_promises,
)


def chaining_is_associative(a: Case, b: Case, c: Case) -> None:
    """chain(a, chain(b, c)) and chain(chain(a, b), c) make the same of a's model."""
    first, second, third = a.transform(), b.transform(), c.transform()
    context = next((x.context() for x in (a, b, c) if x.transform().calibrates), a.context())
    right = chain(first, chain(second, third))
    left = chain(chain(first, second), third)
    names = " + ".join((first.name, second.name, third.name))
    a.require(right(a.model, context) == left(a.model, context), f"{names} is not associative")
    a.require(right.claim == left.claim, f"{names}: the claim depends on the brackets")


def _require_exact(
    case: Case, samples: Sequence[Mapping[str, np.ndarray]], found: ComparisonEvidence
) -> None:
    """max |Δ| <= max(8 noise, 8 eps sqrt(K) max |y|)."""
    noise = _noise(case, samples, FLOAT32)
    floor = lower_bound(longest_reduction(case.model))
    for output in found.outputs:
        limit = max(_SPARE * noise[output.name].max_abs, floor * output.scale)
        case.require(
            output.max_abs <= limit, f"{output.name} differs by {output.max_abs}, limit {limit}"
        )


def _require_precision(
    case: Case, samples: Sequence[Mapping[str, np.ndarray]], found: ComparisonEvidence
) -> None:
    """SQNR >= 40 dB, or 12 dB below that of the model with its constants rounded to float16."""
    noise = _noise(case, samples, FLOAT16)
    for output in found.outputs:
        required = min(MIN_SQNR_DB, noise[output.name].sqnr_db - _SPARE_DB)
        # float16 holds numbers near 1 to 2^-11; an output far below that is no measure.
        near_one = output.max_abs <= 2 * FLOAT16 * max(1.0, output.scale)
        case.require(
            near_one or output.sqnr_db >= required,
            f"{output.name} has {output.sqnr_db:.1f} dB, wants {required:.1f} dB",
        )


def _noise(
    case: Case, samples: Sequence[Mapping[str, np.ndarray]], relative: float
) -> dict[str, OutputEvidence]:
    """What rounding to `relative` does to each output of the case's own model."""
    pairs = rounding_noise(case.model, samples, case.runner, relative=relative)
    found = _compared([a for a, _ in pairs], [b for _, b in pairs])
    return {output.name: output for output in found.outputs}


def _compared(expected: Sequence[Outputs], actual: Sequence[Outputs]) -> ComparisonEvidence:
    comparison = Comparison(list(expected[0]))
    for index, (x, y) in enumerate(zip(expected, actual, strict=True)):
        comparison.update(x, y, index)
    return comparison.result()
