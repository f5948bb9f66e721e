"""Races of real nets in a real process: what fails takes nothing from the others."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelcheck.model import Model, load
from modelcheck.process import Workspace
from modelcheck.searching.plan import Contender
from modelcheck.searching.stopwatch import Gain, NotRun, Runner, Stopwatch, Times
from modelcheck.targets import Engine, Target
from modelcheck.transforms import build
from modelcheck.verification.memory import Memory

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SAMPLE = {"image": np.random.default_rng(0).random((1, 1, 8, 8)).astype(np.float32)}


@pytest.fixture
def watch() -> Iterator[Stopwatch]:
    with (
        Workspace() as workspace,
        Stopwatch(Target.parse("cpu:threads=1"), workspace, None) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def net() -> Model:
    return load(FIXTURES / "digits_resnet.onnx")


def crashing() -> Model:
    """OpenCV 5.0's classic engine dies of a QLinearConv without a kernel_shape."""
    return quantized()


def quantized(**attributes: object) -> Model:
    """A net of one QLinearConv."""
    scalar = {n: np.array(v, np.float32) for n, v in (("s", 0.1), ("t", 0.1), ("u", 0.1))}
    zero = {"z": np.array(0, np.int8)}
    weight = {"w": np.ones((2, 1, 3, 3), np.int8)}
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("QuantizeLinear", ["image", "s", "z"], ["q"]),
            node("QLinearConv", ["q", "s", "z", "w", "t", "z", "u", "z"], ["p"], **attributes),
            node("DequantizeLinear", ["p", "u", "z"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 6, 6])],
        [numpy_helper.from_array(a, n) for n, a in {**scalar, **zero, **weight}.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    return Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))


def test_every_net_is_timed_in_every_round(watch: Stopwatch, net: Model) -> None:
    found = watch.race(
        {"a": Runner(net, Engine.NEW), "b": Runner(net, Engine.CLASSIC)}, [SAMPLE],
        rounds=7, seconds=60,
    )  # fmt: skip
    assert all(isinstance(t, Times) and len(t.seconds) == 7 for t in found.values())
    assert list(found) == ["a", "b"]


@pytest.mark.parametrize("engine", [Engine.CLASSIC, Engine.NEW])
def test_a_net_that_kills_or_is_refused_takes_nothing_from_the_others(
    watch: Stopwatch, net: Model, engine: Engine
) -> None:
    runners = {
        "before": Runner(net, engine),
        "bad": Runner(crashing(), Engine.CLASSIC),
        "after": Runner(net, engine),
    }
    found = watch.race(runners, [SAMPLE], rounds=5, seconds=60)
    assert isinstance(found["bad"], NotRun)
    assert isinstance(found["before"], Times)
    assert isinstance(found["after"], Times)


@pytest.mark.usefixtures("pocl")
def test_a_net_that_falls_back_to_the_cpu_gets_no_time_and_blames_no_other(net: Model) -> None:
    """OpenCV runs int8 nets on the CPU only."""
    with Workspace() as workspace, Stopwatch(Target.parse("opencl"), workspace, None) as watch:
        engine = Engine.CLASSIC if "classic" in watch.opencv().engines else Engine.AUTO
        float_net, int8_net = Runner(net, engine), Runner(quantized(kernel_shape=[3, 3]), engine)
        runners = {"before": float_net, "int8": int8_net, "after": float_net}
        found = watch.race(runners, [SAMPLE], rounds=5, seconds=60)
        assert isinstance(found["int8"], NotRun)
        assert "fell back to the CPU" in found["int8"].reason
        assert isinstance(found["before"], Times)
        assert isinstance(found["after"], Times)
        assert isinstance(watch.outputs(int8_net, [SAMPLE]), NotRun)
        assert not isinstance(watch.outputs(float_net, [SAMPLE]), NotRun)


def test_outputs_are_the_models(watch: Stopwatch, net: Model) -> None:
    (answer,) = watch.outputs(Runner(net, Engine.NEW), [SAMPLE])  # type: ignore[misc]
    assert set(answer) == {spec.name for spec in net.signature.outputs}


def test_a_gain_is_the_median_of_ratios_round_by_round() -> None:
    """A round that was slow for all says nothing."""
    slow, fast = Times((2.0, 20.0, 2.0, 2.0)), Times((1.0, 10.0, 1.0, 1.0))
    assert fast.gain_over(slow).ratio == 2.0
    assert fast.gain_over(slow).error == 0.0
    assert slow.gain_over(fast).ratio == 0.5


def test_a_race_of_an_earlier_search_is_recalled_by_content(tmp_path: Path, net: Model) -> None:
    runners = {"a": Runner(net, Engine.NEW), "bad": Runner(crashing(), Engine.CLASSIC)}

    def race(x: np.ndarray, **how: bool) -> dict[str, Times | NotRun]:
        target = Target.parse("cpu:threads=1")
        with (
            Workspace() as workspace,
            Stopwatch(target, workspace, None, memory=Memory(tmp_path)) as watch,
        ):
            return watch.race(runners, [{"image": x}], rounds=5, seconds=60, **how)

    first = race(SAMPLE["image"])
    assert race(SAMPLE["image"]) == first
    assert first not in (race(SAMPLE["image"] + 1), race(SAMPLE["image"], anew=True))
    for note in tmp_path.glob("*.note"):
        note.write_text('{"at": "damaged"}')
    assert isinstance(race(SAMPLE["image"])["a"], Times)


def test_what_one_search_asks_twice_is_run_twice(tmp_path: Path, net: Model) -> None:
    """A race that is to confirm another one must not be that one again."""
    target = Target.parse("cpu:threads=1")
    with (
        Workspace() as workspace,
        Stopwatch(target, workspace, None, memory=Memory(tmp_path)) as watch,
    ):
        once, again = (
            watch.race({"a": Runner(net)}, [SAMPLE], rounds=5, seconds=60) for _ in range(2)
        )
        assert once != again


def test_what_a_race_is_asked_and_what_it_answers_are_values_that_travel(
    watch: Stopwatch, net: Model
) -> None:
    """So that another machine can hold the stopwatch."""
    runners, samples = pickle.loads(pickle.dumps(({"a": Runner(net, Engine.NEW)}, [SAMPLE])))
    assert runners == {"a": Runner(net, Engine.NEW)}
    found = watch.race(runners, samples, rounds=5, seconds=60)
    assert pickle.loads(pickle.dumps(found)) == found
    contender = Contender(
        "exact rewrites", Target.parse("cpu:new"),
        (build("rewrite", {"rules": ["conv1x1-as-matmul"]}),), Gain(1.1, 0.01), 0.002, 1000, 90.0,
        None, holds=True,
    )  # fmt: skip
    there = pickle.loads(pickle.dumps(contender))
    assert there.steps[0].options == contender.steps[0].options
    assert there.target == contender.target
