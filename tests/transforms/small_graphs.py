"""Small ONNX models for tests of transforms, and a child process to run them in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelcheck.model import Model
from modelcheck.process import Child, ChildLimits

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
SHARED_MODELS = (ROOT / ".." / "shared" / "models").resolve()
CLASSIC, NEW = 1, 2
ROUNDING = 2e-6  # of the scale, by sums in another order

node = helper.make_node


def constant(name: str, array: np.ndarray) -> onnx.NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(array))


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str] | None],
    *,
    opset: int = 17,
    ir_version: int = 8,
    dtype: int = TensorProto.FLOAT,
    functions: Sequence[onnx.FunctionProto] = (),
) -> Model:
    """A Model of the given nodes; for IR versions before 4 the weights are inputs as well."""
    graph_inputs = [helper.make_tensor_value_info(k, dtype, v) for k, v in inputs.items()]
    if ir_version < 4:
        graph_inputs += [
            helper.make_tensor_value_info(
                k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape
            )
            for k, v in weights.items()
        ]  # fmt: skip
    graph = helper.make_graph(
        list(nodes),
        "small",
        graph_inputs,
        [helper.make_tensor_value_info(k, dtype, v) for k, v in outputs.items()],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    domains = {f.domain for f in functions}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    proto = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    proto.ir_version = ir_version
    return Model.from_proto(proto, name="small.onnx")


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(seed: int, *shape: int, dtype: type = np.float32) -> np.ndarray:
    return random(seed).standard_normal(shape).astype(dtype)


class Runner:
    """Runs models in one child process."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def check(self, model: Model) -> None:
        self._child.request("check", {"model": _bytes(model)})

    def onnxruntime(
        self, model: Model, inputs: Mapping[str, np.ndarray], *, optimize: bool = True
    ) -> dict[str, np.ndarray]:
        arrays = {"model": _bytes(model), **inputs}
        return self._child.request("onnxruntime", arrays, optimize=optimize).arrays

    def opencv(
        self, model: Model, inputs: Mapping[str, np.ndarray], *, engine: int
    ) -> dict[str, np.ndarray]:
        arrays = {"model": _bytes(model), **inputs}
        names = [spec.name for spec in model.signature.outputs]
        return self._child.request("opencv", arrays, engine=engine, outputs=names).arrays


@contextmanager
def running() -> Iterator[Runner]:
    script = ROOT / "tests" / "support" / "nets_worker.py"
    with Child(script, name="the test's child", limits=ChildLimits(request_s=60)) as child:
        yield Runner(child)


def _bytes(model: Model) -> np.ndarray:
    return np.frombuffer(model.to_proto().SerializeToString(), np.uint8)


def inputs_for(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded inputs of the declared shapes, free dimensions at 1."""
    generator = random(seed)
    return {
        spec.name: generator.uniform(0, 1, [d or 1 for d in spec.shape or ()]).astype(spec.dtype)
        for spec in model.signature.inputs
    }


def worst_error(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> float:
    """The largest difference over the largest value, worst output."""
    assert list(expected) == list(actual)
    worst = 0.0
    for name, want in expected.items():
        got = actual[name]
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        difference = np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0)
        worst = max(worst, difference / max(np.abs(want).max(initial=0), 1e-30))
    return float(worst)


def assert_alike(
    runner: Runner, original: Model, changed: Model, engines: Iterable[int] = ()
) -> None:
    """A valid model of the same outputs, in onnxruntime and on these engines of cv2."""
    runner.check(changed)
    inputs = inputs_for(original)
    expected = runner.onnxruntime(original, inputs)
    assert worst_error(expected, runner.onnxruntime(changed, inputs)) < ROUNDING
    for engine in engines:
        assert worst_error(expected, runner.opencv(changed, inputs, engine=engine)) < 10 * ROUNDING
