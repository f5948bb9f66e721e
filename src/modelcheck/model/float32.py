"""The float32 twin of a float16 model: what its rounding is measured against."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelcheck.model.model import Model

_DTYPE_ATTRIBUTES = {"to", "dtype", "output_dtype", "stash_type"}


def as_float32(model: Model) -> Model:
    """The same network with every float16 tensor turned to float32, names unchanged.

    Initializers, constants, inputs, outputs, casts and subgraphs. Returns the very same model
    when nothing in it is float16. Weights are turned when they are read, and not kept.
    """
    edited = model.edit()
    bodies: list[ir.Graph | ir.Function] = [edited.graph, *edited.functions.values()]
    changed = [_turn(body) for body in bodies]
    return Model.freeze(edited, name=model.name) if any(changed) else model


def _turn(body: ir.Graph | ir.Function) -> bool:
    changed = False
    graphs = [body, *(g for g in body.subgraphs())]
    for graph in graphs:
        values = [*graph.inputs, *(output for node in graph for output in node.outputs)]
        if isinstance(graph, ir.Graph):
            values += graph.initializers.values()
        for value in values:
            if value.dtype == ir.DataType.FLOAT16:
                # A new type: copies of a graph share their type objects.
                value.type = ir.TensorType(ir.DataType.FLOAT)
                changed = True
            if value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT16:
                value.const_value = _float32(value.const_value)
                changed = True
        for node in graph:
            changed |= _turn_attributes(node)
    return changed


def _turn_attributes(node: ir.Node) -> bool:
    changed = False
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            if tensor.dtype == ir.DataType.FLOAT16:
                node.attributes[name] = ir.AttrTensor(name, _float32(tensor))
                changed = True
        elif (
            name in _DTYPE_ATTRIBUTES
            and attribute.type == ir.AttributeType.INT
            and attribute.as_int() == ir.DataType.FLOAT16
        ):
            node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT.value)
            changed = True
    return changed


def _float32(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    def compute() -> ir.TensorProtocol:
        array = tensor.numpy().astype(np.float32)
        array.flags.writeable = False
        return ir.Tensor(array)

    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(compute, ir.DataType.FLOAT, shape, name=tensor.name)
