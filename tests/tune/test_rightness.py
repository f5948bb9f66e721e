"""Whether a pool's outputs are right: row by row, bit by bit, and within the noise floor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modelcheck.data import Sample
from modelcheck.judge import NoiseFloor, Outcome, Variation
from modelcheck.model import load
from modelcheck.targets import Target
from modelcheck.targets.pool import Difference, PoolRun
from modelcheck.tune.rightness import Expected, judge_outputs, standing_of
from modelcheck.tune.settings import Setting
from modelcheck.tune.tried import Standing

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
COUNT = 5


@pytest.fixture(scope="module")
def expected() -> Expected:
    random = np.random.default_rng(0)
    rows = random.standard_normal((COUNT, 1, 10)).astype(np.float32)
    images = random.standard_normal((COUNT, 1, 1, 8, 8)).astype(np.float32)
    samples = tuple(Sample(i, {"image": x}, None, str(i)) for i, x in enumerate(images))
    outputs = tuple({"logits": row} for row in rows)
    return Expected(load(FIXTURES / "digits_resnet.onnx"), samples, outputs, synthetic=False)


def run_of(expected: Expected, batch: int, *, factor: float = 1.0) -> PoolRun:
    """What a pool gives that is right, up to a factor."""
    count = -(-COUNT // batch)
    rows = [[expected.outputs[(i * batch + j) % COUNT]["logits"] for j in range(batch)]
            for i in range(count)]  # fmt: skip
    return PoolRun(tuple({"logits": np.concatenate(r) * np.float32(factor)} for r in rows), ())


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_each_row_of_a_batch_is_held_to_its_own_sample(expected: Expected, batch: int) -> None:
    setting = Setting(Target(), batch=batch)
    check = judge_outputs(expected, setting, run_of(expected, batch), None)
    assert check.outcome is Outcome.PASS
    assert check.evidence.judged_samples == COUNT  # type: ignore[union-attr]


def test_rows_in_another_order_are_wrong(expected: Expected) -> None:
    run = run_of(expected, 2)
    swapped = tuple({"logits": one["logits"][::-1]} for one in run.outputs)
    check = judge_outputs(expected, Setting(Target(), batch=2), PoolRun(swapped, ()), None)
    assert standing_of(check) is Standing.WRONG


def test_an_output_that_has_no_rows_for_its_samples_is_wrong(expected: Expected) -> None:
    run = PoolRun(({"logits": np.zeros((1, 10), np.float32)},), ())
    check = judge_outputs(expected, Setting(Target(), batch=8), run, None)
    assert standing_of(check) is Standing.WRONG


def test_a_net_that_gives_other_bits_is_wrong_however_near(expected: Expected) -> None:
    right = run_of(expected, 1)
    run = PoolRun(right.outputs, (Difference(1, 0, "logits"),))
    check = judge_outputs(expected, Setting(Target(), nets=2), run, None)
    assert standing_of(check) is Standing.WRONG
    assert "net 2 gives other bits than net 1" in check.message


@pytest.mark.parametrize(
    ("largest", "outcome"),
    [(1e-3, Outcome.PASS), (1e-9, Outcome.FAIL), (None, Outcome.INCONCLUSIVE)],
)
def test_an_error_that_rounding_may_explain_is_held_to_the_noise_floor(
    expected: Expected, largest: float | None, outcome: Outcome
) -> None:
    def floors(kept: object) -> Iterator[NoiseFloor]:
        assert largest is not None
        yield NoiseFloor((Variation("test", "new", {"logits": largest}, {"logits": largest}),), 9)

    check = judge_outputs(
        expected, Setting(Target()), run_of(expected, 1, factor=1.0005), None,
        None if largest is None else floors,
    )  # fmt: skip
    assert check.outcome is outcome


def test_the_noise_floor_is_not_measured_where_it_changes_nothing(expected: Expected) -> None:
    def floors(kept: object) -> Iterator[NoiseFloor]:
        raise AssertionError("measured in vain")

    for factor in (1.0, 2.0):
        judge_outputs(expected, Setting(Target()), run_of(expected, 1, factor=factor), None, floors)
