"""Fold BatchNormalization into the layer before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.model.float_faults import fused_batchnorm
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import (
    FLOATS,
    LAYERS,
    CannotChange,
    Slot,
    constant,
    is_constant,
    is_standard,
    layer_name,
    report_hidden,
    slot_of,
)
from modelcheck.transforms.options import checked

_BATCHNORM = "BatchNormalization"


@checked
def fold_batchnorm() -> Transform:
    """Fold each BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul before it.

    y = s·(W·x + b) + t,   s = gamma / sqrt(var + eps),   t = beta - s·mean
    W' = s·W  along output channels,    b' = s·b + t
    W: (out, in/group, ...); gamma, beta, mean, var: (out,)

    Left alone too: one before an activation that has a second one behind it, where OpenCV 5.0's new
    engine would fold that one into the convolution instead (docs/known-faults.md).
    A per-channel Add between the two is folded along. A layer that shares its weight gets a copy
    of its own. Left alone: a layer whose result something else uses too, training mode,
    parameters that are computed, a MatMul whose output is not known to be a matrix.
    Computed in float64 and rounded once to the dtype of the weight.
    Claim: exact (rounding only).
    """

    def apply(model: Model, context: Context) -> Model:
        edit = Edit(model)
        report_hidden(edit.model, {_BATCHNORM}, context)
        for node in [n for n in edit.graph if is_standard(n, _BATCHNORM)]:
            try:
                fold(edit, node)
            except CannotChange as reason:
                context.leave(layer_name(node), str(reason))
        return edit.done()

    return Transform("fold-batchnorm", Claim.EXACT, apply)


@dataclass(frozen=True, slots=True)
class _Before:
    """What a BatchNormalization reads: a layer, its bias if any, and a constant Add if any."""

    slot: Slot
    bias: ir.Value | None
    add: ir.Node | None
    addend: ir.Value | None


def fold(edit: Edit, batchnorm: ir.Node) -> None:
    scale, shift = _affine(edit, batchnorm)
    before = _layer_before(edit, batchnorm)
    slot, node = before.slot, before.slot.node
    weight = constant(slot.weight)
    assert weight is not None
    channels = _channels(slot, weight)
    if scale.shape != (channels,):
        raise CannotChange(f"it has {scale.size} channels, the layer before it {channels}")
    dtype = weight.dtype.numpy()
    new_weight = _rounded(slot.scale_outputs(weight.numpy().astype(np.float64), scale), dtype)
    bias, addend = _vector(before.bias, slot, channels), _vector(before.addend, slot, channels)
    if node.op_type == "Gemm":
        bias = bias * _number(node, "beta", 1.0)
    new_bias = _rounded((bias + addend) * scale + shift, dtype)
    if node.op_type == "Conv" and fused_batchnorm(batchnorm, is_constant):
        raise CannotChange("OpenCV 5 would fold the one behind the activation in its place")
    # Nothing has been changed so far: from here on nothing can fail.
    edit.own_constant(node, slot.index, new_weight, "weight")
    if node.op_type != "MatMul":
        edit.own_constant(node, 2, new_bias, "bias")
        if node.op_type == "Gemm":
            node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
        if before.add is not None:
            edit.remove(before.add, heir=node.outputs[0])
        edit.remove(batchnorm, heir=node.outputs[0])
    elif before.add is not None:
        index = [v is before.addend for v in before.add.inputs].index(True)
        edit.own_constant(before.add, index, new_bias, "bias")
        edit.remove(batchnorm, heir=before.add.outputs[0])
    else:
        stem = layer_name(node)
        bias_value = edit.initializer(f"{stem}.bias", new_bias)
        old = batchnorm.outputs[0]
        edit.remove(
            batchnorm,
            heir=edit.node("Add", [node.outputs[0], bias_value], f"{stem}/bias", like=old),
        )


def _affine(edit: Edit, batchnorm: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """(s, t) of y = s·x + t, in float64."""
    attributes = batchnorm.attributes
    training = "training_mode" in attributes and attributes["training_mode"].as_int()
    # Before opset 7 a node was in training mode unless it said is_test.
    old_training = edit.opset < 7 and _number(batchnorm, "is_test", 0) == 0
    if training or old_training or any(o.name for o in batchnorm.outputs[1:]):
        raise CannotChange("it is in training mode")
    if edit.opset < 9 and _number(batchnorm, "spatial", 1) == 0:
        raise CannotChange("it normalizes each position by itself (spatial=0)")
    tensors = [constant(value) for value in batchnorm.inputs[1:5]]
    given = [t.numpy().astype(np.float64) for t in tensors if t is not None]
    if len(given) != 4:
        raise CannotChange("its parameters are computed, not constant")
    gamma, beta, mean, variance = given
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + _number(batchnorm, "epsilon", 1e-5))
    if not np.isfinite(scale).all():
        raise CannotChange("its variance is not positive")
    return scale, beta - mean * scale


def _layer_before(edit: Edit, batchnorm: ir.Node) -> _Before:
    value = batchnorm.inputs[0]
    assert value is not None
    add = addend = None
    producer = _producer(edit, value)
    if is_standard(producer, "Add"):
        add, sides = producer, producer.inputs
        constants = [v for v in sides if constant(v) is not None]
        others = [v for v in sides if v is not None and constant(v) is None]
        if len(constants) != 1 or len(others) != 1:
            raise CannotChange("no convolution or matrix product stands directly before it")
        addend = constants[0]
        producer = _producer(edit, others[0])
    slot = slot_of(producer)
    if slot is None and is_standard(producer, *LAYERS):
        raise CannotChange(f"the weight of '{layer_name(producer)}' is not a constant")
    if slot is None:
        raise CannotChange("no convolution or matrix product stands directly before it")
    if slot.index == 0 or slot.output_axis is None:
        raise CannotChange(f"the channels of '{layer_name(producer)}' are not those of its weight")
    tensor = constant(slot.weight)
    if tensor is None or tensor.dtype not in FLOATS:
        raise CannotChange(f"the weight of '{layer_name(producer)}' is not floating-point")
    if producer.op_type == "MatMul" and not _is_matrix(producer.outputs[0]):
        raise CannotChange(f"the output of '{layer_name(producer)}' is not known to be a matrix")
    bias = None
    if producer.op_type != "MatMul" and len(producer.inputs) > 2:
        bias = producer.inputs[2]
    return _Before(slot, bias, add, addend)


def _producer(edit: Edit, value: ir.Value) -> ir.Node:
    """The node that makes this value for one user only."""
    producer = value.producer()
    if producer is None:
        raise CannotChange("no convolution or matrix product stands directly before it")
    if value.is_graph_output():
        raise CannotChange(f"the result of '{layer_name(producer)}' is also an output of the model")
    if len(value.uses()) > 1:
        raise CannotChange(f"the result of '{layer_name(producer)}' is also used elsewhere")
    return producer


def _channels(slot: Slot, weight: ir.TensorProtocol) -> int:
    """The number of output channels of a layer."""
    assert slot.output_axis is not None
    n = int(weight.shape.numpy()[slot.output_axis])
    return n * slot.groups if slot.node.op_type == "ConvTranspose" else n


def _vector(value: ir.Value | None, slot: Slot, channels: int) -> np.ndarray:
    """A bias or addend as one number for each channel, which is axis 1 of the layer's output."""
    if value is None:
        return np.zeros(channels)
    tensor = constant(value)
    if tensor is None:
        raise CannotChange(f"the bias of '{slot.layer}' is computed, not constant")
    array = tensor.numpy().astype(np.float64)
    weight = constant(slot.weight)
    assert weight is not None
    convolution = slot.node.op_type in ("Conv", "ConvTranspose")
    if convolution and array.shape == (channels,) and value in slot.node.inputs:
        return array
    rank = len(weight.shape) if convolution else 2
    full = array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim <= rank else array
    if full.ndim != rank or full.size != full.shape[1] or full.size not in (1, channels):
        raise CannotChange(f"what is added to '{slot.layer}' is not one number for each channel")
    return np.broadcast_to(full.reshape(-1), (channels,))


def _is_matrix(value: ir.Value, depth: int = 4) -> bool:
    """Whether a value is known to have two axes."""
    if value.shape is not None:
        return len(value.shape) == 2
    producer = value.producer()
    if producer is None or depth == 0:
        return False
    if is_standard(producer, "Flatten", "Gemm"):
        return True
    first = producer.inputs[0] if producer.inputs else None
    if first is None or not is_standard(producer, "MatMul", "Relu", "Identity", "Dropout"):
        return False
    if producer.op_type == "MatMul":
        right = constant(producer.inputs[1])
        if right is None or len(right.shape) != 2:
            return False
    return _is_matrix(first, depth - 1)


def _rounded(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        rounded = array.astype(dtype)
    if not np.isfinite(rounded).all():
        raise CannotChange(f"the folded weight does not fit {dtype.name}")
    return rounded


def _number(node: ir.Node, name: str, default: float) -> float:
    if name not in node.attributes:
        return default
    return float(node.attributes[name].value)
