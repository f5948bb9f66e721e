"""Applying steps: what changed is found by comparing, and an error names its step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from modelcheck.errors import InvalidInput, UsageError
from modelcheck.model import Model, load
from modelcheck.recipe import apply_steps, parse_step
from modelcheck.transforms import Claim, Context, Transform, chain, identity

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture(scope="module")
def original() -> Model:
    return load(FIXTURES / "digits_resnet.onnx")


def halve_first_weight(model: Model, context: Context) -> Model:
    """Scale the first large weight; leave a note that says nothing about it."""
    graph = model.edit()
    name, value = max(graph.graph.initializers.items(), key=lambda item: item[1].const_value.size)
    assert value.const_value is not None
    value.const_value = ir.Tensor(value.const_value.numpy() * np.float32(0.5), name=name)
    context.leave("elsewhere", "because")
    return Model.freeze(graph)


def refuse(model: Model, context: Context) -> Model:
    raise InvalidInput("has no weights", where="layer 'a'", remedy="Give it some.")


def lossy(name: str, apply) -> Transform:  # type: ignore[no-untyped-def]
    return Transform(name, Claim.LOSSY, apply)


def test_without_steps_the_candidate_is_the_original_and_the_claim_exact(original: Model) -> None:
    candidate = apply_steps(original, [])
    assert candidate.model is original
    assert candidate.steps == ()
    assert candidate.claim is Claim.EXACT


def test_the_original_is_unchanged_and_the_steps_stand_in_order(original: Model) -> None:
    before = original.digest
    texts = ["fold-batchnorm", "prune-weights:amount=0.5", "fp16"]
    candidate = apply_steps(original, [parse_step(text) for text in texts])
    assert [step.name for step in candidate.steps] == ["fold-batchnorm", "prune-weights", "fp16"]
    assert original.digest == before
    assert candidate.original is original
    assert candidate.model != original
    assert candidate.steps[1].transform.options["amount"] == 0.5
    assert candidate.steps[0].change.nodes_removed["BatchNormalization"] == 8
    assert candidate.steps[1].change.sparsity_after == pytest.approx(0.5, abs=0.01)
    assert candidate.steps[2].model_bytes == candidate.model.nbytes < original.nbytes


def test_the_claim_of_a_candidate_is_the_weakest_of_its_steps(original: Model) -> None:
    claims = {
        (): Claim.EXACT,
        ("identity", "fold-batchnorm"): Claim.EXACT,
        ("fold-batchnorm", "fp16"): Claim.PRECISION,
        ("prune-weights:amount=0", "fp16", "identity"): Claim.LOSSY,
    }
    for texts, claim in claims.items():
        assert apply_steps(original, [parse_step(text) for text in texts]).claim is claim


def test_what_changed_is_derived_and_not_reported(original: Model) -> None:
    steps = [lossy("claims nothing", halve_first_weight), lossy("does nothing", lambda m, c: m)]
    changed, unchanged = apply_steps(original, steps).steps
    assert changed.change.weights_changed == 1
    assert not changed.change.nothing
    assert unchanged.change.nothing


def test_layers_left_alone_stay_with_their_step(original: Model) -> None:
    steps = apply_steps(original, [lossy("notes", halve_first_weight), identity()]).steps
    assert [(note.layer, note.reason) for note in steps[0].left_alone] == [("elsewhere", "because")]
    assert steps[1].left_alone == ()


def test_an_error_names_the_step_and_keeps_what_it_said(original: Model) -> None:
    with pytest.raises(InvalidInput) as caught:
        apply_steps(original, [identity(), lossy("breaker", refuse)])
    assert str(caught.value) == ("step 2 (breaker), layer 'a': has no weights\n  Give it some.")
    assert caught.value.exit_code == 3


def test_a_step_that_calibrates_asks_for_data(original: Model) -> None:
    needy = lossy("needy", lambda model, context: context.calibrated("needy") and model)
    with pytest.raises(UsageError, match=r"(?s)step 1 \(needy\).*--calibration-data") as caught:
        apply_steps(original, [needy])
    assert caught.value.exit_code == 2


def test_progress_is_told_step_by_step(original: Model) -> None:
    told: list[object] = []

    def half_way(model: Model, context: Context) -> Model:
        context.progress(0.5)
        return model

    apply_steps(
        original,
        [identity(), lossy("slow", half_way)],
        on_step=lambda index, transform: told.append((index, transform.name)),
        on_progress=told.append,
    )
    assert told == [(1, "identity"), (2, "slow"), 0.5]


def test_a_seed_gives_the_same_candidate_and_another_seed_another(original: Model) -> None:
    step = [parse_step("sparsify:pattern=random")]
    one, again, other = (apply_steps(original, step, seed=s).model.digest for s in (1, 1, 2))
    assert one == again != other


def test_steps_are_the_chain_of_their_transforms(original: Model) -> None:
    transforms = [parse_step("fold-batchnorm"), parse_step("prune-weights:amount=0.3")]
    assert apply_steps(original, transforms).model == chain(*transforms)(original)
