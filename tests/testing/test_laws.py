"""Each law of the battery rejects a transform that breaks it, and no other law does its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from modelcheck.errors import InvalidInput
from modelcheck.model import Model
from modelcheck.testing import battery
from modelcheck.testing.battery import Case, Law, LawBroken
from modelcheck.testing.net import Net
from modelcheck.testing.runner import Runner
from modelcheck.transforms import Claim, Context, Transform
from modelcheck.transforms.catalogue import Row

Apply = Callable[[Model, Context], Model]


def small() -> Model:
    net = Net(seed=3)
    y = net.add("Conv", [net.input((3, 5, 5)), net.weight((4, 3, 3, 3))], (4, 5, 5), pads=[1] * 4)
    y = net.add("Flatten", [net.add("Relu", [y])], (100,))
    net.outputs.append(net.add("Gemm", [y, net.weight((100, 5))], (5,)))
    return net.model()


def row(apply: Apply, claim: Claim = Claim.LOSSY, **promises: object) -> Row:
    """A row of the catalogue for a transform that is made up."""

    def made_up(**options: object) -> Transform:
        return Transform("made-up", claim, apply, options)

    return replace(Row(made_up, claim, "tests"), **promises)


def weight(edited: ir.Model) -> ir.Value:
    return next(v for v in edited.graph.initializers.values() if v.const_value.size == 108)


def with_weight(model: Model, change: Callable[[np.ndarray], np.ndarray]) -> Model:
    edited = model.edit()
    value = weight(edited)
    assert value.const_value is not None
    value.const_value = ir.tensor(change(value.const_value.numpy()), name=value.name)
    return Model.freeze(edited)


def scaled(factor: float) -> Apply:
    return lambda model, context: with_weight(model, lambda w: w * np.float32(factor))


def mutating(model: Model, context: Context) -> Model:
    model.graph[0].name = (model.graph[0].name or "") + "!"
    return model


def misfitting(model: Model, context: Context) -> Model:
    edited = model.edit()
    last = list(edited.graph)[-1].inputs[1]
    assert last is not None
    last.const_value = ir.tensor(np.ones((99, 5), np.float32), name=last.name)
    return Model.freeze(edited)


def renaming_the_output(model: Model, context: Context) -> Model:
    edited = model.edit()
    edited.graph.outputs[0].name = "another"
    return Model.freeze(edited)


def unseeded(model: Model, context: Context) -> Model:
    random = np.random.default_rng()
    return with_weight(model, lambda w: w * np.float32(random.uniform(0.5, 1.5)))


def infinite(model: Model, context: Context) -> Model:
    return with_weight(model, lambda w: np.full_like(w, 3e38))


BROKEN: tuple[tuple[Law, Row], ...] = (
    (battery.leaves_its_input_unchanged, row(mutating)),
    (battery.keeps_the_signature, row(renaming_the_output)),
    (battery.holds_its_claim, row(scaled(1.0001), Claim.EXACT)),
    (battery.holds_its_claim, row(scaled(1.05), Claim.PRECISION)),
    (battery.holds_its_claim, row(infinite, Claim.LOSSY)),
    (battery.is_deterministic, row(unseeded)),
    (battery.is_the_identity_at_its_identity_options, row(scaled(0.5), identity={"amount": 0.0})),
    (battery.is_idempotent, row(scaled(0.5))),
    (battery.zeroes_what_it_promises, row(scaled(0.5), zeros=lambda options: 0.5)),
)


@pytest.mark.parametrize(("law", "broken"), BROKEN, ids=[law.__name__ for law, _ in BROKEN])
def test_a_law_rejects_what_breaks_it(runner: Runner, law: Law, broken: Row) -> None:
    with pytest.raises(LawBroken, match="made-up"):
        law(Case(broken, {}, small(), runner))


def test_an_invalid_result_is_rejected(runner: Runner) -> None:
    with pytest.raises(InvalidInput):
        battery.gives_a_valid_model(Case(row(misfitting), {}, small(), runner))


@pytest.mark.parametrize("law", battery.LAWS, ids=lambda law: law.__name__)
def test_the_identity_holds_every_law(runner: Runner, law: Law) -> None:
    nothing = row(lambda model, context: model, Claim.EXACT, identity={})
    law(Case(nothing, {}, small(), runner))


@pytest.mark.parametrize(
    ("claim", "factor"), [(Claim.EXACT, 1 + 2**-23), (Claim.PRECISION, 1.0005), (Claim.LOSSY, 0.5)]
)
def test_a_claim_allows_what_it_says(runner: Runner, claim: Claim, factor: float) -> None:
    battery.holds_its_claim(Case(row(scaled(factor), claim), {}, small(), runner))


def test_a_chain_that_looks_at_its_neighbours_is_not_associative(runner: Runner) -> None:
    calls: list[int] = []

    def counting(model: Model, context: Context) -> Model:
        calls.append(1)
        return scaled(1 + len(calls))(model, context)

    case = Case(row(counting), {}, small(), runner)
    with pytest.raises(LawBroken, match="associative"):
        battery.chaining_is_associative(case, case, case)
