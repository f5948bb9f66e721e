"""Which layers are written anew, by scripted times: what pays stays, what does not goes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from scripted_watch import Scripted, costing

from modelcheck.model import Model, load
from modelcheck.searching.making import Maker
from modelcheck.searching.rewriting import Rewriting, steps_of
from modelcheck.searching.stopwatch import NotRun, Stopwatch, Times
from modelcheck.targets import Engine
from modelcheck.transforms import Claim, Context, Transform

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SAMPLE = {"image": np.zeros((1, 1, 8, 8), np.float32)}
WIDE = "conv-as-matmul"


def searched(watch: Scripted, *, seconds: float = 60.0) -> Rewriting:
    model = load(FIXTURES / "digits_resnet.onnx")
    found = Rewriting(
        Maker(model, Context()), [SAMPLE], cast(Stopwatch, cast(Any, watch)), Engine.NEW,
        time.monotonic() + seconds,
    )  # fmt: skip
    for _ in (*found.begin(), *found.improve()):
        pass
    return found


def operators(found: Rewriting) -> set[str]:
    return {node.op_type for node in found.net().graph}


def test_where_products_are_fast_every_convolution_becomes_one() -> None:
    assert "Conv" not in operators(searched(Scripted(costing(Conv=5.0, MatMul=0.1))))


def test_where_convolutions_are_fast_the_model_stays_as_it_is() -> None:
    found = searched(Scripted(costing(Conv=0.1, MatMul=5.0)))
    assert found.chosen == {}
    assert found.steps() == ()


def test_what_pays_alone_and_not_within_the_net_is_taken_back() -> None:
    """Slices are free in a net of one layer, and dear beside other layers."""

    def cost(model: Model) -> float:
        nodes = list(model.graph)
        alone = len(nodes) < 20
        return 1.0 + sum(
            {"Conv": 1.0, "MatMul": 0.5, "Concat": 0.0 if alone else 3.0}.get(n.op_type, 0.0)
            for n in nodes
        )

    assert "Concat" not in operators(searched(Scripted(cost)))


def test_a_form_that_does_not_run_is_not_chosen() -> None:
    def cost(model: Model) -> float:
        return float("inf") if any(n.op_type == "Concat" for n in model.graph) else 1.0

    assert searched(Scripted(cost)).steps() == ()


@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_noise_alone_makes_no_layer_worth_rewriting(noise: float) -> None:
    found = searched(Scripted(costing(), noise))
    # Two standard errors let one in forty through; all of many would be none of noise.
    assert len(found.chosen) <= len(found.costs) // 2


def test_a_race_that_a_neighbour_disturbed_is_run_once_more() -> None:
    """Of two looks at a rule the steadier one counts."""
    watch = Disturbed(costing(Conv=5.0, MatMul=0.1))
    model = load(FIXTURES / "digits_resnet.onnx")
    now = Rewriting(
        Maker(model, Context()), [SAMPLE], cast(Stopwatch, cast(Any, watch)), Engine.NEW,
        time.monotonic() + 60,
    )  # fmt: skip
    assert now._try(replace(now, whole=(WIDE,)))
    assert now.whole == (WIDE,)
    assert watch.races == 2


class Disturbed(Scripted):
    """In its first race all nets seem alike, and nothing is certain."""

    def _time(self, cost: float, rounds: int) -> Times | NotRun:
        if self.races > 1:
            return super()._time(cost, rounds)
        return Times(tuple(1 + 0.5 * self.random.random(rounds)))


def test_when_the_time_is_over_the_best_so_far_stands() -> None:
    found = searched(Scripted(costing(Conv=5.0, MatMul=0.1)), seconds=-1.0)
    assert found.out_of_time
    assert found.steps() == ()


def test_a_step_names_the_rule_and_the_layers() -> None:
    (step,) = steps_of({"a": WIDE, "b": WIDE})
    assert dict(step.options) | {"rules": (WIDE,), "only": ("a", "b")} == dict(step.options)


def test_what_two_chains_begin_with_is_applied_once() -> None:
    asked: list[str] = []

    def step(name: str, **options: object) -> Transform:
        def apply(model: Model, context: Context) -> Model:
            asked.append(name)
            return model

        return Transform(name, Claim.EXACT, apply, options)

    model = load(FIXTURES / "digits_mlp.onnx")
    make = Maker(model, Context())
    first, second, third = step("a"), step("b", amount=1), step("b", amount=2)
    assert make([first, second]) is model
    assert make([first, third]) is model
    assert make([first, second]) is model
    assert make([]) is model
    assert asked == ["a", "b", "b"]
