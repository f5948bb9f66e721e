"""Every law of the battery, asked of every row of the catalogue with each of its examples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcheck.model import Model
from modelcheck.testing import battery
from modelcheck.testing.battery import Case
from modelcheck.testing.models import inputs, models
from modelcheck.testing.runner import Runner
from modelcheck.transforms.catalogue import CATALOGUE, Options, Row

EXAMPLES = [(row, options) for row in CATALOGUE.values() for options in row.examples]


def label(case: tuple[Row, Options]) -> str:
    row, options = case
    return " ".join([row.name, *(f"{k}={v}" for k, v in options.items())])


def rows_that(promise: Callable[[Row], bool]) -> pytest.MarkDecorator:
    cases = [case for case in EXAMPLES if promise(case[0])]
    return pytest.mark.parametrize("case", cases, ids=label)


every_row = rows_that(lambda row: True)
# Rows times examples times laws are many, so each takes half of the profile's examples.
few = settings(max_examples=settings.default.max_examples // 2)
Asked = tuple[Row, Options]


@every_row
@few
@given(model=models())
def test_applying_a_transform_leaves_its_input_unchanged(
    runner: Runner, case: Asked, model: Model
) -> None:
    battery.leaves_its_input_unchanged(Case(*case, model, runner))


@every_row
@few
@given(model=models())
def test_the_result_passes_the_checker_of_onnx(runner: Runner, case: Asked, model: Model) -> None:
    battery.gives_a_valid_model(Case(*case, model, runner))


@every_row
@few
@given(model=models())
def test_the_result_keeps_the_signature(runner: Runner, case: Asked, model: Model) -> None:
    battery.keeps_the_signature(Case(*case, model, runner))


@every_row
@few
@given(model=models(), data=st.data())
def test_the_claim_holds_in_onnxruntime(
    runner: Runner, case: Asked, model: Model, data: st.DataObject
) -> None:
    samples = [data.draw(inputs(model.signature)) for _ in range(2)]
    battery.holds_its_claim(Case(*case, model, runner, samples))


@every_row
@few
@given(model=models(), seed=st.integers(0, 99))
def test_equal_seeds_give_equal_results(
    runner: Runner, case: Asked, model: Model, seed: int
) -> None:
    battery.is_deterministic(Case(*case, model, runner, seed=seed))


@pytest.mark.parametrize("name", [r.name for r in CATALOGUE.values() if r.identity is not None])
@given(model=models())
def test_identity_options_change_nothing(runner: Runner, name: str, model: Model) -> None:
    battery.is_the_identity_at_its_identity_options(Case(CATALOGUE[name], {}, model, runner))


@rows_that(lambda row: row.idempotent)
@few
@given(model=models())
def test_a_second_application_changes_nothing(runner: Runner, case: Asked, model: Model) -> None:
    battery.is_idempotent(Case(*case, model, runner))


@rows_that(lambda row: row.zeros is not None)
@few
@given(model=models())
def test_promised_zeros_are_there(runner: Runner, case: Asked, model: Model) -> None:
    battery.zeroes_what_it_promises(Case(*case, model, runner))


@given(model=models(), parts=st.tuples(*[st.sampled_from(EXAMPLES)] * 3))
def test_chaining_is_associative(
    runner: Runner, model: Model, parts: tuple[Asked, Asked, Asked]
) -> None:
    a, b, c = (Case(*part, model, runner) for part in parts)
    battery.chaining_is_associative(a, b, c)
