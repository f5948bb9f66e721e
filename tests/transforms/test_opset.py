"""A network raised to opset 13 is the same network."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import SHARED_MODELS, Runner, inputs_for, model, node, normal, worst_error

from modelcheck.model import load
from modelcheck.transforms.graph import CannotChange
from modelcheck.transforms.opset import raised_to_13

INT = np.int64

# (opset, nodes from x to y, weights, shape of x, shape of y)
CASES = {
    "softmax over the last axes": (9, [node("Softmax", ["x"], ["y"], axis=1)], {}, (2, 3, 4, 5)),
    "softmax over one axis": (11, [node("Softmax", ["x"], ["y"])], {}, (2, 6, 1, 1)),
    "logsoftmax from behind": (12, [node("LogSoftmax", ["x"], ["y"], axis=-1)], {}, (2, 3, 4)),
    "squeeze and unsqueeze": (
        11,
        [
            node("Unsqueeze", ["x"], ["u"], axes=[0, 3]),
            node("Squeeze", ["u"], ["y"], axes=[0]),
        ],
        {},
        (2, 3, 4),
    ),
    "squeeze of everything": (11, [node("Squeeze", ["x"], ["y"])], {}, (2, 1, 4)),
    "reduce sum": (11, [node("ReduceSum", ["x"], ["y"], axes=[1], keepdims=0)], {}, (2, 3, 4)),
    "reduce sum of all": (11, [node("ReduceSum", ["x"], ["y"], keepdims=0)], {}, (2, 3, 4)),
    "split": (
        11,
        [
            node("Split", ["x"], ["a", "b"], axis=1, split=[1, 3]),
            node("ReduceMax", ["a"], ["m"], axes=[1]),
            node("Mul", ["b", "m"], ["y"]),
        ],
        {},
        (2, 4, 3),
    ),
    "dropout": (7, [node("Dropout", ["x"], ["y"], ratio=0.3)], {}, (2, 3)),
    "clip": (8, [node("Clip", ["x"], ["y"], min=0.2, max=0.7)], {}, (2, 3)),
    "clip above": (8, [node("Clip", ["x"], ["y"], max=0.7)], {}, (2, 3)),
    "pad": (
        10,
        [node("Pad", ["x"], ["y"], pads=[0, 0, 1, 2, 0, 0, 3, 0], value=0.5)],
        {},
        (1, 2, 4, 4),
    ),
    "slice": (9, [node("Slice", ["x"], ["y"], starts=[1], ends=[3], axes=[1])], {}, (2, 4, 3)),
    "top k": (
        9,
        [node("TopK", ["x"], ["y", "i"], k=2, axis=1)],
        {},
        (2, 5),
    ),
    "batch normalization": (
        8,
        [node("BatchNormalization", ["x", "a", "b", "c", "d"], ["y"], spatial=1)],
        {n: np.abs(normal(i, 3)) + 1 for i, n in enumerate("abcd")},
        (2, 3, 4, 4),
    ),
    "upsample by nearest": (
        8,
        [node("Upsample", ["x"], ["y"], mode="nearest", scales=[1.0, 1.0, 2.0, 3.0])],
        {},
        (1, 2, 3, 4),
    ),
    "upsample linearly": (
        9,
        [node("Upsample", ["x", "s"], ["y"], mode="linear")],
        {"s": np.float32([1, 1, 2, 2])},
        (1, 2, 3, 4),
    ),
    "resize of opset 10": (
        10,
        [node("Resize", ["x", "s"], ["y"], mode="nearest")],
        {"s": np.float32([1, 1, 2, 2])},
        (1, 2, 3, 4),
    ),
    "resize of opset 11": (
        11,
        [node("Resize", ["x", "r", "s"], ["y"], mode="linear")],
        {"r": np.float32([]), "s": np.float32([1, 1, 2, 2])},
        (1, 2, 3, 4),
    ),
}


@pytest.mark.parametrize("ir_version", [3, 8])
@pytest.mark.parametrize("case", CASES)
def test_the_raised_network_gives_the_same(runner: Runner, case, ir_version):
    opset, nodes, weights, shape = CASES[case]
    names = [f"d{i}" for i in range(8)]
    rank = {"reduce sum": 2, "reduce sum of all": 0, "squeeze of everything": 2}.get(case)
    rank = len(shape) + (case == "squeeze and unsqueeze") if rank is None else rank
    original = model(
        nodes, weights, {"x": shape}, {"y": names[:rank]}, opset=opset, ir_version=ir_version
    )
    raised = raised_to_13(original)
    assert raised.opset == 13
    assert original.opset == opset
    assert raised.signature == original.signature
    runner.check(raised)
    x = inputs_for(original)
    assert worst_error(runner.onnxruntime(original, x), runner.onnxruntime(raised, x)) <= 1e-6


def test_opset_13_and_later_is_left_as_it_is():
    original = model([node("Relu", ["x"], ["y"])], {}, {"x": [2]}, {"y": [2]}, opset=14)
    assert raised_to_13(original) is original


@pytest.mark.parametrize(
    ("nodes", "weights", "opset"),
    [
        ([node("Hardmax", ["x"], ["y"])], {}, 11),
        ([node("Upsample", ["x", "s"], ["y"])], {"s": np.float32([1, 1, 0.5, 1])}, 9),
        ([node("Dropout", ["x"], ["d", "mask"]), node("Mul", ["d", "mask"], ["y"])], {}, 7),
    ],
)
def test_what_has_no_equal_is_refused_by_name(nodes, weights, opset):
    shape = [1, 2, 4, 4]
    original = model(nodes, weights, {"x": shape}, {"y": ["a", "b", "c", "d"]}, opset=opset)
    with pytest.raises(CannotChange, match=rf"{nodes[0].op_type} '.*' has no equal in opset 13"):
        raised_to_13(original)


@pytest.mark.real_models
@pytest.mark.parametrize(
    "name", ["squeezenet_fp16", "prisma_seg", "fsanet_1x1", "person_reid_0288"]
)
def test_real_networks_of_old_opsets_give_the_same(runner: Runner, name):
    path = SHARED_MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{name}.onnx is not in ../shared/models")
    original = load(path)
    raised = raised_to_13(original)
    runner.check(raised)
    x = inputs_for(original)
    assert worst_error(runner.onnxruntime(original, x), runner.onnxruntime(raised, x)) <= 1e-5
