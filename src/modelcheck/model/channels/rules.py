"""The table of operators whose channels are understood, and the walk over the graph."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from modelcheck.model.channels import layers, movement, pointwise
from modelcheck.model.channels.trace import Trace
from modelcheck.model.static import Static
from modelcheck.model.static.layers import BROADCASTING, ELEMENTWISE, REDUCTIONS

Rule = Callable[[ir.Node, Trace, Static], None]

_RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE - {"CumSum"}, pointwise.unary),
    **dict.fromkeys(BROADCASTING, pointwise.broadcasting),
    **dict.fromkeys(REDUCTIONS, pointwise.reduce),
    # Symmetric along their axis, whichever it is.
    **dict.fromkeys(("Softmax", "LogSoftmax", "LpNormalization"), pointwise.unary),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool", "Crop"), pointwise.spatial),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), pointwise.spatial),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), pointwise.channel_norm),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), pointwise.layer_norm),
    **dict.fromkeys(("ArgMax", "ArgMin", "LRN", "Hardmax"), pointwise.across),
    **dict.fromkeys(("Resize", "Upsample"), pointwise.resize),
    **dict.fromkeys(("Flatten", "Reshape"), movement.reshape),
    **dict.fromkeys(("Tile", "Expand"), movement.tile),
    **dict.fromkeys(("Shape", "Size", "Constant"), movement.nothing),
    "Concat": movement.concat,
    "Conv": layers.conv,
    "ConvTranspose": layers.conv_transpose,
    "Dropout": pointwise.first_output_only,
    "Gather": movement.gather,
    "Gemm": layers.gemm,
    "Identity": movement.identity,
    "MatMul": layers.matmul,
    "DequantizeLinear": pointwise.quantizer,
    "Pad": pointwise.pad,
    "QuantizeLinear": pointwise.quantizer,
    "Slice": movement.slice_,
    "Split": movement.split,
    "Squeeze": movement.squeeze,
    "Transpose": movement.transpose,
    "Unsqueeze": movement.unsqueeze,
}

# Before, elementwise operators aligned their operands by an attribute.
OLDEST_OPSET = 7


def follow_channels(graph: ir.Graph, static: Static) -> Trace:
    """Trace every channel from the layer that makes it to the last one that uses it."""
    trace = Trace()
    if static.opset < OLDEST_OPSET:
        return trace
    for node in graph:
        rule = pointwise.pin_inputs if node.domain else _RULES.get(node.op_type)
        (rule or pointwise.pin_inputs)(node, trace, static)
    for value in list(trace.layouts):
        captured = any(use.node.graph is not graph for use in value.uses())
        if captured or value.is_graph_output():
            trace.pin(value)
    return trace
