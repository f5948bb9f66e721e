"""Pools: several nets in several threads give what one net gives, and are measured while busy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_nets import three_outputs, two_inputs

from modelcheck.errors import Unsupported
from modelcheck.targets import Engine, Target, TargetRefused, TargetSession
from modelcheck.targets.pool import NetOptions, PoolSession, PoolSettings

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
RESNET = FIXTURES / "digits_resnet.onnx"
SAMPLES = 5


@pytest.fixture(scope="module")
def samples() -> list[dict[str, np.ndarray]]:
    images = np.load(FIXTURES / "digits_test.npz")["image"]
    return [{"image": images[i : i + 1]} for i in range(SAMPLES)]


@pytest.fixture(scope="module")
def serial(samples: list[dict[str, np.ndarray]]) -> dict[Engine, list[np.ndarray]]:
    found = {}
    for engine in (Engine.AUTO, Engine.CLASSIC):
        with TargetSession(Target(engine=engine), name="the model") as session:
            if engine in session.opencv().engines:
                session.load(RESNET, ["logits"])
                found[engine] = [session.forward(s)["logits"] for s in samples]
    return found


@pytest.fixture
def session(samples: list[dict[str, np.ndarray]]) -> PoolSession:
    opened = PoolSession(Target(), name="the pool")
    opened.keep_samples(samples)
    return opened


class TestRunning:
    @pytest.mark.parametrize("threads", [1, 2])
    def test_all_nets_give_the_bits_of_the_serial_run(
        self, session: PoolSession, serial: dict[Engine, list[np.ndarray]], threads: int
    ) -> None:
        with session:
            for engine, expected in serial.items():
                session.load_pool(RESNET, ["logits"], PoolSettings(engine, threads, nets=4))
                run = session.run_pool(SAMPLES)
                assert run.differing == ()
                assert len(run.outputs) == SAMPLES
                for one, alone in zip(run.outputs, expected, strict=True):
                    np.testing.assert_array_equal(one["logits"], alone)

    def test_a_batch_holds_the_samples_in_order_and_the_last_is_filled_up(
        self, session: PoolSession, serial: dict[Engine, list[np.ndarray]]
    ) -> None:
        with session:
            session.load_pool(RESNET, ["logits"], PoolSettings(nets=2, batch=3))
            run = session.run_pool(99)
        rows = np.concatenate([one["logits"] for one in run.outputs])
        wanted = np.concatenate([serial[Engine.AUTO][i] for i in (0, 1, 2, 3, 4, 0)])
        np.testing.assert_allclose(rows, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())

    def test_outputs_go_by_their_names_and_inputs_too(self, tmp_path: Path) -> None:
        for net in (three_outputs(tmp_path), two_inputs(tmp_path)):
            with PoolSession(Target(), name="the pool") as session:
                session.keep_samples([net.inputs])
                session.load_pool(net.path, net.outputs, PoolSettings(nets=2))
                (found,) = session.run_pool(1).outputs
            for name, expected in net.expected(net.inputs).items():
                np.testing.assert_allclose(found[name], expected, atol=1e-6)

    def test_a_pool_fed_with_another_shape_reads_its_nets_anew(self, session: PoolSession) -> None:
        image = np.load(FIXTURES / "digits_test.npz")["image"][:2]
        with session:
            session.load_pool(RESNET, ["logits"], PoolSettings(nets=2))
            session.run_pool(2)
            session.keep_samples([{"image": image}])
            (rows,) = session.run_pool(1).outputs
        assert rows["logits"].shape[0] == 2

    def test_single_nets_and_pools_may_bear_the_same_key(
        self, session: PoolSession, samples: list[dict[str, np.ndarray]]
    ) -> None:
        with session:
            session.load(RESNET, ["logits"])
            session.load_pool(RESNET, ["logits"], PoolSettings(nets=2))
            (found,) = session.run_pool(1).outputs
            np.testing.assert_array_equal(session.forward(samples[0])["logits"], found["logits"])
            session.unload_pool()
            session.forward(samples[0])


class TestRefusals:
    def test_an_engine_that_cannot_do_without_fusion_is_refused(self, session: PoolSession) -> None:
        with session:
            if Engine.NEW not in session.opencv().engines:
                pytest.skip("this OpenCV has no new engine")
            settings = PoolSettings(Engine.NEW, options=NetOptions(fusion=False))
            with pytest.raises(TargetRefused, match="fusion is switched off"):
                session.load_pool(RESNET, ["logits"], settings)

    def test_a_net_that_fails_in_its_thread_is_a_refusal_and_ends_the_others(
        self, tmp_path: Path
    ) -> None:
        shapes = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
        graph = helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])], "g", *[[s] for s in shapes]
        )
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
        with PoolSession(Target(), name="the pool") as session:
            session.keep_samples([{"wrong": np.zeros((1, 4), np.float32)}])
            session.load_pool(tmp_path / "m.onnx", ["y"], PoolSettings(nets=3))
            for ask in (lambda: session.run_pool(1), lambda: session.measure_pool(0.01)):
                with pytest.raises(Unsupported):
                    ask()
            session.keep_samples([{"x": np.ones((1, 4), np.float32)}])
            assert session.run_pool(1).differing == ()


class TestMeasuring:
    @pytest.mark.parametrize(("nets", "batch"), [(1, 1), (3, 1), (2, 4)])
    def test_requests_and_samples_agree(self, session: PoolSession, nets: int, batch: int) -> None:
        """In a window of fixed length, nets that are busy all the time obey Little's law."""
        with session:
            session.load_pool(RESNET, ["logits"], PoolSettings(threads=1, nets=nets, batch=batch))
            timing = session.measure_pool(0.2)
        assert timing.requests >= nets
        assert timing.latency_s * timing.samples_per_s == pytest.approx(nets * batch)
        assert timing.p95_s > 0
        assert timing.seconds_per_sample == pytest.approx(1 / timing.samples_per_s)
        assert timing.cpu_wall > 0

    def test_a_window_shorter_than_a_request_is_measured_too(self, session: PoolSession) -> None:
        with session:
            session.load_pool(RESNET, ["logits"], PoolSettings(nets=2))
            timing = session.measure_pool(1e-7)
        assert timing.requests >= 1
        assert timing.samples_per_s > 0
