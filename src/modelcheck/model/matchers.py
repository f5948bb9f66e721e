"""Where in a graph the patterns of `patterns` occur: one small function a pattern.

A matcher gives the names of what it found: nodes, or inputs where those are at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from modelcheck.model.scene import Scene, node_name

Matcher = Callable[[Scene], list[str]]

_WINDOWS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "QLinearConv")
_CONVOLUTIONS = ("Conv", "QLinearConv")
_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "QLinearLeakyRelu")
_SQUEEZES = ("GlobalAveragePool", "ReduceMean", "QLinearGlobalAveragePool", "QLinearReduceMean")
_LARGEST_FILE = 2 << 30


def operators(*names: str) -> Matcher:
    """Any node of these operators."""

    def match(scene: Scene) -> list[str]:
        return _names(scene.nodes(*names))

    return match


def qdq(operator: str) -> Matcher:
    """A float operator whose two operands are dequantized."""

    def match(scene: Scene) -> list[str]:
        return _names(n for n in scene.nodes(operator) if scene.quantized(n))

    return match


def qdq_matmul_add(scene: Scene) -> list[str]:
    found = [n for n in scene.nodes("MatMul") if scene.quantized(n)]
    return _names(n for n in found if _only(scene, n, ("Add",)))


def qdq_uint8_weights(scene: Scene) -> list[str]:
    """A layer whose constant operand is dequantized from uint8."""
    found = []
    for node in scene.nodes("Conv", "ConvTranspose", "Gemm", "MatMul"):
        for value in node.inputs[:2]:
            maker = None if value is None else value.producer()
            if maker is None or maker.op_type != "DequantizeLinear":
                continue
            source = maker.inputs[0]
            if scene.is_constant(source) and _dtype(source) == ir.DataType.UINT8:
                found.append(node)
    return _names(found)


def qlinear_add_constant(scene: Scene) -> list[str]:
    added = scene.nodes("QLinearAdd")
    # Inputs: a, a_scale, a_zero_point, b, b_scale, b_zero_point, scale, zero_point.
    return _names(n for n in added if any(scene.is_constant(n.inputs[i]) for i in (0, 3)))


def qlinear_matmul_of_activations(scene: Scene) -> list[str]:
    products = scene.nodes("QLinearMatMul")
    return _names(n for n in products if not any(scene.is_constant(n.inputs[i]) for i in (0, 3)))


def float16_inputs(scene: Scene) -> list[str]:
    spec = scene.model.signature.inputs
    return [s.name for s in spec if s.dtype == ir.DataType.FLOAT16.numpy()]


def quantized_conv_sigmoid(scene: Scene) -> list[str]:
    """A quantized convolution that only a Sigmoid reads. Not SiLU, where Mul reads it too."""
    found = [n for n in scene.nodes(*_CONVOLUTIONS) if scene.quantized(n)]
    return _names(n for n in found if _only(scene, n, ("Sigmoid", "QLinearSigmoid")))


def quantized_squeeze_excite(scene: Scene) -> list[str]:
    """x * gate(mean(x)), with a quantized convolution in the gate."""
    found = []
    for node in scene.nodes("Mul", "QLinearMul"):
        sides = [node.inputs[i] for i in ((0, 1) if node.op_type == "Mul" else (0, 3))]
        for gate in sides:
            chain = _chain_to(scene, gate, _SQUEEZES)
            if any(n.op_type in _CONVOLUTIONS and scene.quantized(n) for n in chain):
                found.append(node)
    return _names(found)


def counted_padding(scene: Scene) -> list[str]:
    pools = scene.nodes("AveragePool")
    return _names(
        n for n in pools if n.attributes.get_int("count_include_pad", 0) == 1 and _padded(n)
    )


def same_lower_even(scene: Scene) -> list[str]:
    return _names(
        n
        for n in scene.nodes(*_WINDOWS)
        if n.attributes.get_string("auto_pad", "NOTSET") == "SAME_LOWER"
        and any(k % 2 == 0 for k in scene.kernel(n))
    )


def int8_tail_1x1(scene: Scene) -> list[str]:
    """A quantized 1x1 convolution without ReLU whose H*W is not divisible by 8."""
    found = []
    for node in _quantized_convs(scene):
        pixels = scene.pixels(node.outputs[0])
        plain = not _only(scene, node, _ACTIVATIONS)
        if plain and set(scene.kernel(node)) == {1} and pixels is not None and pixels % 8:
            found.append(node)
    return _names(found)


def int8_tail_depthwise(scene: Scene) -> list[str]:
    """A quantized depthwise 3x3 on a small map: wrong at 7x7 and 10x10, right at 14x14."""
    found = []
    for node in _quantized_convs(scene):
        pixels = scene.pixels(node.outputs[0])
        group = node.attributes.get_int("group", 1)
        dims = scene.static.dims(node.inputs[0])
        depthwise = group > 1 and dims is not None and dims[1] == group
        small = pixels is not None and pixels <= 100 and pixels % 8 != 0
        if depthwise and small and set(scene.kernel(node)) == {3}:
            found.append(node)
    return _names(found)


def rank_5_inputs(scene: Scene) -> list[str]:
    return [s.name for s in scene.model.signature.inputs if len(s.shape or ()) >= 5]


def int64_inputs(scene: Scene) -> list[str]:
    return [s.name for s in scene.model.signature.inputs if s.dtype.name in ("int64", "uint64")]


def over_2_gib(scene: Scene) -> list[str]:
    return [scene.model.name] if scene.model.nbytes >= _LARGEST_FILE else []


def free_batch_add_of_convolutions(scene: Scene) -> list[str]:
    if not _batch_is_free(scene):
        return []
    behind = ("Conv", "BatchNormalization")
    found = []
    for node in scene.nodes("Add"):
        makers = [scene.maker(v) for v in node.inputs]
        if all(m is not None and m.op_type in behind for m in makers):
            found.append(node)
    return _names(found)


def free_batch_rank_3_matmul(scene: Scene) -> list[str]:
    if not _batch_is_free(scene):
        return []
    return _names(
        n
        for n in scene.nodes("MatMul")
        if scene.is_constant(n.inputs[1]) and len(scene.static.dims(n.inputs[0]) or ()) == 3
    )


def free_sizes(scene: Scene) -> list[str]:
    """Inputs with a free dimension besides the batch."""
    return [s.name for s in scene.model.signature.inputs if None in (s.shape or ())[1:]]


def _names(nodes: Iterable[ir.Node]) -> list[str]:
    return list(dict.fromkeys(node_name(n) for n in nodes))


def _only(scene: Scene, node: ir.Node, readers: tuple[str, ...]) -> bool:
    """Whether the node's result is read, and by nothing but these operators."""
    users = scene.users(node.outputs[0])
    ends = any(v.is_graph_output() for v in _same_value(node.outputs[0]))
    return bool(users) and not ends and all(user.op_type in readers for user in users)


def _same_value(value: ir.Value) -> list[ir.Value]:
    """A value and what quantizing and dequantizing make of it."""
    found = [value]
    for use in value.uses():
        if use.node.op_type in ("QuantizeLinear", "DequantizeLinear") and use.idx == 0:
            found += _same_value(use.node.outputs[0])
    return found


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    return value.const_value.dtype if value.const_value is not None else value.dtype


def _quantized_convs(scene: Scene) -> list[ir.Node]:
    return [n for n in scene.nodes(*_CONVOLUTIONS) if scene.quantized(n)]


def _padded(node: ir.Node) -> bool:
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    return auto.startswith("SAME") or any(node.attributes.get_ints("pads", ()))


def _chain_to(scene: Scene, value: ir.Value | None, ends: tuple[str, ...]) -> list[ir.Node]:
    """The nodes from a value up to the nearest of `ends`, along first inputs; [] without one."""
    chain: list[ir.Node] = []
    node = scene.maker(value)
    while node is not None and len(chain) < 12:
        if node.op_type in ends:
            return chain
        chain.append(node)
        node = scene.maker(node.inputs[0]) if node.inputs else None
    return []


def _batch_is_free(scene: Scene) -> bool:
    return any(s.batch_is_free for s in scene.model.signature.inputs)
