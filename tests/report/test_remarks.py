"""The lines under the tables."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from modelcheck.judge import Agreement
from modelcheck.report.remarks import accuracies


@pytest.mark.parametrize(("labels", "warned"), [(16, True), (15, False)])
@pytest.mark.parametrize("met", [0, 1])
def test_a_model_that_meets_no_label_is_not_fed_as_it_was_trained(
    labels: int, warned: bool, met: int
) -> None:
    agreement, scores = Agreement(), np.tile([[0.1, 0.9]], (labels, 1))
    truth = np.zeros(labels, int)
    truth[:met] = 1
    agreement.update(scores, scores, truth)
    target = SimpleNamespace(
        settings=SimpleNamespace(target=SimpleNamespace(name="cpu new")),
        equivalence=SimpleNamespace(total_agreement={"y": agreement.result()}),
    )
    said = "\n".join(line.plain for line in accuracies((target,)))  # type: ignore[arg-type]
    assert f"top-1 accuracy on {labels} labels" in said
    assert ("not one label is met" in said) == (warned and not met)
