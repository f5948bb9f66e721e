"""Shape rules of the operators that compute: layers, pooling, elementwise, reductions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.model.static.dims import Dims, Known, Rule, broadcast, ints


def _same(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    return [dims[0]] * len(node.outputs)


def _first(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    return [dims[0]]


def _broadcast(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    return [broadcast(dims)]


def window(node: ir.Node, sizes: Dims, kernel: Dims) -> Dims:
    """Spatial output sizes of a convolution or pooling window.

    out = floor((in + pads - dilation * (k - 1) - 1) / stride) + 1, ceil with ceil_mode;
    auto_pad SAME: out = ceil(in / stride).
    """
    n = len(sizes)
    get = node.attributes.get_ints
    strides, dilations = get("strides") or [1] * n, get("dilations") or [1] * n
    pads = get("pads") or [0] * (2 * n)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    ceil = node.attributes.get_int("ceil_mode", 0)
    out: list[int | None] = []
    for i, (size, k) in enumerate(zip(sizes, kernel, strict=True)):
        if size is None or k is None:
            out.append(None)
        elif auto.startswith("SAME"):
            out.append(-(-size // strides[i]))
        else:
            padding = 0 if auto == "VALID" else pads[i] + pads[i + n]
            room = size + padding - dilations[i] * (k - 1) - 1
            count = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
            # With ceil_mode a window that starts in the end padding is dropped.
            if ceil and (count - 1) * strides[i] >= size + (0 if auto == "VALID" else pads[i]):
                count -= 1
            out.append(count)
    return tuple(out)


def _conv(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, w = dims[0], dims[1]
    if w is None:
        return [None]
    if x is None or len(x) != len(w):
        return [(None, w[0], *[None] * (len(w) - 2))]
    return [(x[0], w[0], *window(node, x[2:], w[2:]))]


def _conv_transpose(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, w = dims[0], dims[1]
    if w is None:
        return [None]
    n = len(w) - 2
    channels = None if w[1] is None else w[1] * node.attributes.get_int("group", 1)
    spatial: list[int | None] = [None] * n
    if x is not None and len(x) == len(w):
        get = node.attributes.get_ints
        strides, dilations = get("strides") or [1] * n, get("dilations") or [1] * n
        pads, extra = get("pads") or [0] * (2 * n), get("output_padding") or [0] * n
        auto = node.attributes.get_string("auto_pad", "NOTSET")
        given = get("output_shape")
        for i, (size, k) in enumerate(zip(x[2:], w[2:], strict=True)):
            if given:
                spatial[i] = given[len(given) - n + i]
            elif size is not None and k is not None:
                reach = strides[i] * (size - 1) + dilations[i] * (k - 1) + 1 + extra[i]
                if not auto.startswith("SAME"):
                    spatial[i] = reach - (0 if auto == "VALID" else pads[i] + pads[i + n])
                elif reach >= size * strides[i]:  # else the standard has one size, engines another
                    spatial[i] = size * strides[i]
    return [(x[0] if x else None, channels, *spatial)]


def _pool(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    if x is None:
        return [None]
    kernel = tuple(node.attributes.get_ints("kernel_shape"))
    return [(*x[:2], *window(node, x[2:], kernel))] * len(node.outputs)


def _global_pool(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    return [None if x is None else (*x[:2], *[1] * (len(x) - 2))]


def _gemm(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    a, b = dims[0], dims[1]
    rows = a[1 if node.attributes.get_int("transA", 0) else 0] if a else None
    columns = b[0 if node.attributes.get_int("transB", 0) else 1] if b else None
    return [(rows, columns)]


def _matmul(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    a, b = dims[0], dims[1]
    if a is None or b is None:
        return [None]
    left: Dims = a if len(a) > 1 else (1, *a)
    right: Dims = b if len(b) > 1 else (*b, 1)
    batch = broadcast([left[:-2], right[:-2]]) or ()
    rows = left[-2:-1] if len(a) > 1 else ()
    columns = right[-1:] if len(b) > 1 else ()
    return [(*batch, *rows, *columns)]


def _reduce(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, axes = dims[0], ints(node, "axes", 1, known)
    keep = node.attributes.get_int("keepdims", 1)
    if x is None or (axes is None and len(node.inputs) > 1 and node.inputs[1] is not None):
        return [None]
    if not axes:
        if node.attributes.get_int("noop_with_empty_axes", 0):
            return [x]
        axes = list(range(len(x)))
    gone = {a % len(x) for a in axes}
    return [tuple(1 if i in gone else d for i, d in enumerate(x) if keep or i not in gone)]


def _arg(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    if x is None:
        return [None]
    axis, keep = node.attributes.get_int("axis", 0) % len(x), node.attributes.get_int("keepdims", 1)
    return [tuple(1 if i == axis else d for i, d in enumerate(x) if keep or i != axis)]


def _resize(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    if x is None:
        return [None]
    unknown: Dims = (None,) * len(x)
    stretches = node.attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
    if node.attributes.get_ints("axes", None) is not None or not stretches:
        return [unknown]
    if len(node.inputs) > 3:
        sizes = known.constant(node.inputs[3])
        return [unknown if sizes is None else tuple(int(s) for s in sizes)]
    factors = node.attributes.get_floats("scales", None)
    if factors is None:
        array = known.constant(node.inputs[-1])
        factors = None if array is None or array.size != len(x) else [float(f) for f in array]
    if factors is None:
        return [unknown]
    # As the standard's implementations multiply: 0.7 of 10 is 7 in float32, and 6 in float64.
    scaled = [None if d is None else np.float32(d) * np.float32(f)
              for d, f in zip(x, factors, strict=True)]  # fmt: skip
    return [tuple(None if s is None else int(s) for s in scaled)]


def _pixels_change(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x = dims[0]
    return [None if x is None else (*x[:2], *[None] * (len(x) - 2))]


def _recurrent(node: ir.Node, dims: list[Dims | None], known: Known) -> Sequence[Dims | None]:
    x, w, r = dims[:3]
    if x is None or w is None or r is None or node.attributes.get_int("layout", 0) != 0:
        return []
    state: Dims = (w[0], x[1], r[2])  # directions, batch, hidden
    return [(x[0], *state), state, state]


ELEMENTWISE = frozenset(
    [
        "Abs",
        "Acos",
        "Affine",
        "Asin",
        "Atan",
        "Cast",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "CumSum",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "IsInf",
        "IsNaN",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Not",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
    ]
)
BROADCASTING = frozenset(
    [
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Or",
        "Pow",
        "PRelu",
        "Sub",
        "Sum",
        "Where",
        "Xor",
    ]
)
REDUCTIONS = frozenset(
    [
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    ]
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _same),
    **dict.fromkeys(BROADCASTING, _broadcast),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(("Identity", "Dropout", "LRN", "LpNormalization", "ImageScaler"), _same),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "ScatterND", "ScatterElements"), _same),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization", "LayerNormalization"), _first),
    **dict.fromkeys(("GroupNormalization", "RMSNormalization"), _first),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "MeanVarianceNormalization"), _first),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Crop": _pixels_change,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
}
