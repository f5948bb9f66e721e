"""diff: what changed, found by comparing two models."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import FIXTURES, model, node, normal

from modelcheck.model import Model, load
from modelcheck.transforms import (
    build,
    chain,
    diff,
    fold_batchnorm,
    fp16,
    prune_weights,
    quantize_weights,
    sparsify,
)


@pytest.fixture(scope="module")
def resnet() -> Model:
    return load(FIXTURES / "digits_resnet.onnx")


def test_a_model_does_not_differ_from_itself(resnet) -> None:
    for other in (resnet, load(FIXTURES / "digits_resnet.onnx"), Model.freeze(resnet.edit())):
        change = diff(resnet, other)
        assert change.nothing
        assert change.summary() == "nothing changed"
        assert change.bytes_before == change.bytes_after


@pytest.mark.parametrize(
    ("transform", "summary"),
    [
        (fold_batchnorm(), "8 nodes removed"),
        (quantize_weights(), "9 layers to int8"),
        (fp16(), "9 layers to float16"),
        (fp16(scope="model"), "9 layers to float16"),
        (prune_weights(amount=0.5), "50.0 % zeros"),
        (sparsify(pattern="2:4", exclude=["stem.conv"]), "49.8 % zeros"),
        (chain(), "nothing changed"),
        (chain(fold_batchnorm(), prune_weights(amount=0.9)), "8 nodes removed, 90.0 % zeros"),
    ],
)
def test_each_transform_is_summed_up_in_one_line(resnet, transform, summary) -> None:
    assert diff(resnet, transform(resnet)).summary() == summary


def test_numbers_are_counted_on_both_sides(resnet) -> None:
    change = diff(resnet, quantize_weights(exclude=["head"])(resnet))
    assert change.layers_before == {"float32": 9}
    assert change.layers_after == {"int8": 8, "float32": 1}
    assert change.nodes_added == {"DequantizeLinear": 8}
    assert change.nodes_removed == {}
    assert change.bytes_after < 0.4 * change.bytes_before
    folded = diff(resnet, fold_batchnorm()(resnet))
    assert folded.nodes_removed == {"BatchNormalization": 8}
    assert folded.sparsity_before == folded.sparsity_after == 0


def test_a_pruned_weight_is_counted_and_its_zeros_too(resnet) -> None:
    pruned = prune_weights(amount=0.25, exclude=["head"])(resnet)
    change = diff(resnet, pruned)
    assert change.weights_changed == 8
    zeros = sum(int(np.count_nonzero(w == 0)) for n, w in pruned.weights.items() if w.ndim == 4)
    total = sum(w.size for n, w in pruned.weights.items() if w.ndim == 4 or n == "head.weight")
    assert change.sparsity_after == pytest.approx(zeros / total)


def test_a_single_changed_number_or_sign_of_zero_is_seen() -> None:
    def net(weight):
        nodes = [node("MatMul", ["x", "w"], ["y"], name="fc")]
        return model(nodes, {"w": weight}, {"x": (1, 4)}, {"y": None})

    weight = normal(0, 4, 4)
    other = weight.copy()
    other[3, 3] += 1
    assert diff(net(weight), net(other)).summary() == "1 weight changed"
    zero = np.zeros((4, 4), np.float32)
    assert diff(net(zero), net(-zero)).weights_changed == 1
    assert diff(net(zero), net(zero.copy())).nothing


def test_a_changed_attribute_is_a_changed_node() -> None:
    def net(pads):
        nodes = [node("Conv", ["x", "w"], ["y"], name="conv", pads=pads)]
        return model(nodes, {"w": np.ones((1, 1, 3, 3), np.float32)}, {"x": (1, 1, 5, 5)},
                     {"y": None})  # fmt: skip

    change = diff(net([1, 1, 1, 1]), net([0, 0, 2, 2]))
    assert change.nodes_changed == 1
    assert change.summary() == "1 node changed"


def test_zeros_of_quantized_weights_are_those_of_their_zero_point(resnet) -> None:
    pruned = prune_weights(amount=0.5)(resnet)
    change = diff(pruned, build("quantize-weights")(pruned))
    assert change.sparsity_before == pytest.approx(0.5, abs=0.01)
    assert change.sparsity_after >= change.sparsity_before


def test_a_node_missing_among_thousands_is_counted() -> None:
    nodes = [node("Relu", [f"v{i}"], [f"v{i + 1}"], name=f"n{i}") for i in range(2000)]
    deep = model(nodes, {}, {"v0": (1, 4)}, {"v2000": (1, 4)})
    shorter = model(nodes[:-1], {}, {"v0": (1, 4)}, {"v1999": (1, 4)})
    assert diff(deep, shorter).nodes_removed == {"Relu": 1}
