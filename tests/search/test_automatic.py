"""`auto` in a step: explicit options, found by measuring, right on every target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from modelcheck.data import ThreeSets, open_samples, split_in_three
from modelcheck.errors import NotEnoughEvidence, Unsupported, UsageError
from modelcheck.judge import Limits
from modelcheck.judge.limits import parse_limit
from modelcheck.model import Model, load
from modelcheck.model.patterns import V4
from modelcheck.recipe import (
    Automatic,
    TargetSettings,
    apply_steps,
    is_automatic,
    load_recipe,
    parse_step,
)
from modelcheck.recipe.writing import step_text
from modelcheck.searching import places
from modelcheck.searching.automatic import Expanded, expand
from modelcheck.searching.sensitivity import weight_layers
from modelcheck.targets import Target
from modelcheck.testing.net import Net
from modelcheck.transforms import Transform, chain
from modelcheck.transforms.edit import Edit

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
TWO = ("cpu:new", "cpu:classic")


def expanded(
    model: Model, steps: Sequence[str], samples: ThreeSets, targets: Sequence[str] = TWO,
    limit: str = "min-sqnr=20",
) -> Expanded:  # fmt: skip
    limits = Limits(equivalence=parse_limit(limit))
    settings = [TargetSettings(Target.parse(text), limits) for text in targets]
    *_, last = expand(model, [parse_step(text) for text in steps], samples, settings)
    assert isinstance(last, Expanded)
    return last


def digits(model: Model) -> ThreeSets:
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=60)
    return split_in_three(samples, None, calibrate=True)


def random_samples(folder: Path, model: Model) -> ThreeSets:
    values = np.random.default_rng(0).standard_normal((12, 8, 7, 7)).astype(np.float32)
    np.savez(folder / "x.npz", **{model.signature.inputs[0].name: values})
    return split_in_three(open_samples(folder / "x.npz", model.signature), None, calibrate=True)


def pointwise() -> Model:
    """A 1x1 convolution of 49 pixels, which the new engine gets wrong in int8, and another."""
    net = Net()
    first = net.add("Conv", [net.input((8, 7, 7)), net.weight((32, 8, 1, 1))], (32, 7, 7))
    tanh = net.add("Tanh", [first])
    net.outputs.append(net.add("Conv", [tanh, net.weight((32, 32, 3, 3))], pads=[1, 1, 1, 1]))
    return net.model()


def test_what_is_found_is_explicit_and_says_why() -> None:
    model = load(FIXTURES / "digits_resnet.onnx")
    found = expanded(model, ["fold-batchnorm", "quantize:form=auto,skip=auto"], digits(model))
    assert not is_automatic(found.steps)
    assert found.steps[1].options["form"] in ("qdq", "qoperator")
    assert found.steps[1].options["exclude"] == ()
    said = "\n".join(found.notes)
    assert "is computed rightly on every target" in said
    assert "the limits hold with every layer in int8" in said
    assert "`modelcheck search`" in said
    assert "auto" not in " ".join(map(step_text, found.steps))


def test_a_layer_that_a_target_gets_wrong_stays_in_float(tmp_path: Path) -> None:
    model = pointwise()
    samples = random_samples(tmp_path, model)
    found = expanded(model, ["quantize:form=auto,spare=false"], samples, limit="min-sqnr=1")
    (step,) = found.steps
    first = next(iter(weight_layers(model)))
    assert step.options["exclude"] == (first,)
    assert any(f"which a target gets wrong in int8: {first}" in note for note in found.notes)
    assert any("is not computed rightly on cpu new" in note for note in found.notes)


def test_what_only_the_new_engine_gets_wrong_is_spared_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On classic, too: a program that names no engine would get the new one."""
    model = pointwise()
    samples = random_samples(tmp_path, model)
    (step,) = expanded(model, ["quantize:form=auto"], samples, ["cpu:classic"]).steps
    assert step.options["spare"] is True
    monkeypatch.setattr(places, "column_of", lambda version, engine: V4)
    (step,) = expanded(model, ["quantize:form=auto"], samples, ["cpu:classic"]).steps
    assert step.options["spare"] is False
    (step,) = expanded(model, ["quantize:form=auto,spare=true"], samples, ["cpu:classic"]).steps
    assert step.options["spare"] is True


def hurt(model: Model, layer: str) -> Model:
    """The weights of a layer with one huge value in every channel: int8 loses all the others."""
    edit = Edit(model)
    node = next(n for n in edit.graph if n.name == layer)
    value = node.inputs[1]
    assert value is not None
    assert value.const_value is not None
    weights = value.const_value.numpy().copy()
    weights[:, 0, 0, 0] += 300.0
    edit.replace_constant(value, weights)
    return edit.done()


@pytest.mark.long
def test_the_layers_that_cost_the_most_stay_in_float_and_no_more_than_needed() -> None:
    model = chain(parse_step("fold-batchnorm"))(load(FIXTURES / "digits_depthwise.onnx"))
    layer = list(weight_layers(model))[2]
    model = hurt(model, layer)
    found = expanded(model, ["quantize:skip=auto"], digits(model), ["cpu:new"], limit="min-sqnr=25")
    (step,) = found.steps
    kept = step.options["exclude"]
    assert isinstance(kept, tuple)
    assert layer in kept[:2]
    assert 0 < len(kept) < len(weight_layers(model))
    assert any("stay in float, which cost the most: " in note for note in found.notes)
    # One layer fewer does not do.
    less = [*kept[:-1]]
    spared = expanded(
        model, [f"quantize:skip=auto,exclude={less}".replace("'", '"')], digits(model),
        ["cpu:new"], limit="min-sqnr=25",
    )  # fmt: skip
    assert spared.steps[0].options["exclude"] != tuple(less)


def test_layers_that_are_excluded_by_name_stay_so() -> None:
    model = load(FIXTURES / "digits_resnet.onnx")
    first = next(iter(weight_layers(model)))
    step = f'quantize:form=auto,skip=auto,exclude=["{first}"]'
    (explicit,) = expanded(model, [step], digits(model), ["cpu:new"]).steps
    assert first in explicit.options["exclude"]  # type: ignore[operator]


@pytest.mark.long
def test_a_limit_that_no_int8_layer_holds_leaves_the_model_as_it_is_and_says_so() -> None:
    model = load(FIXTURES / "digits_mlp.onnx")
    found = expanded(model, ["quantize:skip=auto"], digits(model), ["cpu:new"], "min-sqnr=300")
    assert set(found.steps[0].options["exclude"]) == set(weight_layers(model))  # type: ignore[call-overload]
    assert any("nothing is left to write in int8" in note for note in found.notes)


@pytest.mark.long
def test_a_target_that_is_not_there_is_an_error_unless_it_is_optional() -> None:
    model = load(FIXTURES / "digits_mlp.onnx")
    with pytest.raises(Unsupported):
        expanded(model, ["quantize:form=auto"], digits(model), ["cpu", "cuda"])
    found = expanded(model, ["quantize:form=auto"], digits(model), ["cpu", "cuda:optional"])
    assert any("cuda auto: left out" in note for note in found.notes)
    with pytest.raises(Unsupported, match="no target runs the original rightly"):
        expanded(model, ["quantize:form=auto"], digits(model), ["cuda:optional"])


def test_a_step_that_nobody_measured_for_refuses_to_be_applied() -> None:
    step = parse_step("quantize:form=auto,calibration=mse")
    assert isinstance(step, Automatic)
    assert step.options["calibration"] == "mse"
    with pytest.raises(UsageError, match="form=auto is found by measuring"):
        apply_steps(load(FIXTURES / "digits_mlp.onnx"), [step])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quantize:skip=3", "is 'auto' or left out"),
        ("quantize:form=auto,calibration=no", "must be one of minmax"),
        ("prune-weights:scope=auto", "must be one of layer"),
        ("fp16:skip=auto", "unknown option 'skip'"),
    ],
)
def test_auto_is_taken_where_it_means_something_and_the_rest_is_checked(
    text: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        parse_step(text)


def run(folder: Path, *arguments: str) -> int:
    from modelcheck.cli.app import run as command

    data = ("--data", str(FIXTURES / "digits_test.npz"), "--count", "90", "--no-ledger")
    model = str(FIXTURES / "digits_resnet.onnx")
    return command(["apply", model, *data, *arguments, "-o", str(folder / "out.onnx")])


def test_the_recipe_that_apply_writes_makes_the_same_model_and_measures_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ("-t", "fold-batchnorm", "-t", "quantize:form=auto,skip=auto", "--min-sqnr", "20")
    assert run(tmp_path, *asked, "--target", "cpu:new", "--verify") == 0
    assert "is computed rightly on cpu new" in capfd.readouterr().out
    recipe = tmp_path / "out.recipe.toml"
    steps: tuple[Transform, ...] = load_recipe(recipe).steps
    assert not is_automatic(steps)
    first = load(tmp_path / "out.onnx").digest
    again = tmp_path / "again"
    again.mkdir()
    assert run(again, "--recipe", str(recipe)) == 0
    assert "choosing" not in capfd.readouterr().err
    assert load(again / "out.onnx").digest == first
    assert sorted(path.name for path in again.iterdir()) == ["out.onnx"]


def test_a_recipe_that_is_there_is_not_replaced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.recipe.toml").write_text("mine")
    assert run(tmp_path, "-t", "quantize:form=auto") == 2
    assert "out.recipe.toml" in capfd.readouterr().err
    assert (tmp_path / "out.recipe.toml").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out.recipe.toml"]


def test_nothing_is_left_where_the_gate_says_no(tmp_path: Path) -> None:
    code = run(tmp_path, "-t", "quantize:form=auto", "--min-sqnr", "200", "--verify")
    assert code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_layer_is_kept_by_its_name_even_where_that_is_a_glob() -> None:
    model = load(FIXTURES / "digits_resnet.onnx")
    edited = model.edit()
    names = iter(["a[1]*?", "**", "a*", "[!x]", "*", "?", "b", "c", "d"])
    for node in edited.graph:
        if node.op_type in ("Conv", "Gemm"):
            node.name = next(names)
    odd = Model.freeze(edited, name=model.name)
    found = expanded(odd, ["quantize:skip=auto"], digits(odd), ["cpu:new"], limit="min-sqnr=42")
    kept = found.steps[0].options["exclude"]
    assert isinstance(kept, tuple)
    assert 0 < len(kept) < 9
    assert not any("nothing is left" in note for note in found.notes)


def test_a_form_that_can_write_nothing_is_no_choice() -> None:
    """A model that is in int8 already."""
    model = load(FIXTURES / "digits_mlp.onnx")
    samples = digits(model)
    first = expanded(model, ["quantize:form=auto"], samples, ["cpu:new"])
    steps = ["quantize:form=auto,skip=auto"] * 2
    found = expanded(model, steps, samples, ["cpu:new"])
    assert found.steps[0].options["form"] == first.steps[0].options["form"]
    said = [note for note in found.notes if "can write nothing" in note]
    assert len(said) == 2
    assert found.notes[-1] == said[-1]


@pytest.mark.parametrize(("count", "enough"), [(3, False), (4, True)])
def test_how_many_samples_it_takes_is_said_rightly(count: int, enough: bool) -> None:
    model = load(FIXTURES / "digits_mlp.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=count)
    if enough:
        split_in_three(samples, None, calibrate=True)
    else:
        with pytest.raises(NotEnoughEvidence, match="3 samples cannot be split") as error:
            split_in_three(samples, None, calibrate=True)
        assert "at least 4" in str(error.value)
