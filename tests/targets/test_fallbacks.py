"""Every row of the table of silent fallbacks (OPENCV.md), on the real cv2: none goes unnoticed.

Each request is accepted by cv2, or refused, and runs on the CPU; with no accelerator here, no
row may come out as proven.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from modelcheck.errors import Unsupported
from modelcheck.targets import Engine, FellBack, NotProven, Placement, Target, TargetSession
from modelcheck.targets import session as target_session

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
RESNET, MLP = FIXTURES / "digits_resnet.onnx", FIXTURES / "digits_mlp.onnx"
ON_CPU = {"OPENCV_OPENCL_DEVICE": ":CPU:", "OPENCV_DNN_OPENCL_ALLOW_ALL_DEVICES": "1"}


@pytest.fixture(scope="module")
def engines() -> frozenset[str]:
    with TargetSession(Target(), name="the test") as session:
        return frozenset(session.opencv().engines)


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user's environment may say about OpenCL devices."""
    for name in ON_CPU:
        monkeypatch.delenv(name, raising=False)


def prove(target: str, engines: frozenset[str], model: Path = RESNET) -> Placement:
    wanted = Target.parse(target)
    if wanted.engine not in engines:
        wanted = Target(wanted.device)  # before 5.0 there is the classic engine only
    with TargetSession(wanted, name="the model") as session:
        session.load(model, ["logits"])
        return session.prove({"image": np.zeros((2, 1, 8, 8), np.float32)})


@pytest.mark.parametrize("device", ["cuda", "cuda-fp16"])
class TestCUDAWithoutABuild:
    def test_classic_refuses_and_the_way_to_a_build_is_named(
        self, device: str, engines: frozenset[str]
    ) -> None:
        with pytest.raises(Unsupported, match="built without CUDA") as caught:
            prove(f"{device}:classic", engines)
        assert caught.value.exit_code == 4
        assert "docs/cuda.md" in str(caught.value.remedy)

    @pytest.mark.parametrize("engine", ["new", "auto"])
    def test_new_runs_on_the_cpu_and_is_found_out(
        self, device: str, engine: str, engines: frozenset[str]
    ) -> None:
        if "new" not in engines:
            pytest.skip("this OpenCV has no new engine")
        with pytest.raises(FellBack, match="fell back to the CPU"):
            prove(f"{device}:{engine}", engines)


@pytest.mark.parametrize("engine", list(Engine))
def test_target_cuda_behind_another_backend_is_not_proven(
    engine: Engine,
    engines: frozenset[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """cv2 takes backend OPENCV with target CUDA without a word, and runs on the CPU."""
    if engine not in engines:
        pytest.skip(f"this OpenCV has no engine '{engine}'")
    worker = Path(target_session.__file__).with_name("worker.py")
    sly = tmp_path / "worker.py"
    sly.write_text(worker.read_text().replace('("CUDA", "CUDA")', '("OPENCV", "CUDA")'))
    (tmp_path / "worker_opencl.py").symlink_to(worker.with_name("worker_opencl.py"))
    (tmp_path / "worker_pool.py").symlink_to(worker.with_name("worker_pool.py"))
    monkeypatch.setattr(target_session, "_WORKER", sly)
    with pytest.raises((NotProven, FellBack), match=r"not proven|fell back"):
        prove(f"cuda:{engine}", engines)


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize("device", ["opencl", "opencl-fp16"])
def test_opencl_without_a_gpu_falls_back(
    device: str, engine: Engine, engines: frozenset[str]
) -> None:
    with pytest.raises(FellBack, match="fell back"):
        prove(f"{device}:{engine}", engines)


@pytest.mark.parametrize("engine", list(Engine))
def test_half_floats_on_a_cpu_without_them_fall_back(
    engine: Engine, engines: frozenset[str]
) -> None:
    if os.uname().machine == "aarch64":
        pytest.skip("this CPU has half floats")
    with pytest.raises(FellBack, match="fell back"):
        prove(f"cpu-fp16:{engine}", engines)


@pytest.mark.usefixtures("pocl")
class TestOnAnOpenCLDevice:
    def test_a_convolutional_net_is_proven_by_its_launches(self, engines: frozenset[str]) -> None:
        placement = prove("opencl:classic", engines)
        assert "kernel launches" in placement.proof[0]
        assert placement.simulated

    def test_its_layers_without_opencl_code_are_named(self, engines: frozenset[str]) -> None:
        names = {layer.name for layer in prove("opencl:classic", engines).fallback_layers}
        assert "onnx_node!head" in names  # a Gemm
        assert not any("conv" in name for name in names)

    def test_an_mlp_is_accepted_and_launches_nothing(self, engines: frozenset[str]) -> None:
        with pytest.raises(FellBack, match="ran no kernel"):
            prove("opencl:classic", engines, MLP)

    def test_the_new_engine_launches_nothing(self, engines: frozenset[str]) -> None:
        if "new" not in engines:
            pytest.skip("this OpenCV has no new engine")
        with pytest.raises(FellBack, match="new engine"):
            prove("opencl:new", engines)

    def test_outputs_are_those_of_the_cpu(self, engines: frozenset[str]) -> None:
        image = {"image": np.random.default_rng(0).random((4, 1, 8, 8), np.float32)}
        answers = []
        for device in ("cpu", "opencl"):
            target = Target.parse(f"{device}:classic" if "classic" in engines else device)
            with TargetSession(target, name="the model") as session:
                session.load(RESNET, ["logits"])
                answers.append(session.forward(image)["logits"])
        np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-4)
