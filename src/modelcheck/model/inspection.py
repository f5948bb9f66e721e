"""What a model is made of: inputs, layers, work, zeros, and the faults it will meet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.model.model import Model, TensorSpec
from modelcheck.model.patterns import Finding, known_faults
from modelcheck.model.scene import Scene, all_nodes, node_name
from modelcheck.model.static import Static

# Layers that multiply by a weight, and which input the weight is.
_WEIGHT_INPUT = {
    "Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1,
    "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer that multiplies by a weight.

    `macs` are multiply-accumulates for the shapes given, None where those are unknown. `sparsity`
    is the fraction of weights that are zero, None where the layer has no constant weight (a
    product of two activations).
    """

    name: str
    operator: str
    weight: str | None
    weight_shape: tuple[int, ...] | None
    weight_dtype: str | None
    macs: int | None
    sparsity: float | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything `modelcheck inspect` shows; plain values, sizes in bytes."""

    name: str
    digest: str
    opsets: Mapping[str, int]
    ir_version: int
    producer: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int  # elements of initializers and of Constant nodes
    nbytes: int  # their size
    macs: int | None  # None where a layer's are unknown
    layers: tuple[Layer, ...]
    operators: Mapping[str, int]  # most frequent first; subgraphs and functions included
    known_wrong: tuple[Finding, ...]

    @property
    def sparsity(self) -> float | None:
        """The fraction of zeros in all layers' weights together."""
        sized = [layer for layer in self.layers if layer.sparsity is not None]
        total = sum(math.prod(layer.weight_shape or ()) for layer in sized)
        zeros = sum((y.sparsity or 0.0) * math.prod(y.weight_shape or ()) for y in sized)
        return zeros / total if total else None


def inspect(model: Model, shapes: Mapping[str, Sequence[int | None]] | None = None) -> Inspection:
    """Look into a model. Pure; `shapes` adds dimensions by value name (from shape inference).

    MACs:  Conv           out elements * in/group * kernel
           ConvTranspose  in elements * out/group * kernel
           Gemm, MatMul   out elements * inner dimension
    """
    static = Static(model.graph, model.opset, shapes)
    layers = tuple(_layer(node, static) for node in model.graph if node.op_type in _WEIGHT_INPUT)
    known = [layer.macs for layer in layers]
    constants = [n.attributes["value"].as_tensor() for n in all_nodes(model) if _is_tensor(n)]
    source = model.skeleton
    return Inspection(
        name=model.name,
        digest=model.digest,
        opsets={d or "ai.onnx": v for d, v in model.graph.opset_imports.items()},
        ir_version=int(source.ir_version),
        producer=" ".join(filter(None, (source.producer_name, source.producer_version))),
        inputs=model.signature.inputs,
        outputs=model.signature.outputs,
        parameters=sum(t.size for t in (*model.weights.tensors(), *constants)),
        nbytes=model.nbytes + sum(t.nbytes for t in constants),
        macs=None if None in known else sum(m or 0 for m in known),
        layers=layers,
        operators=dict(Counter(_operator(node) for node in all_nodes(model)).most_common()),
        known_wrong=known_faults(Scene(model, static)),
    )


def _is_tensor(node: ir.Node) -> bool:
    return node.op_type == "Constant" and "value" in node.attributes


def _operator(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _layer(node: ir.Node, static: Static) -> Layer:
    value, array, zero = _weight(node, static)
    return Layer(
        name=node_name(node),
        operator=_operator(node),
        weight=None if value is None else str(value.name),
        weight_shape=None if array is None else array.shape,
        weight_dtype=None if array is None else array.dtype.name,
        macs=_macs(node, static),
        sparsity=_sparsity(array, zero),
    )


def _weight(
    node: ir.Node, static: Static
) -> tuple[ir.Value | None, np.ndarray | None, np.ndarray | None]:
    """The constant operand, its array as stored, and its zero point if it is quantized."""
    first = _WEIGHT_INPUT[node.op_type]
    # The weight of a MatMul may stand on either side.
    places = {"MatMul": (1, 0), "QLinearMatMul": (3, 0)}.get(node.op_type, (first,))
    for place in places:
        value = node.inputs[place] if place < len(node.inputs) else None
        maker = None if value is None else value.producer()
        if maker is not None and maker.op_type == "DequantizeLinear":
            zero = maker.inputs[2] if len(maker.inputs) > 2 else None
            source = maker.inputs[0]
        else:
            at = {"QLinearConv": 5, "QLinearMatMul": 5 if place else 2, "QGemm": 5}
            index = at.get(node.op_type, len(node.inputs))
            zero = node.inputs[index] if index < len(node.inputs) else None
            source = value
        array = static.constant(source)
        if array is not None:
            return source, array, static.constant(zero)
    return None, None, None


def _sparsity(array: np.ndarray | None, zero_point: np.ndarray | None) -> float | None:
    if array is None or array.size == 0:
        return None
    if zero_point is None or not np.any(zero_point):
        return 1 - np.count_nonzero(array) / array.size
    if zero_point.size > 1:  # one a channel, along the axis that fits
        axis = next((a for a, n in enumerate(array.shape) if n == zero_point.size), None)
        if axis is None:
            return None
        shape = [1] * array.ndim
        shape[axis] = -1
        zero_point = zero_point.reshape(shape)
    return float(np.mean(array == zero_point))


def _macs(node: ir.Node, static: Static) -> int | None:
    out = static.dims(node.outputs[0])
    first = static.dims(node.inputs[0])
    weight_dims = static.dims(node.inputs[_WEIGHT_INPUT[node.op_type]])
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        factors = [*(out or (None,)), *(weight_dims[1:] if weight_dims else (None,))]
    elif node.op_type == "ConvTranspose":
        factors = [*(first or (None,)), *(weight_dims[1:] if weight_dims else (None,))]
    else:
        transposed = node.attributes.get_int("transA", 0) == 1
        inner = (None,) if not first else first[-2:-1] if transposed else first[-1:]
        factors = [*(out or (None,)), *inner]
    return None if None in factors else math.prod(f or 0 for f in factors)
