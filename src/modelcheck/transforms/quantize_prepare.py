"""The same float network, in the form that int8 layers are made from.

Claim: exact (float32 rounding only).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.model.float32 import as_float32
from modelcheck.model.static import Static
from modelcheck.model.uses import only_user
from modelcheck.transforms.base import Context
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.fold_batchnorm import fold
from modelcheck.transforms.graph import (
    LAYERS,
    CannotChange,
    constant,
    is_standard,
    layer_name,
    layer_weights,
    slot_of,
)
from modelcheck.transforms.rules.affine import fold_behind
from modelcheck.transforms.rules.rule import Site

_FLOAT, _FLOAT16 = ir.DataType.FLOAT.value, ir.DataType.FLOAT16.value


def prepared(model: Model, *, exclude: Sequence[str]) -> Model:
    """Bring every layer that may be quantized into the form 'convolution' or 'MatMul, then Add'.

    float16 becomes float32 between Casts, so that inputs and outputs keep their types. BatchNorm,
    and what is added or multiplied channel by channel, is folded into the layer before it. A Gemm,
    y = alpha * x*W + beta * c, becomes a MatMul by alpha*W (transposed if need be) and an Add of
    beta*c: OpenCV 5.0's new engine cannot load an int8 Gemm, and 4.14 computes it wrongly for
    N > 1. Weights that are moved about before use are moved here. Excluded layers stay as they are.
    Values keep their names.
    """
    edit = Edit(_between_casts(model))
    _move_constants(edit)
    for node in _nodes(edit, exclude):
        _fold_batchnorm(edit, node)
    static = Static(edit.graph, edit.opset)
    for node in _nodes(edit, exclude):
        if is_standard(node, "Conv", "ConvTranspose"):
            with contextlib.suppress(CannotChange):
                fold_behind(Site(edit, static, node))
        elif is_standard(node, "Gemm"):
            _as_matmul(edit, node)
    return edit.done()


def _nodes(edit: Edit, exclude: Sequence[str]) -> list[ir.Node]:
    weights = layer_weights(edit.model, Context(), exclude=exclude, dtypes={ir.DataType.FLOAT})
    return [slot.node for weight in weights for slot in weight.slots]


def _between_casts(model: Model) -> Model:
    """The network in float32, its float16 inputs and outputs kept."""
    twin = as_float32(model)
    if twin is model:
        return model
    edit = Edit(twin)
    half = {spec.name for spec in model.signature.inputs if spec.dtype == np.float16}
    for value in edit.graph.inputs:
        if value.name in half:
            users = [(use.node, use.idx) for use in value.uses()]
            cast = edit.node("Cast", [value], f"{value.name}/float32", like=value, to=_FLOAT)
            value.type = ir.TensorType(ir.DataType.FLOAT16)
            for node, index in users:
                edit.set_input(node, index, cast)
    half = {spec.name for spec in model.signature.outputs if spec.dtype == np.float16}
    for index, value in enumerate(edit.graph.outputs):
        if value.name in half:
            name, value.name = value.name, edit.fresh(f"{value.name}/float32")
            cast = edit.node("Cast", [value], f"{name}/float16", like=value, to=_FLOAT16)
            cast.name, cast.type = name, ir.TensorType(ir.DataType.FLOAT16)
            edit.graph.outputs[index] = cast
    return edit.done()


def _move_constants(edit: Edit) -> None:
    """Weights that a Reshape or Transpose makes of a constant become constants themselves."""
    static = Static(edit.graph, edit.opset)
    for node in list(edit.graph):
        if not is_standard(node, *LAYERS) or len(node.inputs) < 2 or slot_of(node) is not None:
            continue
        value = node.inputs[1]
        maker = value.producer() if value is not None else None
        array = static.constant(value)
        if value is None or maker is None or array is None or array.dtype != np.float32:
            continue
        edit.set_input(node, 1, edit.initializer(f"{value.name}.moved", array))
        while maker is not None and not any(o.uses() or o.is_graph_output() for o in maker.outputs):
            inputs = tuple(maker.inputs)
            edit.graph.remove(maker, safe=True)
            edit.drop_unused(inputs)
            maker = inputs[0].producer() if inputs and inputs[0] is not None else None


def _fold_batchnorm(edit: Edit, node: ir.Node) -> None:
    user = only_user(node.outputs[0])
    if user is not None and is_standard(user, "Add"):
        user = only_user(user.outputs[0])
    if user is not None and is_standard(user, "BatchNormalization"):
        # Where it cannot be folded, the layer is quantized without it.
        with contextlib.suppress(CannotChange):
            fold(edit, user)


def _as_matmul(edit: Edit, gemm: ir.Node) -> None:
    slot = slot_of(gemm)
    weight = constant(slot.weight) if slot is not None else None
    addend = gemm.inputs[2] if len(gemm.inputs) > 2 else None
    bias = constant(addend)
    beta = gemm.attributes.get_float("beta", 1.0)
    transposed = gemm.attributes.get_int("transA", 0)
    if slot is None or slot.index == 0 or weight is None or transposed:
        return
    if addend is not None and bias is None and beta != 1.0:
        return
    name, result = layer_name(gemm), gemm.outputs[0]
    matrix = weight.numpy() * np.float32(gemm.attributes.get_float("alpha", 1.0))
    if gemm.attributes.get_int("transB", 0):
        matrix = matrix.T
    factor = edit.initializer(f"{slot.weight.name}.matrix", np.ascontiguousarray(matrix))
    product = edit.node("MatMul", [gemm.inputs[0], factor], f"{name}/matmul", like=result)
    matmul = product.producer()
    if bias is not None and beta != 1.0:
        addend = edit.initializer(f"{name}.bias", bias.numpy() * np.float32(beta))
    if addend is not None:
        heir = edit.node("Add", [product, addend], f"{name}/bias", like=result)
    else:
        heir = product
    edit.remove(gemm, heir=heir)
    assert matmul is not None
    matmul.name = name
