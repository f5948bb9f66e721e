"""Which of many layers is named: pure values in, a choice out."""

from __future__ import annotations

import math

import numpy as np

from modelcheck.diagnose.evidence import LayerEvidence, Origin, Part
from modelcheck.diagnose.naming import name_layers
from modelcheck.judge.comparison import OutputComparison

ROUNDING = 1e-9  # noise over signal


def layer(
    index: int, noise: float, effect: float | None, origin: Origin | None = Origin.TRANSFORM
) -> LayerEvidence:
    """A layer whose own noise and effect are these."""
    comparison = OutputComparison(f"y{index}")
    expected = np.ones((1, 100))
    comparison.update(expected, expected + math.sqrt(noise), 0)
    name, tensor = f"layer{index}", f"y{index}"
    part = Part(index, name, "Conv", (name,), tensor, tensor, ("x",), "Conv")
    return LayerEvidence(part, comparison.result(), origin, effect=effect)


def named(layers: list[LayerEvidence], *, alone: bool = False) -> tuple[int, int] | None:
    found = name_layers(layers, rounding=ROUNDING, alone=alone)
    if found.first is None or found.worst is None:
        return None
    return found.first.part.index, found.worst.part.index


def quiet(*indices: int) -> list[LayerEvidence]:
    return [layer(i, 1e-13, None, None) for i in indices]


def test_rounding_alone_names_nothing() -> None:
    assert named(quiet(0, 1, 2)) is None


def test_the_first_is_the_earliest_and_the_worst_has_the_largest_effect() -> None:
    layers = [*quiet(0), layer(1, 1e-2, 1e-7), layer(2, 1e-6, 1e-3), *quiet(3)]
    assert named(layers) == (1, 2)


def test_noise_that_reaches_no_output_is_not_named() -> None:
    layers = [layer(0, 1e-6, 1e-17, Origin.TARGET), layer(1, 1e-4, 1e-6), *quiet(2, 3)]
    assert named(layers) == (1, 1)
    assert named([layers[0], *quiet(1, 2)], alone=True) is None


def test_a_changed_layer_behind_saturated_outputs_is_named_all_the_same() -> None:
    assert named([*quiet(0), layer(1, 1e-3, 0.0), *quiet(2)]) == (1, 1)


def test_in_a_quantized_model_the_first_is_one_that_matters() -> None:
    layers = [layer(i, 1e-4, 1e-4) for i in range(8)]
    layers[5] = layer(5, 0.5, 0.3, Origin.FORM)
    layers[7] = layer(7, 0.5, 0.5, Origin.FORM)
    assert named(layers) == (5, 7)


def test_where_the_target_is_wrong_about_both_they_do_not_part() -> None:
    layers = [layer(0, 0.1, 0.1, Origin.TARGET), layer(1, 1e-3, 1e-3), *quiet(2, 3)]
    assert named(layers) == (1, 0)
    assert named([layers[0], *quiet(1, 2, 3)]) == (0, 0)


def test_noise_without_bound_is_the_worst() -> None:
    layers = [layer(0, 1e-3, 1e-3), layer(1, math.inf, math.inf), *quiet(2, 3)]
    assert named(layers) == (0, 1)
