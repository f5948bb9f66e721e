"""Fold what is constant and drop what does nothing, by onnxscript's optimizer."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir

from modelcheck.errors import ContainedFailure
from modelcheck.model import Model
from modelcheck.model.static import Static, ints
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.graph import is_standard
from modelcheck.transforms.options import checked

# What NumPy computes as every engine does. Of others onnx's reference implementation, which folds
# here, has been seen to be wrong: Softmax before opset 13, BatchNormalization, LpNormalization.
_FOLDED = frozenset((
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "Constant", "Div", "Equal", "Exp", "Expand",
    "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual",
    "Identity", "Less", "LessOrEqual", "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pad",
    "Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Reshape",
    "Shape", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze",
    "Where", "Xor",
))  # fmt: skip
_FEW = 1024  # elements that a ConstantOfShape may become in the file
_MOST_PASSES = 8  # what one pass drops lets the next one drop more


@checked
def simplify() -> Transform:
    """Fold constants and shapes, and drop nodes that do nothing or compute the same twice.

    By the optimizer of onnxscript: constant folding, common subexpressions, no-ops, unused nodes
    and initializers, local functions inlined. Weights in int8 stay so. What is exact in
    onnxruntime need not be on OpenCV: verify it there, as everything else.
    Claim: exact (constants are folded in NumPy).
    """

    def apply(model: Model, context: Context) -> Model:
        for _ in range(_MOST_PASSES):
            before, model = model, _optimized(model)
            if model is before:
                break
        return model

    return Transform("simplify", Claim.EXACT, apply)


def _optimized(model: Model) -> Model:
    """The model after one pass; the very same one where that changes nothing."""
    from onnxscript import optimizer

    edited = model.edit()
    static = Static(edited.graph, model.opset)
    _drop_idle_pads(edited.graph, static)
    told = _tell_shapes(edited.graph, static)
    try:
        with _silence():
            # Its shape inference would be onnx's native one.
            optimizer.optimize_ir(edited, onnx_shape_inference=False, should_fold=_may_fold)
    except Exception as error:  # whatever a library raises of a graph that it does not expect
        raise ContainedFailure(
            f"onnxscript's optimizer failed: {type(error).__name__}: {error}".splitlines()[0],
            where="simplify",
            remedy="Leave this step out.",
        ) from error
    for value in told:
        value.shape = None
    known = {node.name for node in model.graph}
    for node in edited.graph:
        if node.name not in known:
            node.name = ""  # it names what has no name; a layer is named by its output then
    if _written(edited.graph) == _written(model.graph):
        return model
    return Model.freeze(edited, name=model.name)


def _drop_idle_pads(graph: ir.Graph, static: Static) -> None:
    """Drop Pads of nothing, as PyTorch writes them before its AveragePools."""
    for node in list(graph):
        if not is_standard(node, "Pad") or node.outputs[0].is_graph_output():
            continue
        pads, x = ints(node, "pads", 1, static), node.inputs[0]
        if x is not None and pads is not None and not any(pads):
            node.outputs[0].replace_all_uses_with(x)
            graph.remove(node, safe=True)


def _tell_shapes(graph: ir.Graph, static: Static) -> list[ir.Value]:
    """Say of what is asked for its shape what follows from the operators; those that are told."""
    told = []
    for node in graph:
        for value in node.inputs if is_standard(node, "Shape", "Size") else ():
            dims = static.dims(value)
            if value is not None and value.shape is None and dims is not None and None not in dims:
                value.shape = ir.Shape(dims)
                told.append(value)
    return told


def _written(graph: ir.Graph) -> object:
    """What a graph says, but for the names of its nodes."""
    nodes = [
        (
            n.op_type,
            [v and v.name for v in (*n.inputs, *n.outputs)],
            sorted((k, str(a.value)) for k, a in n.attributes.items()),
        )
        for n in graph
    ]
    return nodes, sorted(graph.initializers), [v.name for v in (*graph.inputs, *graph.outputs)]


def _may_fold(node: ir.Node) -> bool | None:
    """False keeps a node, True folds it; None leaves it to the optimizer."""
    if is_standard(node, "ConstantOfShape"):
        tensor = None if node.inputs[0] is None else node.inputs[0].const_value
        return tensor is not None and math.prod(tensor.numpy().tolist()) <= _FEW
    return None if is_standard(node, *_FOLDED) else False


@contextmanager
def _silence() -> Iterator[None]:
    """Its log lists every initializer that it leaves alone."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
