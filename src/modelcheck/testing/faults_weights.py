"""Faults in weights, biases and normalization parameters. W: (out, in/group, ...); b: (out,)"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from modelcheck.model.static import Static
from modelcheck.testing.planting import Change, Layer, some, some_layer, some_node
from modelcheck.transforms.edit import Edit

_BIASED = ("Conv", "ConvTranspose", "Gemm")


def channel_scaled(factor: float) -> Change:
    """W'[o] = factor · W[o] for one live channel o; the bias stays."""

    def change(edit: Edit, random: np.random.Generator) -> bool:
        def scaled(layer: Layer) -> np.ndarray:
            rows = layer.rows
            rows[random.choice(layer.live())] *= factor
            return rows

        return _new_rows(edit, random, scaled)

    return change


def largest_weight_scaled(factor: float) -> Change:
    """w' = factor · w for the largest weight of one live channel."""

    def change(edit: Edit, random: np.random.Generator) -> bool:
        def scaled(layer: Layer) -> np.ndarray:
            rows = layer.rows
            row = rows[random.choice(layer.live())].reshape(-1)  # a view
            row[np.abs(row).argmax()] *= factor
            return rows

        return _new_rows(edit, random, scaled)

    return change


def nan_weight(edit: Edit, random: np.random.Generator) -> bool:
    """One weight of a live channel is NaN."""

    def spoilt(layer: Layer) -> np.ndarray:
        rows = layer.rows
        rows[(random.choice(layer.live()), *(0,) * (rows.ndim - 1))] = np.nan
        return rows

    return _new_rows(edit, random, spoilt)


def output_channels_swapped(edit: Edit, random: np.random.Generator) -> bool:
    """W'[a], W'[b] = W[b], W[a] for two live channels; the bias stays."""

    def swapped(layer: Layer) -> np.ndarray:
        a, b = random.choice(layer.live(), 2, replace=False)
        rows = layer.rows
        rows[[a, b]] = rows[[b, a]]
        return rows

    return _new_rows(edit, random, swapped, lambda layer: layer.live().size >= 2)


def input_channels_swapped(edit: Edit, random: np.random.Generator) -> bool:
    """W'[:, a], W'[:, b] = W[:, b], W[:, a]: what RGB read as BGR does to a first layer."""

    def swapped(layer: Layer) -> np.ndarray:
        rows = layer.rows
        a, b = random.choice(rows.shape[1], 2, replace=False)
        rows[:, [a, b]] = rows[:, [b, a]]
        return rows

    return _new_rows(edit, random, swapped, lambda layer: layer.rows.shape[1] >= 2)


def kernel_mirrored(edit: Edit, random: np.random.Generator) -> bool:
    """W'[..., x] = W[..., -x]: a convolution taken for a correlation."""
    return _new_rows(edit, random, lambda layer: layer.rows[..., ::-1], _is_window)


def weight_transposed(edit: Edit, random: np.random.Generator) -> bool:
    """Input and output channels exchanged where they are equally many, else height and width."""
    for a, b in ((0, 1), (-2, -1)):

        def fits(layer: Layer, a: int = a, b: int = b) -> bool:
            w = layer.weight
            square = w.shape[a] == w.shape[b] > 1
            return square and not np.array_equal(w, np.swapaxes(w, a, b))

        layer = some_layer(edit, random, fits)
        if layer is not None:
            turned = np.ascontiguousarray(np.swapaxes(layer.weight, a, b))
            edit.set_input(layer.node, layer.index, edit.initializer("planted", turned))
            return True
    return False


def weight_in_bfloat16(edit: Edit, random: np.random.Generator) -> bool:
    """One layer's weight rounded to 8 significant bits, as a checkpoint in bfloat16 holds it."""

    def rounded(layer: Layer) -> np.ndarray:
        import ml_dtypes

        rows = layer.rows
        return rows.astype(ml_dtypes.bfloat16).astype(rows.dtype)

    return _new_rows(edit, random, rounded)


def kernel_row_cut_off(edit: Edit, random: np.random.Generator) -> bool:
    """The first row of a kernel is gone, and with it one row of padding: the shapes stay."""
    layer = some_layer(edit, random, _has_spare_row)
    if layer is None:
        return False
    pads = list(layer.node.attributes.get_ints("pads"))
    pads[0] -= 1
    layer.node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    layer.node.attributes.pop("kernel_shape", None)
    layer.replace(edit, layer.rows[:, :, 1:])
    return True


def groups_doubled(edit: Edit, random: np.random.Generator) -> bool:
    """Each group cut in two that no longer see each other's inputs.

    W: (g, 2, out/2g, 2, in/2g, ...) -> (g, 2, out/2g, in/2g, ...), its diagonal in the 2s.
    """

    def fits(layer: Layer) -> bool:
        if layer.node.op_type != "Conv":
            return False
        outs, ins = layer.weight.shape[:2]
        group = layer.node.attributes.get_int("group", 1)
        return bool(ins % 2 == 0 and outs % (2 * group) == 0)

    layer = some_layer(edit, random, fits)
    if layer is None:
        return False
    group = layer.node.attributes.get_int("group", 1)
    outs, ins, *kernel = layer.weight.shape
    split = layer.rows.reshape(group, 2, outs // group // 2, 2, ins // 2, *kernel)
    halves = np.stack([split[:, 0, :, 0], split[:, 1, :, 1]], axis=1)
    layer.node.attributes["group"] = ir.AttrInt64("group", 2 * group)
    layer.replace(edit, halves.reshape(outs, ins // 2, *kernel))
    return True


def last_bias_shifted(edit: Edit, random: np.random.Generator) -> bool:
    """b + 0.05 std(b) in half of the last bias (all of it would be invisible behind a Softmax).

    A constant bias of one value has no deviation: then 0.05 std(w) of its layer is taken. A model
    without any bias gets one in its last layer.
    """
    static = Static(edit.graph, edit.opset)
    last = None
    for node in edit.graph:
        if node.domain or node.op_type not in ("Conv", "Gemm") or _normalized(node):
            continue
        if static.constant(node.inputs[1]) is not None:
            last = node if last is None or _bias(static, node) is not None else last
    if last is None:
        return False
    weight, bias = static.constant(last.inputs[1]), _bias(static, last)
    assert weight is not None
    columns = last.op_type == "Gemm" and last.attributes.get_int("transB", 0) == 0
    if bias is None:
        bias = np.zeros(weight.shape[1 if columns else 0], weight.dtype)
    step = 0.05 * (float(bias.std()) or float(weight.std()))
    chosen = random.permutation(bias.size)[: max(1, bias.size // 2)]
    shifted = bias.copy()
    shifted.reshape(-1)[chosen] += bias.dtype.type(step)
    edit.set_input(last, 2, edit.initializer("planted", shifted))
    return True


def bias_removed(edit: Edit, random: np.random.Generator) -> bool:
    """b' = 0"""
    node = _some_biased(edit, random)
    if node is None:
        return False
    bias = Static(edit.graph, edit.opset).constant(node.inputs[2])
    assert bias is not None
    edit.set_input(node, 2, edit.initializer("planted", np.zeros_like(bias)))
    return True


def bias_rolled(edit: Edit, random: np.random.Generator) -> bool:
    """b'[o] = b[o - 1]: the bias of one layer is off by one."""
    node = _some_biased(edit, random, lambda bias: np.ptp(bias) > 0)
    if node is None:
        return False
    bias = Static(edit.graph, edit.opset).constant(node.inputs[2])
    assert bias is not None
    edit.set_input(node, 2, edit.initializer("planted", np.roll(bias, 1, axis=-1)))
    return True


def larger_epsilon(edit: Edit, random: np.random.Generator) -> bool:
    """Every BatchNormalization's epsilon times 100, as an exporter with another default does."""
    nodes = [n for n in edit.graph if not n.domain and n.op_type == "BatchNormalization"]
    for node in nodes:
        epsilon = node.attributes.get_float("epsilon", 1e-5)
        node.attributes["epsilon"] = ir.AttrFloat32("epsilon", 100 * epsilon)
    return bool(nodes)


def statistics_rolled(edit: Edit, random: np.random.Generator) -> bool:
    """mean'[o] = mean[o - 1] in one BatchNormalization."""
    static = Static(edit.graph, edit.opset)

    def fits(node: ir.Node) -> bool:
        mean = static.constant(node.inputs[3])
        return mean is not None and bool(np.ptp(mean) > 0)

    node = some_node(edit, random, ("BatchNormalization",), fits)
    if node is None:
        return False
    mean = static.constant(node.inputs[3])
    assert mean is not None
    edit.set_input(node, 3, edit.initializer("planted", np.roll(mean, 1)))
    return True


def gates_swapped(edit: Edit, random: np.random.Generator) -> bool:
    """The first two gates of an LSTM or GRU changed places. W: (directions, gates · hidden, in)"""
    static = Static(edit.graph, edit.opset)
    gates = {"LSTM": 4, "GRU": 3}
    node = some_node(
        edit, random, tuple(gates), lambda node: static.constant(node.inputs[1]) is not None
    )
    if node is None:
        return False
    weight = static.constant(node.inputs[1])
    assert weight is not None
    first, second, *rest = np.split(weight, gates[node.op_type], axis=1)
    swapped = np.concatenate([second, first, *rest], axis=1)
    edit.set_input(node, 1, edit.initializer("planted", swapped))
    return True


def _new_rows(
    edit: Edit,
    random: np.random.Generator,
    change: Callable[[Layer], np.ndarray],
    fits: Callable[[Layer], bool] = lambda layer: True,
) -> bool:
    """Give some layer the rows that `change` makes; False where they are what they were."""
    layer = some_layer(edit, random, fits)
    if layer is None:
        return False
    rows = change(layer)
    if np.array_equal(rows, layer.rows):
        return False
    layer.replace(edit, rows)
    return True


def _is_window(layer: Layer) -> bool:
    """A kernel wider than one."""
    return layer.node.op_type == "Conv" and layer.weight.shape[-1] > 1


def _has_spare_row(layer: Layer) -> bool:
    """A kernel of two rows or more over at least one row of padding, without dilation."""
    node = layer.node
    if node.op_type != "Conv" or layer.weight.shape[2] < 2:
        return False
    pads = node.attributes.get_ints("pads", (0,))
    dilations = node.attributes.get_ints("dilations", (1,))
    return bool(pads[0] > 0 and dilations[0] == 1)


def _some_biased(
    edit: Edit,
    random: np.random.Generator,
    fits: Callable[[np.ndarray], bool] = lambda bias: bool(bias.any()),
) -> ir.Node | None:
    """A layer whose constant bias is not taken away again by a normalization."""
    static = Static(edit.graph, edit.opset)
    found = []
    for node in edit.graph:
        if node.domain or node.op_type not in _BIASED or _normalized(node):
            continue
        bias = _bias(static, node)
        if bias is not None and fits(bias):
            found.append(node)
    return some(found, random)


def _bias(static: Static, node: ir.Node) -> np.ndarray | None:
    return static.constant(node.inputs[2]) if len(node.inputs) > 2 else None


def _normalized(node: ir.Node) -> bool:
    """Whether the next operator takes the mean, and with it any shift, away."""
    return any(u.op_type == "InstanceNormalization" for u in node.outputs[0].consumers())
