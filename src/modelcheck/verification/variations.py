"""The same mathematics in other forms, whose outputs differ by rounding alone: see judge.noise.

    channels permuted    y = (W P') (P x)                     the order of the sums
    sums split           y = W1 x + W2 x,   W1 + W2 = W       what is summed first
    weights as floats    (q - zero) * scale, stored as float  int8 kernels give way to float ones
    weights rounded anew W' = fl(fl(s W) / s),  1 <= s < 2    the last bit of each weight
Pure: a model in, a model out, or None where it has nothing of the kind.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.model.permutation import permute_channels
from modelcheck.model.static import Static
from modelcheck.transforms.edit import Edit

_SUMS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def channels_permuted(model: Model, seed: int) -> Model | None:
    """Internal channels in another order; weights behind a DequantizeLinear become floats."""
    permuted = permute_channels(weights_as_floats(model) or model, seed)
    return permuted.model if permuted.permuted_groups else None


def sums_split(model: Model, seed: int) -> Model | None:
    """Every layer with constant float weights as the sum of two that share its weights out.

    Each weight goes at random to one of the two, which has 0 where the other has the weight.
    """
    source = weights_as_floats(model) or model
    edit = Edit(source)
    static = Static(edit.graph, edit.opset)
    random = np.random.default_rng(seed)
    for node in list(edit.graph):
        if node.domain or node.op_type not in _SUMS or len(node.outputs) != 1:
            continue
        weight = static.constant(node.inputs[1])
        if weight is None or weight.dtype.kind != "f" or weight.ndim < 2:
            continue
        _split(edit, node, weight, random.random(weight.shape) < 0.5)
    split = edit.done()
    return None if split is source else split


def weights_rounded(model: Model, seed: int) -> Model | None:
    """Every constant float weight and bias scaled and scaled back, rounded both times.

    So do folding and splitting a BatchNormalization: they are exact, and keep no weight to the bit.
    Its parameters are rounded too: an engine folds it in float32, where one rounded factor moves
    all weights of a channel alike.
    """
    edit = Edit(model)
    static = Static(edit.graph, edit.opset)
    random = np.random.default_rng(seed)
    for node in list(edit.graph):
        if node.domain or node.op_type not in (*_SUMS, "BatchNormalization"):
            continue
        for index, value in enumerate(node.inputs[1:], start=1):
            weight = static.constant(value)
            if weight is None or weight.dtype != np.float32:
                continue
            factors = 1 + random.random(weight.shape, np.float32)
            anew = edit.initializer(f"{node.outputs[0].name}/anew", weight * factors / factors)
            edit.set_input(node, index, anew)
    rounded = edit.done()
    return None if rounded is model else rounded


def weights_as_floats(model: Model) -> Model | None:
    """Every DequantizeLinear of constants evaluated; the int8 layer becomes one of floats."""
    edit = Edit(model)
    static = Static(edit.graph, edit.opset)
    for node in list(edit.graph):
        if node.domain or node.op_type != "DequantizeLinear" or node.outputs[0].is_graph_output():
            continue
        array = _dequantized(node, static)
        if array is None:
            continue
        floats, inputs = edit.initializer(f"{node.outputs[0].name}/floats", array), node.inputs
        for use in list(node.outputs[0].uses()):
            edit.set_input(use.node, use.idx, floats)
        edit.graph.remove(node, safe=True)
        edit.drop_unused(inputs)
    found = edit.done()
    return None if found is model else found


def _split(edit: Edit, node: ir.Node, weight: np.ndarray, mask: np.ndarray) -> None:
    """y = node(x, W)  ->  y = node(x, W1) + node(x, W2); the bias stays with the first."""
    output = node.outputs[0]
    zero = np.zeros((), weight.dtype)
    parts = [np.where(m, weight, zero) for m in (mask, ~mask)]
    stem = f"{output.name}/half"
    edit.set_input(node, 1, edit.initializer(stem, parts[0]))
    rest = edit.node(
        node.op_type, [node.inputs[0], edit.initializer(stem, parts[1])], stem, like=output
    )
    producer = rest.producer()
    assert producer is not None
    for attribute in node.attributes.values():
        producer.attributes[attribute.name] = attribute
    total = edit.node("Add", [output, rest], f"{output.name}/sum", like=output)
    adder = total.producer()
    output.replace_all_uses_with(total, replace_graph_outputs=True)
    assert adder is not None
    adder.replace_input_with(0, output)  # which the line above took from it
    if total.is_graph_output():
        name = output.name
        output.name = f"{stem}s"
        total.name = name


def _dequantized(node: ir.Node, static: Static) -> np.ndarray | None:
    """(q - zero) * scale as ONNX defines it; None where it is not constant, or in blocks."""
    arrays = [static.constant(v) for v in node.inputs]
    if any(a is None for a in arrays) or "block_size" in node.attributes:
        return None
    quantized, scale, *zero = (np.asarray(a) for a in arrays)
    if scale.dtype != np.float32 or quantized.dtype.kind not in "iu":
        return None
    shape = [1] * quantized.ndim
    if scale.size > 1:
        shape[node.attributes.get_int("axis", 1)] = -1
    offset = zero[0].reshape(shape).astype(np.int64) if zero else 0
    floats = (quantized.astype(np.int64) - offset).astype(np.float32)
    return np.asarray(floats * scale.reshape(shape))
