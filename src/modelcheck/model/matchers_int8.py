"""Where int8 layers occur that engines get wrong or refuse: QDQ and QOperator forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from modelcheck.model.int8_faults import conv_fault, int8_conv
from modelcheck.model.matchers import Matcher, names, only_read_by, padded
from modelcheck.model.scene import Scene
from modelcheck.model.static import product

_CONVOLUTIONS = ("Conv", "QLinearConv")
_SAME_SCALE = 1e-3  # relative; scales are products that were rounded to float32


def qdq(operator: str) -> Matcher:
    """A float operator whose two operands are dequantized."""

    def match(scene: Scene) -> list[str]:
        return names(n for n in scene.nodes(operator) if scene.quantized(n))

    return match


def conv(fault: str) -> Matcher:
    """An int8 convolution, rounded at once, that falls under this id of `int8_faults`."""

    def match(scene: Scene) -> list[str]:
        found = [n for n in scene.nodes(*_CONVOLUTIONS) if scene.quantized(n)]
        return names(n for n in found if _is_rounded(n) and _fault(scene, n) == fault)

    return match


def sigmoid(scene: Scene) -> list[str]:
    """A Sigmoid that alone reads what an int8 convolution rounded, and is rounded itself."""
    found = []
    for node in scene.nodes("Sigmoid", "QLinearSigmoid"):
        maker = scene.maker(node.inputs[0])
        int8 = maker is not None and maker.op_type in _CONVOLUTIONS and scene.quantized(maker)
        if not int8 or maker is None or not _is_rounded(maker) or not _is_rounded(node):
            continue
        if len(scene.users(maker.outputs[0])) == 1:
            found.append(node)
    return names(found)


def arithmetic(scene: Scene) -> list[str]:
    """Sub, Div, Max or Min of two dequantized tensors, rounded at once."""
    found = scene.nodes("Sub", "Div", "Max", "Min")
    return names(
        n
        for n in found
        if len(n.inputs) == 2
        and scene.quantized(n)
        and _is_rounded(n)
        # Where a convolution is fused with it, the result is right.
        and not any(m is not None and m.op_type == "Conv" for m in map(scene.maker, n.inputs))
    )


def bias_scale(scene: Scene) -> list[str]:
    """A Conv whose int32 bias has another scale than input times weight."""
    found = []
    for node in scene.nodes("Conv"):
        if len(node.inputs) < 3 or not scene.quantized(node) or not _is_rounded(node):
            continue
        x, w, b = (_scale(scene, value) for value in node.inputs[:3])
        if x is not None and w is not None and b is not None:
            wanted = x * w
            if not np.all(np.abs(b - wanted) <= _SAME_SCALE * np.abs(wanted)):
                found.append(node)
    return names(found)


def qgemm_bias(scene: Scene) -> list[str]:
    """QGemm(a, a_scale, a_zero, b, b_scale, b_zero, C, ...) that has a C."""
    found = scene.nodes("QGemm")
    return names(n for n in found if len(n.inputs) > 6 and n.inputs[6] is not None)


def gemm_bias(scene: Scene) -> list[str]:
    """Gemm of int8 weights and a dequantized bias, rounded at once."""
    found = [n for n in _with_dequantized_bias(scene) if _is_rounded(n)]
    return names(n for n in found if _weight_type(scene, n) == ir.DataType.INT8)


def gemm_bias_batch(scene: Scene) -> list[str]:
    """Gemm with a dequantized bias, for more than one row."""
    return names(
        n
        for n in _with_dequantized_bias(scene)
        if (dims := scene.static.dims(n.outputs[0])) is None or dims[0] != 1
    )


def matmul_bias(scene: Scene) -> list[str]:
    """A MatMul between dequantizers, and an Add of a dequantized constant."""
    found = []
    for node in scene.nodes("Add"):
        products = [v for v in node.inputs if v is not None and _is_product(scene, v.producer())]
        addends = [v for v in node.inputs if scene.is_constant(v) and _dequantizer(v) is not None]
        if products and addends:
            found.append(node)
    return names(found)


def padded_pool(scene: Scene) -> list[str]:
    """A QLinearAveragePool that pads and does not count its padding."""
    pools = scene.nodes("QLinearAveragePool")
    return names(
        n for n in pools if padded(n) and n.attributes.get_int("count_include_pad", 0) == 0
    )


def add_constant(scene: Scene) -> list[str]:
    """QLinearAdd of a constant that begins with a dimension of 1, for more than one sample."""
    found = []
    # Inputs: a, a_scale, a_zero_point, b, b_scale, b_zero_point, scale, zero_point.
    for node in scene.nodes("QLinearAdd"):
        for here, there in ((0, 3), (3, 0)):
            if not scene.is_constant(node.inputs[here]):
                continue
            dims, other = (scene.static.dims(node.inputs[i]) for i in (here, there))
            one = dims is not None and len(dims) > 1 and dims[0] == 1 and product(dims) != 1
            if one and dims is not None and other is not None and len(other) == len(dims):
                found += [node] if other[0] != 1 else []
    return names(found)


def matmul_of_activations(scene: Scene) -> list[str]:
    products = scene.nodes("QLinearMatMul")
    return names(n for n in products if not any(scene.is_constant(n.inputs[i]) for i in (0, 3)))


def conv_without_kernel(scene: Scene) -> list[str]:
    return names(n for n in scene.nodes("QLinearConv") if "kernel_shape" not in n.attributes)


def unrounded_pool(scene: Scene) -> list[str]:
    """A MaxPool of int8 numbers whose result is not rounded."""
    found = []
    for node in scene.nodes("MaxPool"):
        source = node.inputs[0].producer() if node.inputs[0] is not None else None
        int8 = source is not None and (
            source.op_type == "DequantizeLinear"
            or (source.op_type == "Conv" and scene.quantized(source))
        )
        if int8 and not any(use.node.op_type == "QuantizeLinear" for use in node.outputs[0].uses()):
            found.append(node)
    return names(found)


def shared_dequantizer(scene: Scene) -> list[str]:
    """A residual block, Add and Relu rounded, whose two branches share a DequantizeLinear."""
    found = []
    for node in scene.nodes("DequantizeLinear"):
        readers = [use.node for use in node.outputs[0].uses()]
        layers = [n for n in readers if n.op_type == "Conv"]
        for add in (n for n in readers if n.op_type == "Add"):
            other = [v for v in add.inputs if v is not node.outputs[0]]
            last = scene.maker(other[0]) if other else None
            deep = last is not None and last.op_type == "Conv" and last not in layers
            if layers and deep and only_read_by(scene, add, ("Relu",)):
                found.append(node)
    return names(found)


def _is_rounded(node: ir.Node) -> bool:
    """Whether the result goes to int8 at once, and nowhere else."""
    if node.op_type.startswith("QLinear"):
        return True
    uses = node.outputs[0].uses()
    return bool(uses) and all(use.node.op_type == "QuantizeLinear" for use in uses)


def _fault(scene: Scene, node: ir.Node) -> str | None:
    dims = scene.static.dims(node.inputs[3 if node.op_type == "QLinearConv" else 1])
    if dims is None or None in dims or len(dims) < 3:
        return None
    conv = int8_conv(node, [d or 0 for d in dims], None)
    # Pixels that are not known are no reason to warn.
    return conv_fault(replace(conv, pixels=scene.pixels(node.outputs[0]) or 0))


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    maker = None if value is None else value.producer()
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _scale(scene: Scene, value: ir.Value | None) -> np.ndarray | None:
    """The scale of a dequantized value, in one dimension."""
    maker = _dequantizer(value)
    array = None if maker is None else scene.static.constant(maker.inputs[1])
    return None if array is None else array.reshape(-1)


def _with_dequantized_bias(scene: Scene) -> list[ir.Node]:
    found = scene.nodes("Gemm")
    return [
        n for n in found if scene.quantized(n) and len(n.inputs) > 2 and _dequantizer(n.inputs[2])
    ]


def _weight_type(scene: Scene, node: ir.Node) -> ir.DataType | None:
    """What the weight is stored as; None where it has zero points besides 0."""
    maker = _dequantizer(node.inputs[1])
    if maker is None:
        return None
    zero = scene.static.constant(maker.inputs[2]) if len(maker.inputs) > 2 else None
    source = maker.inputs[0]
    if source is None or source.const_value is None or (zero is not None and np.any(zero)):
        return None
    return source.const_value.dtype


def _is_product(scene: Scene, node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "MatMul" and scene.quantized(node)
