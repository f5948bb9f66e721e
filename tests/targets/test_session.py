"""Sessions: what cv2 answers, where it ran, and how it says no."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_nets import (
    Net,
    half_input,
    integer_input,
    three_outputs,
    two_inputs,
    unknown_operator,
)

from modelcheck.errors import Crashed, TimedOut
from modelcheck.process import ChildLimits
from modelcheck.reference import Reference
from modelcheck.targets import Engine, Target, TargetRefused, TargetSession

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
REAL = ROOT / ".." / "shared" / "models"
DIGITS = {"resnet": "logits", "depthwise": "probabilities", "vit": "logits", "mlp": "logits"}
# Rounding of two float32 implementations; OpenCV's own tests allow 1e-4 (dnn/test/test_common.hpp).
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return np.load(FIXTURES / "digits_test.npz")["image"]


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    with Reference() as shared:
        yield shared


@pytest.fixture(scope="module")
def available() -> frozenset[str]:
    with TargetSession(Target(), name="the test") as session:
        return frozenset(session.opencv().engines)


@pytest.fixture(scope="module", params=list(Engine))
def session(request: pytest.FixtureRequest, available: frozenset[str]) -> Iterator[TargetSession]:
    """One session on each engine that this OpenCV has, for the tests that do it no harm."""
    with open_session(request.param, available) as opened:
        yield opened


@pytest.fixture(params=list(Engine))
def mortal(request: pytest.FixtureRequest, available: frozenset[str]) -> Iterator[TargetSession]:
    """A session of the test's own, on each engine."""
    with open_session(request.param, available) as opened:
        yield opened


def open_session(engine: Engine, available: frozenset[str]) -> TargetSession:
    if engine not in available:
        pytest.skip(f"this OpenCV has no engine '{engine}'")
    return TargetSession(Target(engine=engine), name="the model")


def error_of(expected: np.ndarray, actual: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


class TestPlacement:
    @pytest.mark.parametrize("engine", list(Engine))
    def test_the_engine_in_the_proof_is_the_one_that_holds_the_net(
        self, engine: Engine, available: frozenset[str], looking: None
    ) -> None:
        """The net's own dump tells the engines apart, independently of getModelFormat."""
        with open_session(engine, available) as session:
            placement = session.load(FIXTURES / "digits_resnet.onnx", ["logits"])
            session.forward({"image": np.zeros((1, 1, 8, 8), np.float32)})
            dump = session._child.request("dump", key="net").fields["dump"]
        truth = "classic" if dump.startswith("digraph") else "new"
        assert placement.proven
        assert placement.actual == f"cpu {truth}"
        assert placement.requested == f"cpu {engine}"
        assert f"the net reports the {truth} engine" in placement.proof
        if engine is not Engine.AUTO:
            assert truth == engine

    def test_a_variable_that_overrules_the_engine_fools_no_target(
        self, session: TargetSession, available: frozenset[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, engine = FIXTURES / "digits_mlp.onnx", session.target.engine
        without = session.load(model, ["logits"])
        monkeypatch.setenv("OPENCV_FORCE_DNN_ENGINE", "2" if engine is Engine.CLASSIC else "1")
        with open_session(engine, available) as fooled:
            assert fooled.load(model, ["logits"]) == without

    def test_an_engine_that_this_opencv_lacks_is_refused(self, available: frozenset[str]) -> None:
        if "new" in available:
            pytest.skip("this OpenCV has every engine")
        with (
            TargetSession(Target(engine=Engine.NEW), name="the model") as session,
            pytest.raises(TargetRefused, match="with the classic engine instead"),
        ):
            session.load(FIXTURES / "digits_mlp.onnx", ["logits"])

    def test_a_baseline_may_run_on_another_engine_than_the_target(
        self, available: frozenset[str]
    ) -> None:
        with open_session(Engine.NEW, available) as session:
            load = FIXTURES / "digits_mlp.onnx", ["logits"]
            assert session.load(*load, key="a", engine=Engine.CLASSIC).actual == "cpu classic"
            assert session.load(*load, key="b").actual == "cpu new"

    def test_threads_are_those_asked_for(self) -> None:
        with TargetSession(Target(threads=1), name="the model") as session:
            session.load(FIXTURES / "digits_mlp.onnx", ["logits"])
            assert session.opencv().threads == 1


class TestAnswers:
    @pytest.mark.parametrize("name", DIGITS)
    def test_one_net_for_one_shape_a_batch_may_grow_and_shrink(
        self, name: str, session: TargetSession, digits: np.ndarray, reference: Reference
    ) -> None:
        """cv2 5.0 classic and 4.14 answer wrongly or die where a Net sees a second shape."""
        path, output = FIXTURES / f"digits_{name}.onnx", DIGITS[name]
        reference.load(path)
        session.load(path, [output])
        for count in (1, 64, 2, 64):
            batch = {"image": digits[:count]}
            expected, actual = reference.run(batch)[output], session.forward(batch)[output]
            assert error_of(expected, actual) < TOLERANCE, f"{count} samples"

    def test_two_nets_in_one_process_keep_apart(
        self, session: TargetSession, digits: np.ndarray, reference: Reference
    ) -> None:
        names = ("resnet", "mlp")
        for name in names:
            session.load(FIXTURES / f"digits_{name}.onnx", ["logits"], key=name)
            reference.load(FIXTURES / f"digits_{name}.onnx", name)
        for count in (3, 5):
            batch = {"image": digits[:count]}
            for name in names:
                expected = reference.run(batch, key=name)["logits"]
                assert error_of(expected, session.forward(batch, key=name)["logits"]) < TOLERANCE
        session.unload("mlp")
        with pytest.raises(TargetRefused):
            session.forward({"image": digits[:1]}, key="mlp")

    @pytest.mark.parametrize("make", [three_outputs, two_inputs, half_input])
    def test_inputs_and_outputs_keep_the_names_they_have_in_the_model(
        self, make: Callable[[Path], Net], session: TargetSession, tmp_path: Path
    ) -> None:
        net = make(tmp_path)
        session.load(net.path, net.outputs)
        answers = session.forward(net.inputs)
        assert tuple(answers) == net.outputs
        for name, expected in net.expected(net.inputs).items():
            np.testing.assert_allclose(answers[name], expected, rtol=1e-3, atol=1e-6)

    @pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.int64, np.uint8])
    def test_inputs_of_other_dtypes_arrive(
        self, dtype: type, session: TargetSession, tmp_path: Path
    ) -> None:
        net = integer_input(tmp_path, dtype)
        session.load(net.path, net.outputs)
        answer = session.forward(net.inputs)["y"]
        np.testing.assert_array_equal(answer, net.expected(net.inputs)["y"])

    def test_a_real_detector_keeps_its_twelve_outputs_apart(
        self, session: TargetSession, reference: Reference
    ) -> None:
        path = REAL / "yunet_n_320.onnx"
        if not path.exists():
            pytest.skip("../shared/models/yunet_n_320.onnx is not there")
        outputs = [o.name for o in onnx.load(path, load_external_data=False).graph.output]
        image = np.random.default_rng(0).uniform(0, 255, (1, 3, 320, 320)).astype(np.float32)
        reference.load(path)
        expected = reference.run({"input": image})
        session.load(path, outputs)
        actual = session.forward({"input": image})
        assert list(actual) == outputs
        for name in outputs:
            assert error_of(expected[name], actual[name]) < 1e-3, name


class TestRefusals:
    def test_an_unknown_operator_is_refused_and_named(
        self, session: TargetSession, tmp_path: Path
    ) -> None:
        net = unknown_operator(tmp_path)
        with pytest.raises(TargetRefused, match="Frobnicate") as caught:
            session.load(net.path, net.outputs)
        assert caught.value.exit_code == 4
        assert caught.value.where == session.target.name

    def test_a_real_model_with_an_unknown_operator_is_refused(self, session: TargetSession) -> None:
        path = REAL / "fns_candy.onnx"
        if not path.exists():
            pytest.skip("../shared/models/fns_candy.onnx is not there")
        with pytest.raises(TargetRefused):
            session.load(path, ["output"])

    @pytest.mark.parametrize("content", [b"", bytes(100), b"<html>"], ids=["", "zeros", "html"])
    def test_a_file_that_is_no_model_is_refused(
        self, content: bytes, mortal: TargetSession, tmp_path: Path
    ) -> None:
        (tmp_path / "no.onnx").write_bytes(content)
        with pytest.raises((TargetRefused, Crashed)):
            mortal.load(tmp_path / "no.onnx", ["y"])

    def test_an_assertion_is_a_refusal_in_one_line_without_paths_of_the_build_machine(
        self, session: TargetSession, digits: np.ndarray
    ) -> None:
        session.load(FIXTURES / "digits_resnet.onnx", ["logits"])
        with pytest.raises(TargetRefused) as caught:
            session.forward({"image": digits[0]})
        assert "Assertion failed" in caught.value.what
        assert ".cpp" not in caught.value.what
        assert "\n" not in caught.value.what
        assert session.forward({"image": digits[:1]})["logits"].shape == (1, 10)  # lives on

    def test_an_output_that_is_not_in_the_model_is_refused(
        self, session: TargetSession, tmp_path: Path
    ) -> None:
        net = three_outputs(tmp_path)
        session.load(net.path, ["a", "nowhere", "elsewhere"])
        with pytest.raises(TargetRefused):
            session.forward(net.inputs)

    def test_an_input_that_cv2_dies_of_is_contained(
        self, mortal: TargetSession, digits: np.ndarray
    ) -> None:
        """An empty batch: SIGFPE on the new engine of 5.0, an assertion on the others."""
        mortal.load(FIXTURES / "digits_resnet.onnx", ["logits"])
        with pytest.raises((Crashed, TargetRefused)):
            mortal.forward({"image": digits[:0]})

    def test_a_crash_carries_the_native_log(self, looking: None) -> None:
        with (
            TargetSession(Target(), name="the model") as session,
            pytest.raises(Crashed, match="the model on cpu auto: died of SIGABRT") as caught,
        ):
            session._child.request("die")
        assert "a native library dies" in caught.value.native_log
        assert caught.value.exit_code == 6

    def test_a_forward_that_takes_too_long_is_a_time_out(self, digits: np.ndarray) -> None:
        """The limit holds for a forward; importing cv2 and reading the model may take longer."""
        limits = ChildLimits(request_s=1e-4)
        with TargetSession(Target(), name="the model", limits=limits) as session:
            session.opencv()
            session.load(FIXTURES / "digits_resnet.onnx", ["logits"])
            with pytest.raises(TimedOut, match="within 100 µs"):
                session.forward({"image": digits})


class TestTiming:
    def test_a_block_times_each_run_in_the_order_asked_for(
        self, session: TargetSession, digits: np.ndarray
    ) -> None:
        session.load(FIXTURES / "digits_mlp.onnx", ["logits"], key="small")
        session.load(FIXTURES / "digits_vit.onnx", ["logits"], key="large")
        repeats = session.prepare([{"image": digits[:1]}], ["small", "large"])
        assert set(repeats) == {"small", "large"}
        assert min(repeats.values()) >= 1
        order = ["small", "large", "large", "small"]
        blocks = [session.block(order, sample=i, repeats=repeats) for i in range(5)]
        assert all(len(b.seconds) == 4 and min(b.seconds) > 0 for b in blocks)
        assert all(b.cpu_wall > 0 for b in blocks)
        # A transformer against three matrix products: many times slower on any machine.
        best = np.array([b.seconds for b in blocks]).min(axis=0)
        assert best[1:3].min() > best[[0, 3]].max()

    def test_samples_given_for_timing_replace_those_before(
        self, session: TargetSession, digits: np.ndarray
    ) -> None:
        session.load(FIXTURES / "digits_vit.onnx", ["logits"])
        session.prepare([{"image": digits[:1]}, {"image": digits[:1]}], ["net"])
        session.prepare([{"image": digits[:200]}], ["net"])
        one, two = (session.block(["net"], sample=i, repeats={"net": 1}).seconds[0] for i in (0, 1))
        session.prepare([{"image": digits[:1]}], ["net"])
        small = session.block(["net"], sample=1, repeats={"net": 1}).seconds[0]
        assert min(one, two) > 3 * small  # sample 1 wrapped round to the only one there was


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions run the worker with requests added that look inside."""
    here = Path(__file__).with_name("looking_worker.py")
    worker = ROOT / "src" / "modelcheck" / "targets" / "worker.py"
    monkeypatch.setenv("MODELCHECK_TEST_WORKER", str(worker))
    monkeypatch.setattr("modelcheck.targets.session._WORKER", here)
