"""Which layer is named, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelcheck import units
from modelcheck.diagnose.evidence import LayerEvidence, Origin, db_of
from modelcheck.errors import printable
from modelcheck.judge import Outcome

# Where so many of the layers are beyond rounding, and no handful, the model computes in fewer bits
# on purpose: then a layer matters that has this share of the largest effect.
_MANY, _HANDFUL, _MATTERS = 0.25, 4, 0.1
# What a transform brought in shows within one engine, whose rounding has so much of the noise.
_WITHIN_ONE_ENGINE = 1e-3
# Outputs agree in spite of a layer whose noise is so many times rounding's: they saturate.
_IN_SPITE = 10.0


@dataclass(frozen=True, slots=True)
class Named:
    """The first layer where the two part company, and the one that adds most error."""

    first: LayerEvidence | None
    worst: LayerEvidence | None


def name_layers(
    layers: Sequence[LayerEvidence], *, rounding: float, alone: bool, refused: bool = False
) -> Named:
    """Choose among the layers whose error is beyond rounding (noise over signal).

    Those matter that move the outputs beyond rounding, too. Where none does, but a transform has
    changed a layer all the same, the layers' own noise decides: behind a saturated output a fault
    does not show. The first is one that the transform brought in, where there is such a layer:
    where the target is wrong about the original already, the two do not part. Of a candidate that
    the target refuses (`refused`) it is the first layer that does not run by itself.
    """
    wrong = [y for y in layers if y.origin is not None and bool(y.trouble) == refused]
    if refused:
        return Named(wrong[0], wrong[0]) if wrong else Named(None, None)
    size = {y.part.index: y.effect or 0.0 for y in wrong}
    mattering = [y for y in wrong if size[y.part.index] >= _least(y, rounding)]
    if not mattering:
        size = {y.part.index: y.noise for y in wrong}
        mattering = [
            y for y in wrong
            if y.origin is not Origin.TARGET and y.noise >= _IN_SPITE * rounding
        ]  # fmt: skip
    if not mattering:
        return Named(None, None)
    worst = max(mattering, key=lambda y: size[y.part.index])
    if len(wrong) > max(_HANDFUL, _MANY * len(layers)):
        least = _MATTERS * size[worst.part.index]
        mattering = [y for y in mattering if size[y.part.index] >= least]
    brought_in = [y for y in mattering if alone or y.origin is not Origin.TARGET]
    return Named(min(brought_in or mattering, key=lambda y: y.part.index), worst)


def _least(layer: LayerEvidence, rounding: float) -> float:
    """The least effect on the outputs that is more than rounding."""
    return rounding * (_WITHIN_ONE_ENGINE if layer.origin is Origin.TRANSFORM else 1.0)


def describe(layer: LayerEvidence, target: str, *, alone: bool) -> str:
    """'conv7 (Conv): own SQNR 12.1 dB. ...'"""
    name = f"'{printable(layer.part.name)}' ({layer.part.form})"
    if layer.together:
        before = ", ".join(f"'{printable(n)}'" for n in layer.together[-4:])
        name += f" run as one with {before}"
    effect = (
        "" if layer.effect is None else f", {units.decibels(db_of(layer.effect))} in the outputs"
    )
    return f"{name}: own SQNR {units.decibels(layer.own_db)}{effect}. {_why(layer, target, alone)}"


def _why(layer: LayerEvidence, target: str, alone: bool) -> str:
    if layer.trouble:
        return f"{target} refuses it: {layer.trouble}"
    if layer.together:
        return (
            f"{target} computes these layers rightly one by one, and wrongly together: "
            "it fuses them wrongly."
        )
    if layer.origin is Origin.TRANSFORM:
        return "The candidate computes something else there, in onnxruntime too."
    if layer.origin is Origin.FORM:
        return (
            f"In onnxruntime the candidate's layer is right; {target} computes this form wrongly."
        )
    whose = "it" if alone else "this layer of the original already"
    return f"{target} computes {whose} wrongly."


def verdict(named: Named, total_db: float, rounding_db: float) -> Outcome:
    """FAIL where a layer is named, PASS where the outputs agree, else INCONCLUSIVE."""
    if named.first is not None:
        return Outcome.FAIL
    return Outcome.PASS if total_db > rounding_db else Outcome.INCONCLUSIVE
