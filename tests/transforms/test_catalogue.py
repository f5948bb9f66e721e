"""The catalogue: one row a transform, from which everything about it is derived."""

from __future__ import annotations

import pickle

import pytest
from small_graphs import FIXTURES

from modelcheck.errors import UsageError
from modelcheck.model import load
from modelcheck.transforms import CATALOGUE, Claim, Transform, build, chain, describe, identity

ROWS = list(CATALOGUE.values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_builds_its_examples_under_its_name_and_claim(row) -> None:
    assert row.examples
    for options in row.examples:
        transform = build(row.name, options)
        assert transform.name == row.name
        assert transform.claim == row.claim
        assert {**transform.options, **options}.keys() == {o.name for o in row.options}
        if row.zeros is not None:
            assert 0 <= row.zeros(transform.options) <= 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_described_in_full(row) -> None:
    (description,) = [d for d in describe() if d.name == row.name]
    assert description.summary.endswith(".")
    assert len(description.summary) <= 100
    assert description.source
    assert all(option.help for option in description.options)
    assert f"Claim: {row.claim}" in row.factory.__doc__


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_refuses_an_option_that_it_does_not_have(row) -> None:
    with pytest.raises(UsageError, match=f"unknown option 'colour' of '{row.name}'"):
        build(row.name, {"colour": "red"})
    with pytest.raises(UsageError, match="unknown option 'colour'"):
        row.factory(colour="red")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_options_of_a_built_transform_build_it_again(row) -> None:
    for options in row.examples:
        transform = build(row.name, options)
        assert build(row.name, transform.options).options == transform.options


@pytest.mark.parametrize("row", [r for r in ROWS if r.identity is not None], ids=lambda r: r.name)
def test_the_identity_options_return_the_very_same_model(row) -> None:
    model = load(FIXTURES / "digits_resnet.onnx")
    assert build(row.name, row.identity)(model) is model


def test_an_unknown_transform_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UsageError) as caught:
        build("prune-wieghts", {})
    assert str(caught.value) == (
        "unknown transform 'prune-wieghts'\n"
        "  Did you mean 'prune-weights'? `modelcheck transforms` lists them."
    )


def test_chaining_is_associative_and_identity_is_its_unit() -> None:
    model = load(FIXTURES / "digits_resnet.onnx")
    a, b, c = build("fold-batchnorm"), build("prune-weights"), build("quantize-weights")
    left, right = chain(chain(a, b), c), chain(a, chain(b, c))
    assert left(model) == right(model) == chain(a, b, c)(model)
    assert chain(identity(), a)(model) == chain(a, identity())(model) == a(model)
    assert chain()(model) is identity()(model) is model


def test_a_chain_claims_what_its_weakest_part_claims() -> None:
    exact, precision, lossy = (Transform(c, c, lambda m, _: m) for c in Claim)
    assert chain().claim == chain(exact, exact).claim == Claim.EXACT
    assert chain(precision, exact).claim == Claim.PRECISION
    assert chain(exact, lossy, precision).claim == Claim.LOSSY


@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n in CATALOGUE for o in CATALOGUE[n].examples]
)
def test_every_step_can_be_sent_to_another_process(name: str, options: dict[str, object]) -> None:
    step = build(name, options)
    there = pickle.loads(pickle.dumps(step))
    assert (there.name, there.claim, there.calibrates) == (step.name, step.claim, step.calibrates)
    assert dict(there.options) == dict(step.options)


def test_a_step_that_nobody_could_make_again_is_not_sent() -> None:
    with pytest.raises(TypeError, match="not of the catalogue"):
        pickle.dumps(Transform("mine", Claim.EXACT, lambda model, context: model))
