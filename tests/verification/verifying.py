"""Small models, and a verification of them from plan to result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelcheck.data import open_samples
from modelcheck.model import Model
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import Target
from modelcheck.verification import Plan, Verification, Verified, verify

EQUIVALENCE = Judging(checks=frozenset({CheckKind.EQUIVALENCE}))


def judged(original: Model, candidate: Model | None, **changes: object) -> Verification:
    samples = changes.pop("samples", None) or open_samples(None, original.signature, count=16)
    targets = changes.pop("targets", ("cpu:new", "cpu:classic"))
    settings = tuple(
        t if isinstance(t, TargetSettings) else TargetSettings(Target.parse(t)) for t in targets
    )  # type: ignore[attr-defined]
    plan = Plan(original, candidate, samples, settings, judging=EQUIVALENCE)  # type: ignore[arg-type]
    events = list(verify(replace(plan, **changes)))  # type: ignore[arg-type]
    assert isinstance(events[-1], Verified)
    return events[-1].result


def model(
    nodes: list[onnx.NodeProto], shape: list[object], weights: dict[str, np.ndarray], **kw: object
) -> Model:
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", kw.get("dtype", TensorProto.FLOAT), kw.get("out"))],
        initializer=[numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", int(kw.get("opset", 17)))]  # type: ignore[arg-type]
    return Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))


def conv(then: list[onnx.NodeProto], *, scale: float = 1.0, seed: int = 0) -> Model:
    """A convolution, then some nodes from 'c' to 'y'."""
    w = np.random.default_rng(seed).standard_normal((4, 3, 3, 3)).astype(np.float32) * scale
    first = helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1])
    return model([first, *then], [1, 3, 8, 8], {"w": w}, out=[1, 4, 8, 8])


def average(*, include_pad: bool) -> list[onnx.NodeProto]:
    return [
        helper.make_node(
            "AveragePool", ["c"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1],
            count_include_pad=int(include_pad),
        )
    ]  # fmt: skip
