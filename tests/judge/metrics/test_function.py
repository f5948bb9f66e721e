"""A callable of the user's is watched, cannot change what others see, and fails by its name."""

import numpy as np
import pytest
from metric_cases import scored

from modelcheck.errors import UsageError
from modelcheck.judge.metrics import of_function

X = np.ones((1, 4), np.float32)


def run(function, expected=X, actual=X):
    return scored(of_function(function, 0.9), [expected], [actual])


def test_its_number_is_the_score_and_its_name_that_of_the_metric():
    def half(expected, actual):
        return np.float32(0.5) if expected["y"].shape == actual["y"].shape else 0.0

    assert run(half).values.tolist() == [0.5]
    assert of_function(half, 0.9).title == "half"
    assert run(lambda expected, actual: np.bool_(True)).values.tolist() == [1.0]


def test_only_what_it_reads_counts_as_judged():
    def looks(expected, actual):
        return float(expected["b"].sum() == actual["b"].sum())

    scoring = of_function(looks, 0.9).metric().scoring(())
    outputs = {"a": X, "b": X}
    scoring.update(outputs, outputs, 0, None)
    assert scoring.outputs == ("b",)
    everything = of_function(lambda e, a: float(len(dict(e.items())) == 2), 0.9)
    scoring = everything.metric().scoring(())
    scoring.update(outputs, outputs, 0, None)
    assert scoring.outputs == ("a", "b")


def test_it_cannot_write_into_the_outputs():
    def writes(expected, actual):
        actual["y"][:] = 0
        return 1.0

    with pytest.raises(UsageError, match=r"raised ValueError.*read-only"):
        run(writes)
    assert X.all()


@pytest.mark.parametrize("value", [None, "1", np.nan, 1.5, -0.1, np.ones(3)])
def test_what_is_no_number_from_0_to_1_is_said(value):
    with pytest.raises(UsageError, match="not a number from 0 to 1"):
        run(lambda expected, actual: value)


def test_an_exception_is_a_message_with_the_sample():
    def breaks(expected, actual):
        return expected["absent"]

    with pytest.raises(UsageError, match=r"raised KeyError: 'absent' \(sample 0\)"):
        run(breaks)


def test_outputs_that_are_broken_score_0_without_asking():
    def never(expected, actual):
        raise AssertionError

    assert run(never, actual=X * np.nan).values.tolist() == [0.0]
    assert run(never, actual=X[:, :3]).values.tolist() == [0.0]
    assert run(never, expected=X * np.nan).unusable == 1
