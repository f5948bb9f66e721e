"""The same input gives the same output: to the last bit on a CPU, up to rounding on CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from modelcheck.judge import Blame, Check, Outcome
from modelcheck.recipe import TargetSettings
from modelcheck.targets import Target
from modelcheck.verification.equivalence import Kept
from modelcheck.verification.lane import Lane
from modelcheck.verification.probes import check_repeatable

ANSWER = np.array([[1.0, -2.0, 4.0]], np.float32)


def repeated(device: str, errors: Iterator[float], *, alone: bool = False) -> Check | None:
    """The check where the n-th run lies so far off, of the scale: of the candidate, or alone."""

    def forward(arrays: object) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
        strayed = {"y": ANSWER + np.float32(4.0 * next(errors))}
        return (strayed, None) if alone else ({"y": ANSWER}, strayed)

    lane = SimpleNamespace(settings=TargetSettings(Target.parse(device)), forward=forward)
    candidate = None if alone else {"y": ANSWER}
    kept = Kept({"x": ANSWER}, {"y": ANSWER}, {"y": ANSWER}, candidate)
    return check_repeatable(cast(Lane, cast(Any, lane)), [kept])


def once(error: float, *, at: int = 0) -> Iterator[float]:
    number = 0
    while True:
        yield error if number == at else 0.0
        number += 1


@pytest.mark.parametrize("device", ["cpu", "opencl", "cuda", "cuda-fp16"])
def test_equal_bits_are_no_finding(device: str) -> None:
    assert repeated(device, once(0.0)) is None


@pytest.mark.parametrize("device", ["cpu", "opencl"])
def test_a_device_that_computes_to_the_last_bit_is_held_to_it(device: str) -> None:
    check = repeated(device, once(1e-6))
    assert check is not None
    assert (check.outcome, check.blame) == (Outcome.INCONCLUSIVE, Blame.TRANSFORM)
    assert "different outputs for the same input" in check.message


@pytest.mark.parametrize(("device", "error"), [("cuda", 2e-5), ("cuda-fp16", 1e-2)])
def test_sums_in_another_order_are_no_finding_on_cuda(device: str, error: float) -> None:
    assert repeated(device, once(error)) is None


@pytest.mark.parametrize(("device", "error"), [("cuda", 1e-3), ("cuda-fp16", 0.1)])
@pytest.mark.parametrize("at", [0, 5])
def test_what_is_no_rounding_is_found_though_it_comes_seldom(
    device: str, error: float, at: int
) -> None:
    check = repeated(device, once(error, at=at), alone=True)
    assert check is not None
    assert (check.outcome, check.blame) == (Outcome.INCONCLUSIVE, Blame.TARGET)


def test_nan_that_comes_and_goes_is_found() -> None:
    assert repeated("cuda", once(float("nan"), at=3)) is not None
