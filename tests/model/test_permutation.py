"""Channel permutation: the same function, and as many channels moved as can be."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from modelcheck.model import Model, load
from modelcheck.model.permutation import longest_reduction, permute_channels
from modelcheck.testing.models import Sample, models, sample
from modelcheck.testing.net import Net, Storage, Tensor
from modelcheck.testing.rounding import rounding_noise
from modelcheck.testing.runner import Outputs, Runner

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "models"

# At least this many groups in nets whose channels are nearly all free.
MANY = {
    "yolox_nano": 60,
    "fastestdet": 60,
    "person_reid_0288": 50,
    "road_seg_adas_0001": 50,
    "ppocrv3_det_ch": 35,
    "squeezenet_fp16": 25,
    "pan_mnv3_seg": 25,
    "ultraface_rfb_320": 25,
    "prisma_seg": 25,
}


def pixels(model: Model, name: str) -> Sample:
    """Random pixels as the net wants them: of its size, less its mean, over its std."""
    rows = tomllib.loads((REAL / "models.toml").read_text())["model"]
    form = next((r.get("input") for r in rows if r["name"] == name), None)
    if not isinstance(form, dict) or "size" not in form:
        return sample(model.signature)
    random, found = np.random.default_rng(0), {}
    for spec in model.signature.inputs:
        rank = len(spec.shape or ())
        free = dict(zip((rank - 2, rank - 1), reversed(form["size"]), strict=True))
        shape = [d or free.get(i, 1) for i, d in enumerate(spec.shape or ())]
        mean, std = np.mean(form["mean"]), np.mean(form["std"])
        image = (random.integers(0, 256, shape) - mean) / std
        found[spec.name] = image.astype(spec.dtype)
    return found


def worst_difference(
    runner: Runner, a: Model, b: Model, x: Sample | None = None, scale_at_least: float = 1e-3
) -> float:
    """max |a - b| / max |a| over the outputs, on one sample."""
    x = x or sample(a.signature)
    (expected,), (actual,) = runner.outputs(a, x), runner.outputs(b, x)
    return difference(expected, actual, scale_at_least)


def difference(expected: Outputs, actual: Outputs, scale_at_least: float = 1e-3) -> float:
    return max(
        float(np.abs(y - actual[k]).max(initial=0)) / max(np.abs(y).max(initial=0), scale_at_least)
        for k, y in expected.items()
    )


def conv(net: Net, x: Tensor, out: int, k: int = 3, **attributes: object) -> Tensor:
    weight = net.weight((out, x.channels // int(str(attributes.get("group", 1))), k, k))
    return net.add("Conv", [x, weight], (out, *x.spatial), pads=[k // 2] * 4, **attributes)


def conv_weights(model: Model) -> list[np.ndarray]:
    return [model.weights[str(n.inputs[1].name)] for n in model.graph if n.op_type == "Conv"]


@given(models())
def test_permuting_channels_leaves_the_function_alone(runner: Runner, model: Model) -> None:
    before = model.digest
    permuted = permute_channels(model, seed=3)
    assert model.digest == before
    assert permuted.model.signature == model.signature
    assert (permuted.model == model) == (permuted.permuted_groups == 0)
    # Some nets cancel down to next to nothing; rounding their constants shows which.
    pairs = rounding_noise(model, [sample(model.signature)], runner)
    noise = max(difference(*pair) for pair in pairs)
    assert worst_difference(runner, model, permuted.model) < max(1e-5, 8 * noise)


@pytest.mark.real_models
@pytest.mark.parametrize("path", sorted(REAL.glob("*.onnx")), ids=lambda p: p.stem)
def test_permuting_a_real_model_leaves_its_function_alone(runner: Runner, path: Path) -> None:
    model = load(path)
    permuted = permute_channels(model, seed=1)
    print(f"{path.stem}: {permuted.permuted_groups} groups")
    assert permuted.permuted_groups >= MANY.get(path.stem, 0)
    # An output of next to nothing behind a Sigmoid is as exact as the Sigmoid: 1e-7 absolute.
    x = pixels(model, path.stem)
    limit = max(2e-5, 8 * 2**-23 * longest_reduction(model) ** 0.5)
    assert worst_difference(runner, model, permuted.model, x, scale_at_least=0.05) < limit


@pytest.mark.skipif(not REAL.exists(), reason="../shared/models is absent")
def test_real_models_are_found() -> None:
    assert {p.stem for p in REAL.glob("*.onnx")} >= set(MANY)


def test_equal_seeds_give_equal_models_and_others_do_not() -> None:
    net = Net()
    x = net.input((3, 5, 5))
    net.outputs.append(conv(net, conv(net, x, 8), 2))
    model = net.model()
    first, again, other = (permute_channels(model, seed).model for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_channels_of_outputs_keep_their_places() -> None:
    net = Net()
    net.outputs.append(conv(net, net.input((3, 5, 5)), 8))
    model = net.model()
    assert permute_channels(model, 0).permuted_groups == 0
    assert permute_channels(model, 0).model is model


def test_channels_that_meet_an_unknown_operator_keep_their_places() -> None:
    net = Net()
    y = conv(net, net.input((3, 5, 5)), 8)
    net.outputs.append(conv(net, net.add("LRN", [y], size=3), 2))
    assert permute_channels(net.model(), 0).permuted_groups == 0


def test_a_residual_add_makes_its_layers_move_together() -> None:
    net = Net()
    a = conv(net, net.input((3, 5, 5)), 8)
    b = conv(net, a, 8)
    net.outputs.append(conv(net, net.add("Add", [a, b]), 2))
    model = net.model()
    permuted = permute_channels(model, 0)
    assert permuted.permuted_groups == 1
    (w1, w2, _), (v1, v2, _) = conv_weights(model), conv_weights(permuted.model)
    order = [int(np.argmin(np.abs(w1 - row).sum((1, 2, 3)))) for row in v1]
    assert sorted(order) == list(range(8)) != order
    assert np.array_equal(v2, w2[order][:, order])


def test_a_shared_weight_may_be_permuted_differently_at_each_use(runner: Runner) -> None:
    net = Net()
    shared = net.weight((8, 8, 1, 1))
    y = conv(net, net.input((3, 5, 5)), 8)
    for _ in range(2):
        y = net.add("Relu", [net.add("Conv", [y, shared])])
    net.outputs.append(conv(net, y, 2))
    model = net.model()
    permuted = permute_channels(model, 0)
    assert permuted.permuted_groups == 3
    assert worst_difference(runner, model, permuted.model) < 1e-6


def test_weights_that_must_be_inputs_stay_inputs(runner: Runner) -> None:
    """Before IR version 4 every initializer is a graph input too."""
    net = Net(storage=Storage.INPUT)
    shared = net.weight((8, 8, 1, 1))
    y = conv(net, net.input((3, 5, 5)), 8)
    for _ in range(2):
        y = net.add("Relu", [net.add("Conv", [y, shared])])
    net.outputs.append(conv(net, y, 2))
    proto = net.proto()
    proto.ir_version, proto.opset_import[0].version = 3, 8
    model = Model.from_proto(proto)
    permuted = permute_channels(model, 0)
    assert permuted.permuted_groups == 3
    assert permuted.model.signature == model.signature
    assert {v.name for v in permuted.model.graph.inputs} >= set(permuted.model.weights)
    runner.check(permuted.model)
    assert worst_difference(runner, model, permuted.model) < 1e-6


def test_a_channel_that_is_picked_by_its_index_keeps_its_place(runner: Runner) -> None:
    net = Net()
    y = conv(net, net.input((3, 5, 5)), 2)
    parts = [net.add("Gather", [y, net.constant([i], np.int64)], (1, 5, 5), axis=1) for i in (0, 1)]
    net.outputs.append(net.add("Sub", parts))
    model = net.model()
    assert permute_channels(model, 0).permuted_groups == 0


def test_depthwise_channels_move_with_their_input(runner: Runner) -> None:
    net = Net()
    y = conv(net, net.input((3, 5, 5)), 6)
    y = net.add("Conv", [y, net.weight((12, 1, 3, 3))], (12, 5, 5), group=6, pads=[1] * 4)
    net.outputs.append(conv(net, y, 2))
    model = net.model()
    permuted = permute_channels(model, 0)
    # One group of six inputs; the two outputs of each input are told apart by their weights.
    assert permuted.permuted_groups == 1
    assert worst_difference(runner, model, permuted.model) < 1e-6


def test_channels_move_through_a_shuffle_and_a_flatten(runner: Runner) -> None:
    net = Net(batch=None)
    y = conv(net, net.input((3, 4, 4)), 8)
    y = net.add("Reshape", [y, net.constant([0, 2, 4, 4, 4], np.int64)], (2, 4, 4, 4))
    y = net.add("Transpose", [y], (4, 2, 4, 4), perm=[0, 2, 1, 3, 4])
    y = net.add("Reshape", [y, net.constant([0, 8, 4, 4], np.int64)], (8, 4, 4))
    y = net.add("Flatten", [net.add("Relu", [y])], (128,))
    net.outputs.append(net.add("MatMul", [y, net.weight((128, 3))], (3,)))
    model = net.model()
    permuted = permute_channels(model, 0)
    assert permuted.permuted_groups == 1
    assert worst_difference(runner, model, permuted.model) < 1e-6


def test_channels_captured_by_a_subgraph_keep_their_places() -> None:
    from onnx import TensorProto, helper

    net = Net()
    y = conv(net, net.input((3, 5, 5)), 8)
    z = conv(net, y, 2)
    net.outputs.append(z)
    proto = net.proto()
    info = helper.make_tensor_value_info
    inner = helper.make_node("Abs", [y.name], ["inner"])
    body = helper.make_graph([inner], "body", [], [info("inner", TensorProto.FLOAT, None)])
    condition = helper.make_tensor("c", TensorProto.BOOL, (), [True])
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=condition))
    proto.graph.node.append(
        helper.make_node("If", ["c"], ["both"], then_branch=body, else_branch=body)
    )
    proto.graph.output.append(info("both", TensorProto.FLOAT, [1, 8, 5, 5]))
    assert permute_channels(Model.from_proto(proto), 0).permuted_groups == 0


def test_the_longest_reduction_is_that_of_the_widest_layer() -> None:
    net = Net()
    y = conv(net, net.input((3, 5, 5)), 8)  # 3 * 3 * 3
    y = conv(net, y, 4, group=2)  # 4 * 3 * 3
    y = net.add("Flatten", [y], (100,))
    net.outputs.append(net.add("Gemm", [y, net.weight((7, 100))], (7,), transB=1))
    assert longest_reduction(net.model()) == 100
    only_relu = Net()
    only_relu.outputs.append(only_relu.add("Relu", [only_relu.input((3,))]))
    assert longest_reduction(only_relu.model()) == 1
