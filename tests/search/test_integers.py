"""int8: which sets of layers are tried, ranges asked for once, the costliest layer found."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from scripted_watch import Scripted

from modelcheck.data import open_samples
from modelcheck.model import Model, load
from modelcheck.process import Workspace
from modelcheck.reference import Reference, ReferenceActivations, open_reference
from modelcheck.reference.activations import Range
from modelcheck.searching.integers import (
    WAYS,
    Integers,
    Members,
    quantizer,
    sets_to_try,
    with_more_pixels,
)
from modelcheck.searching.making import Maker
from modelcheck.searching.plan import Contender
from modelcheck.searching.remembered import RememberedRanges
from modelcheck.searching.rewriting import Rewriting
from modelcheck.searching.sensitivity import Fewest, Sensitivity, weight_layers
from modelcheck.searching.stopwatch import Gain, Runner, Stopwatch
from modelcheck.targets import Engine, Target
from modelcheck.transforms import Context, Transform, fold_batchnorm

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture(scope="module")
def net() -> Model:
    return fold_batchnorm()(load(FIXTURES / "digits_depthwise.onnx"))


def test_every_layer_with_a_constant_weight_may_be_quantized(net: Model) -> None:
    layers = weight_layers(net)
    assert len(layers) == sum(n.op_type in ("Conv", "Gemm", "MatMul") for n in net.graph)


def test_sets_are_none_empty_and_none_twice(net: Model) -> None:
    found = sets_to_try(weight_layers(net))
    assert all(found.values())
    assert len({tuple(members) for members in found.values()}) == len(found)
    depthwise = {n for n, shape in weight_layers(net).items() if len(shape) == 4 and shape[1] == 1}
    assert not depthwise & set(found["int8 but depthwise"])


def test_a_net_of_one_sort_of_layer_has_one_set() -> None:
    assert list(sets_to_try({"a": (8, 8, 1, 1), "b": (8, 8, 1, 1)})) == ["int8"]
    assert sets_to_try({}) == {}


class Counting:
    """Activations that say what they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        yield {}

    def ranges(
        self, model: Model, names: Sequence[str], *, inside: float = 1.0, **more: object
    ) -> Mapping[str, Range]:
        self.asked += names
        return {name: Range(0.0, inside, ()) for name in names}


def test_a_range_is_measured_once_for_each_model_and_share(net: Model) -> None:
    counting = Counting()
    kept = RememberedRanges(counting)
    assert kept.ranges(net, ["a", "b"])["b"].maximum == 1.0
    assert set(kept.ranges(net, ["b", "c"])) == {"b", "c"}
    assert counting.asked == ["a", "b", "c"]
    assert kept.ranges(net, ["a"], inside=0.5)["a"].maximum == 0.5
    assert counting.asked == ["a", "b", "c", "a"]
    other = load(FIXTURES / "digits_resnet.onnx")
    kept.ranges(other, ["a"])
    assert len(counting.asked) == 5


def test_the_layer_that_int8_hurts_most_comes_out_as_such(net: Model) -> None:
    """A layer whose weights hold one huge value loses all the others."""
    layers = list(weight_layers(net))
    hurt = layers[2]
    edited = net.edit()
    node = next(n for n in edited.graph if n.name == hurt)
    tensor = node.inputs[1].const_value.numpy().copy()  # type: ignore[union-attr]
    tensor[:, 0, 0, 0] += 300.0  # of every channel, whatever its scale
    from modelcheck.transforms.edit import Edit

    edit = Edit(net)
    target = next(n for n in edit.graph if n.name == hurt)
    value = target.inputs[1]
    assert value is not None
    edit.replace_constant(value, tensor)
    faulty = edit.done()
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=12)
    with (
        Workspace() as workspace,
        open_reference(faulty, workspace) as reference,
        Reference() as one,
        Reference() as other,
    ):
        activations = ReferenceActivations(reference, samples, workspace)
        context = Context(activations=RememberedRanges(activations))
        arrays = [s.arrays for s in samples]
        expected = [reference.run(s) for s in arrays]
        found = {}
        for workers in ([one], [one, other]):
            study = Sensitivity(
                faulty, lambda keep: quantizer("qdq", layers, keep), context, workers, arrays,
                expected,
            )  # fmt: skip
            found[len(workers)] = dict(study.order(layers, workspace))
    noise = found[1]
    assert noise == found[2]
    assert set(noise) == set(layers)
    assert max(noise, key=noise.__getitem__) == hurt


def test_the_step_keeps_what_it_is_told_in_float(net: Model) -> None:
    layers = list(weight_layers(net))
    step = quantizer("qoperator", layers, layers[1:])
    assert step.options["exclude"] == tuple(layers[1:])
    assert step.options["form"] == "qoperator"


@pytest.mark.parametrize("needed", range(1, 12))
def test_the_fewest_layers_that_will_do_are_found_by_halving(needed: int) -> None:
    tried: list[int] = []

    def holds(count: int) -> bool:
        tried.append(count)
        return count >= needed

    fewest = Fewest(1, 10, holds)
    list(fewest.run())
    assert fewest.found == (needed if needed <= 10 else None)
    assert len(tried) <= 4


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_find_steps_is_a_step_that_the_search_can_take(net: Model, way: str) -> None:
    """On activations that remember, as the search has them."""
    layers = list(weight_layers(net))
    step = quantizer("qdq", layers, layers[3:], WAYS[way])
    assert {name: step.options[name] for name in WAYS[way]} == WAYS[way]
    samples = open_samples(FIXTURES / "digits_test.npz", net.signature, count=4)
    with Workspace() as workspace, open_reference(net, workspace) as reference:
        activations = ReferenceActivations(reference, samples, workspace)
        made = step(net, Context(activations=RememberedRanges(activations)))
    assert sum(name.endswith(".int8") for name in made.weights) == 3


@pytest.mark.parametrize(
    ("engine", "holding", "found"),
    [
        (Engine.NEW, "qoperator", ["int8 as QOperator"]),
        (Engine.NEW, "qdq", ["int8 as QOperator", "int8"]),  # in the other form, then
        (Engine.CLASSIC, "qoperator", ["int8"]),  # which knows one form
    ],
)
def test_the_faster_form_is_tried_first_and_the_other_where_it_misses_the_limits(
    net: Model, engine: Engine, holding: str, found: list[str]
) -> None:
    search = integers(net, engine, holding)
    for _ in search.run(time.monotonic() + 60):
        pass
    assert [one.name for one in search.found if "in float" not in one.name] == found
    assert search.found[-1].holds


def integers(net: Model, engine: Engine, holding: str) -> Integers:
    """A search in which QOperator is faster than QDQ, both beat float, and one form holds."""

    def cost(model: Model) -> float:
        operators = {node.op_type for node in model.graph}
        return 1.0 if "QLinearConv" in operators else 2.0 if "QuantizeLinear" in operators else 4.0

    watch = cast(Stopwatch, cast(Any, Scripted(cost)))
    make = Maker(net, Context(activations=Counting()))
    exact = Rewriting(make, [], watch, engine, time.monotonic())

    def contender(name: str, engine: Engine, steps: tuple[Transform, ...]) -> Contender:
        holds = steps[-1].options["form"] == holding
        nothing = Gain(0.0, 0.0)
        return Contender(
            name, Target(engine=engine), steps, nothing, 0.0, 0, 0.0, None, holds=holds
        )

    class Unspared(Integers):
        def _spare(self, name: str, members: Members, way: str) -> Iterator[None]:
            yield from ()

    return Unspared(exact, Runner(net, engine), (), make, watch, [], [], [], Workspace(), contender)


def test_more_pixels_are_for_members_that_need_them() -> None:
    names = frozenset(("first", "second"))
    assert with_more_pixels(pointwise(8), names) == ()  # 64 and 16 pixels
    net = pointwise(10)  # 80 and 20
    (step,) = with_more_pixels(net, names)
    assert [n.op_type for n in step(net).graph].count("Pad") == 1
    assert with_more_pixels(net, frozenset(("first",))) == ()
    assert with_more_pixels(net, frozenset()) == ()


def pointwise(height: int) -> Model:
    """Two 1x1 convolutions, before and behind a pooling."""
    weight = numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w"], ["y"], name="second"),
    ]
    dims = {"x": [1, 8, height, 8], "y": [1, 8, height // 2, 4]}
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in dims.items())
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    opset = helper.make_opsetid("", 17)
    return Model.from_proto(helper.make_model(graph, opset_imports=[opset]), name="pointwise.onnx")
