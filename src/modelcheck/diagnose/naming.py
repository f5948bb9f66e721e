"""Which layer is named, and in which words. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelcheck import units
from modelcheck.diagnose.evidence import LayerEvidence, Origin, db_of
from modelcheck.errors import printable
from modelcheck.judge import Outcome

# A layer matters that makes this share of the noise in the outputs.
_MATTERS = 0.01


@dataclass(frozen=True, slots=True)
class Named:
    """The first layer where the two part company, and the one that adds most error."""

    first: LayerEvidence | None
    worst: LayerEvidence | None


def name_layers(layers: Sequence[LayerEvidence], *, alone: bool, refused: bool = False) -> Named:
    """Choose among layers whose error is beyond rounding.

    Where effects on the outputs are known they decide what matters, else the layers' own noise.
    The first is one that the transform brought in, where there is such a layer: where the target
    is wrong about the original already, the two do not part. Of a candidate that the target
    refuses (`refused`) it is the first layer that does not run by itself.
    """
    wrong = [y for y in layers if y.origin is not None and bool(y.trouble) == refused]
    if refused:
        return Named(wrong[0], wrong[0]) if wrong else Named(None, None)
    if not wrong:
        return Named(None, None)
    if not any(layer.effect for layer in wrong):
        wrong = [layer for layer in wrong if layer.noise >= _MATTERS * max(w.noise for w in wrong)]
        worst = max(wrong, key=lambda layer: layer.noise)
        return Named(_first(wrong, alone), worst)
    most = max(layer.effect or 0.0 for layer in wrong)
    mattering = [layer for layer in wrong if _counts(layer.effect or 0.0, most)]
    return Named(_first(mattering, alone), max(mattering, key=lambda layer: layer.effect or 0.0))


def _counts(effect: float, most: float) -> bool:
    return effect == most or (effect >= _MATTERS * most and not math.isinf(most))


def _first(layers: Sequence[LayerEvidence], alone: bool) -> LayerEvidence:
    brought_in = [layer for layer in layers if layer.origin is not Origin.TARGET]
    return min(brought_in or layers, key=lambda layer: layer.part.index)


def describe(layer: LayerEvidence, target: str, *, alone: bool) -> str:
    """'conv7 (Conv): own SQNR 12.1 dB. ...'"""
    name = f"'{printable(layer.part.name)}' ({layer.part.operators})"
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
