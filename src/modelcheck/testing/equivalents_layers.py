"""Other forms of a convolution: in parts, joined with another, with a BatchNormalization.

W: (out, in/group, kh, kw); b: (out,)
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx_ir as ir

from modelcheck.model.static import Static
from modelcheck.testing.planting import Layer, layers, some, some_layer
from modelcheck.transforms.edit import Edit


def split_along_outputs(edit: Edit, random: np.random.Generator) -> bool:
    """y = Concat(W[:k] x + b[:k], W[k:] x + b[k:])"""
    layer = some_layer(edit, random, lambda found: _is_plain(found) and len(found.weight) > 1)
    if layer is None:
        return False
    cut = int(random.integers(1, len(layer.weight)))
    halves = [slice(None, cut), slice(cut, None)]
    bias = _bias(edit, layer)
    parts = [
        _convolution(
            edit, layer, layer.node.inputs[0], layer.weight[h], None if bias is None else bias[h]
        )
        for h in halves
    ]
    edit.remove(layer.node, edit.node("Concat", parts, "joined", like=None, axis=1))
    return True


def split_along_inputs(edit: Edit, random: np.random.Generator) -> bool:
    """y = (W[:, :k] x[:k] + b) + W[:, k:] x[k:]"""
    layer = some_layer(edit, random, lambda found: _is_plain(found) and found.weight.shape[1] > 1)
    if layer is None:
        return False
    ins = layer.weight.shape[1]
    cut = int(random.integers(1, ins))
    axis = edit.initializer("axis", np.array([1]))
    parts = []
    for begin, end, bias in ((0, cut, _bias(edit, layer)), (cut, ins, None)):
        bounds = [edit.initializer("bound", np.array([n])) for n in (begin, end)]
        piece = _slice(edit, layer.node.inputs[0], bounds, axis, (begin, end))
        parts.append(_convolution(edit, layer, piece, layer.weight[:, begin:end], bias))
    edit.remove(layer.node, edit.node("Add", parts, "sum", like=layer.node.outputs[0]))
    return True


def merged(edit: Edit, random: np.random.Generator) -> bool:
    """Two convolutions of one input become one: W = [W1; W2], and its result is cut in two."""
    pairs = []
    found = [layer for layer in layers(edit) if _is_plain(layer)]
    for i, first in enumerate(found):
        pairs += [(first, second) for second in found[i + 1 :] if _alike(first, second)]
    pair = some(pairs, random)
    if pair is None:
        return False
    first, second = pair
    biases = [_bias(edit, layer) for layer in pair]
    bias = None
    if any(b is not None for b in biases):
        bias = np.concatenate([
            np.zeros(len(layer.weight), layer.weight.dtype) if b is None else b
            for layer, b in zip(pair, biases, strict=True)
        ])  # fmt: skip
    both = np.concatenate([first.weight, second.weight])
    whole = _convolution(edit, first, first.node.inputs[0], both, bias)
    axis = edit.initializer("axis", np.array([1]))
    cuts = (0, len(first.weight), len(both))
    for layer, (begin, end) in zip(pair, pairwise(cuts), strict=True):
        bounds = [edit.initializer("bound", np.array([n])) for n in (begin, end)]
        edit.remove(layer.node, _slice(edit, whole, bounds, axis, (begin, end)))
    return True


def batchnorm_split_off(edit: Edit, random: np.random.Generator) -> bool:
    """y = W x + b becomes BatchNormalization(W' x + b'), with any gamma, beta, mean, variance.

    s = gamma / sqrt(var + eps):   W' = W / s    b' = (b - beta) / s + mean
    Computed in float64 and rounded once.
    """
    layer = some_layer(edit, random, _is_convolution)
    if layer is None:
        return False
    outs, dtype = len(layer.weight), layer.weight.dtype
    gamma, variance = (random.uniform(0.5, 2, outs).astype(dtype) for _ in range(2))
    beta, mean = (random.normal(0, 0.5, outs).astype(dtype) for _ in range(2))
    epsilon = float(np.float32(1e-5))
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    bias = _bias(edit, layer)
    shifted = (0.0 if bias is None else bias.astype(np.float64)) - beta
    weight = layer.weight / scale.reshape(-1, *(1,) * (layer.weight.ndim - 1))
    before = _convolution(
        edit, layer, layer.node.inputs[0], weight.astype(dtype),
        (shifted / scale + mean).astype(dtype),
    )  # fmt: skip
    parameters = [edit.initializer("norm", a) for a in (gamma, beta, mean, variance)]
    normalized = edit.node(
        "BatchNormalization", [before, *parameters], "norm", like=layer.node.outputs[0],
        epsilon=epsilon,
    )  # fmt: skip
    edit.remove(layer.node, normalized)
    return True


def _is_convolution(layer: Layer) -> bool:
    return layer.node.op_type == "Conv" and layer.weight.dtype == np.float32


def _is_plain(layer: Layer) -> bool:
    """An ungrouped convolution in float32."""
    return _is_convolution(layer) and layer.node.attributes.get_int("group", 1) == 1


def _alike(a: Layer, b: Layer) -> bool:
    """Two convolutions of one input with the same windows."""
    return (
        a.node.inputs[0] is b.node.inputs[0]
        and a.weight.shape[1:] == b.weight.shape[1:]
        and all(
            a.node.attributes[k].value == b.node.attributes[k].value
            if k in a.node.attributes and k in b.node.attributes
            else k == "kernel_shape"
            for k in {*a.node.attributes, *b.node.attributes}
        )
    )


def _bias(edit: Edit, layer: Layer) -> np.ndarray | None:
    """The layer's bias; one that is computed counts as none, and such layers are not chosen."""
    node = layer.node
    return Static(edit.graph, edit.opset).constant(node.inputs[2]) if len(node.inputs) > 2 else None


def _convolution(
    edit: Edit, like: Layer, x: ir.Value | None, weight: np.ndarray, bias: np.ndarray | None
) -> ir.Value:
    """A convolution with the attributes of another, with a weight and a bias of its own."""
    inputs: list[ir.Value | None] = [x, edit.initializer("part", np.ascontiguousarray(weight))]
    if bias is not None:
        inputs.append(edit.initializer("part", np.ascontiguousarray(bias)))
    made = edit.node("Conv", inputs, "part", like=None)
    made.type = like.node.outputs[0].type
    node = made.producer()
    assert node is not None
    for name, attribute in like.node.attributes.items():
        node.attributes[name] = attribute
    return made


def _slice(
    edit: Edit, x: ir.Value | None, bounds: list[ir.Value], axis: ir.Value, of: tuple[int, int]
) -> ir.Value:
    """x[:, begin:end]; before opset 10 the bounds are attributes."""
    if edit.opset >= 10:
        return edit.node("Slice", [x, *bounds, axis], "piece", like=None)
    edit.drop_unused([*bounds, axis])
    piece = edit.node("Slice", [x], "piece", like=None)
    node = piece.producer()
    assert node is not None
    for name, value in (("starts", of[0]), ("ends", of[1]), ("axes", 1)):
        node.attributes[name] = ir.AttrInt64s(name, [value])
    return piece
