"""rewrite: forms that an engine is known to get wrong, written so that it gets them right."""

from __future__ import annotations

import pytest
from faulty_nets import CASES
from small_graphs import CLASSIC, NEW, Runner, inputs_for, worst_error

from modelcheck.transforms import rewrite

MENDED = {
    "depthwise-padded-below": CLASSIC,
    "one-dimension-padded-at-one-end": CLASSIC,
    "batchnorm-behind-activation": NEW,
    "reduced-over-three": CLASSIC,
    "reduced-over-three-between": NEW,
    "reduced-over-all": CLASSIC,
    "transposed-size": NEW,
    "gelu-tanh": NEW,
    "swish-alpha": NEW,
    "transposed-1d": CLASSIC,
}
ROUNDING = 5e-6


@pytest.mark.parametrize("name", MENDED)
def test_the_default_rules_mend_it(runner: Runner, name: str) -> None:
    original = CASES[name].shows()
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    made = rewrite()(original)
    assert made is not original
    assert worst_error(expected, runner.onnxruntime(made, inputs)) < ROUNDING
    assert worst_error(expected, runner.opencv(made, inputs, engine=MENDED[name])) < ROUNDING
    assert rewrite()(made) is made
