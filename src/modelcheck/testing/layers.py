"""Layers of generated models: each draws its structure and appends itself to a net.

Every layer takes and gives a tensor of shape (C, d1, ..., dn) or (F,), never larger than
MAX_CHANNELS and MAX_SIZE allow, and draws its simplest form first, so that examples shrink.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from modelcheck.testing.net import Net, Tensor

Draw = Callable[[st.SearchStrategy[Any]], Any]
Layer = Callable[[Draw, Net, Tensor], Tensor]

MAX_CHANNELS = 8
MAX_SIZE = 9  # pixels along an axis


def choice(*options: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(options)


def activation(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """One activation; PRelu and Clip with their constants."""
    names = ["Relu", "LeakyRelu", "Sigmoid", "Clip", "Elu", "Tanh", "PRelu", "HardSigmoid"]
    names += ["Softplus", "SiLU"] + (["HardSwish"] if net.opset >= 14 else [])
    name = draw(st.sampled_from(names))
    if name == "Clip":
        return net.add("Clip", [x, net.constant(0.0), net.constant(6.0)])
    if name == "PRelu":
        slope = net.weight((x.channels, *[1] * len(x.spatial)), fan_in=32, offset=0.25)
        return net.add("PRelu", [x, slope])
    if name == "SiLU":
        return net.add("Mul", [x, net.add("Sigmoid", [x])])
    return net.add(name, [x])


def batchnorm(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """BatchNormalization with parameters of a trained net's size."""
    c = x.channels
    scale, bias, mean = (net.weight((c,), fan_in=8, offset=o) for o in (1.0, 0.0, 0.0))
    variance = net.constant(net.random.uniform(0.5, 2.0, c))
    epsilon = draw(choice(1e-5, 1e-3))
    return net.add("BatchNormalization", [x, scale, bias, mean, variance], epsilon=epsilon)


def conv(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """Any convolution: grouped, depthwise, strided, dilated, padded unevenly, with norm or not."""
    c = x.channels
    divisors = [g for g in range(1, c + 1) if c % g == 0]
    group = draw(st.sampled_from(divisors))
    out = group * draw(st.integers(1, max(1, MAX_CHANNELS // group)))
    kernel, attributes, spatial = draw_window(draw, x.spatial, dilate=True)
    weight = net.weight((out, c // group, *kernel))
    inputs: list[Tensor | str] = [x, weight]
    if draw(st.booleans()):
        inputs.append(net.weight((out,), fan_in=8))
    if group > 1 or draw(st.booleans()):
        attributes["group"] = group
    y = net.add("Conv", inputs, (out, *spatial), **attributes)
    return follow_up(draw, net, y)


def conv_twice(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """Two convolutions that share one weight and one bias."""
    c, n = x.channels, len(x.spatial)
    weight, bias = net.weight((c, c, *[3] * n)), net.weight((c,), fan_in=8)
    y = net.add("Conv", [x, weight, bias], pads=[1] * 2 * n)
    y = follow_up(draw, net, y)
    return net.add("Conv", [y, weight, bias], pads=[1] * 2 * n)


def conv_transpose(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """A transposed convolution that at most doubles the size."""
    if max(x.spatial) > MAX_SIZE // 2:
        return activation(draw, net, x)
    c = x.channels
    group = draw(st.sampled_from([g for g in range(1, c + 1) if c % g == 0]))
    out = group * draw(st.integers(1, max(1, MAX_CHANNELS // group)))
    k, stride = draw(choice(1, 2, 3)), draw(choice(1, 2))
    extra = draw(st.integers(0, stride - 1))
    pad = draw(st.integers(0, 1)) if k > 1 and min(x.spatial) > 1 else 0
    n = len(x.spatial)
    spatial = [(s - 1) * stride + k - 2 * pad + extra for s in x.spatial]
    inputs: list[Tensor | str] = [x, net.weight((c, out // group, *[k] * n), fan_in=c * k)]
    if draw(st.booleans()):
        inputs.append(net.weight((out,), fan_in=8))
    y = net.add(
        "ConvTranspose", inputs, (out, *spatial), group=group, kernel_shape=[k] * n,
        strides=[stride] * n, pads=[pad] * 2 * n, output_padding=[extra] * n,
    )  # fmt: skip
    return follow_up(draw, net, y)


def follow_up(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """What stands behind a layer with weights."""
    kind = draw(choice("nothing", "activation", "norm", "both"))
    if kind in ("norm", "both"):
        x = batchnorm(draw, net, x)
    if kind in ("activation", "both"):
        x = activation(draw, net, x)
    return x


def pool(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """Max or average pooling, with padding counted or not."""
    op = draw(choice("MaxPool", "AveragePool"))
    _, attributes, spatial = draw_window(draw, x.spatial, dilate=False)
    if op == "AveragePool" and draw(st.booleans()):
        attributes["count_include_pad"] = 1
    return net.add(op, [x], (x.channels, *spatial), **attributes)


def global_pool(draw: Draw, net: Net, x: Tensor) -> Tensor:
    op = draw(choice("GlobalAveragePool", "GlobalMaxPool"))
    return net.add(op, [x], (x.channels, *[1] * len(x.spatial)))


def residual(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """y = x + f(x), f a convolution that keeps the shape."""
    c, n = x.channels, len(x.spatial)
    y = net.add("Conv", [x, net.weight((c, c, *[3] * n))], pads=[1] * 2 * n)
    y = follow_up(draw, net, y)
    op = draw(choice("Add", "Sub", "Mul"))
    return net.add(op, draw(st.permutations([x, y])))


def branches(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """Two or three 1x1 convolutions of one input, joined by Concat."""
    n = len(x.spatial)
    parts = []
    for _ in range(draw(st.integers(2, 3))):
        out = draw(st.integers(1, 2))
        y = net.add("Conv", [x, net.weight((out, x.channels, *[1] * n))], (out, *x.spatial))
        parts.append(follow_up(draw, net, y))
    if x.channels <= 2 and draw(st.booleans()):
        parts.append(x)
    return net.add("Concat", parts, (sum(p.channels for p in parts), *x.spatial), axis=1)


def squeeze_excite(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """y = x * sigmoid(W2 relu(W1 mean(x)))."""
    c, ones = x.channels, [1] * len(x.spatial)
    s = net.add("GlobalAveragePool", [x], (c, *ones))
    s = net.add("Conv", [s, net.weight((2, c, *ones))], (2, *ones))
    s = net.add("Conv", [net.add("Relu", [s]), net.weight((c, 2, *ones))], (c, *ones))
    return net.add("Mul", [x, net.add("Sigmoid", [s])])


def affine(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """A constant on either side of an elementwise operator, one value a channel or one in all."""
    op = draw(choice("Add", "Mul", "Sub", "Div"))
    shape = (x.channels, *[1] * len(x.spatial)) if draw(st.booleans()) else (1,)
    constant = net.constant(net.random.uniform(0.5, 2.0, shape))
    if op != "Div" and draw(st.booleans()):
        return net.add(op, [constant, x], x.shape)
    return net.add(op, [x, constant])


def pad(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """Zero padding in space, unevenly."""
    if max(x.spatial) >= MAX_SIZE:
        return affine(draw, net, x)
    n = len(x.spatial)
    before, after = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    pads = net.constant([0, 0, *[before] * n, 0, 0, *[after] * n], np.int64)
    return net.add("Pad", [x, pads], (x.channels, *(s + before + after for s in x.spatial)))


def shuffle(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """A channel shuffle: Reshape, Transpose, Reshape."""
    c, n = x.channels, len(x.spatial)
    if c % 2:
        return affine(draw, net, x)
    wide = net.constant([0, 2, c // 2, *x.spatial], np.int64)
    y = net.add("Reshape", [x, wide], (2, c // 2, *x.spatial))
    y = net.add("Transpose", [y], (c // 2, 2, *x.spatial), perm=[0, 2, 1, *range(3, n + 3)])
    return net.add("Reshape", [y, net.constant([0, c, *x.spatial], np.int64)], x.shape)


def left_matmul(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """W @ x over the last but one axis, the weight on the left."""
    shape = list(x.shape)
    rows = shape[-2]
    shape[-2] = draw(st.integers(1, MAX_CHANNELS))
    return net.add("MatMul", [net.weight((shape[-2], rows)), x], shape)


def conditional(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """An If whose branches use a value and a weight of the graph around them."""
    weight = net.weight((x.channels, x.channels, *[1] * len(x.spatial)))
    return net.branch(draw(st.booleans()), ("Conv", [x.name, weight]), ("Neg", [x.name]), x.shape)


def function(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """A call of a function that is local to the model: SiLU written out."""
    return net.call("SiLU", [("Sigmoid", ["x"], "s"), ("Mul", ["x", "s"], "y")], x)


def gemm(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """Gemm in all its forms: transposed sides, alpha and beta, with and without c."""
    (k,) = x.shape
    n = draw(st.integers(1, MAX_CHANNELS))
    trans_a, trans_b = draw(st.booleans()), draw(st.booleans())
    attributes: dict[str, object] = {}
    a: Tensor = x
    if trans_a:
        a, attributes["transA"] = net.add("Transpose", [x], perm=[1, 0]), 1
    if trans_b:
        attributes["transB"] = 1
    inputs: list[Tensor | str] = [a, net.weight((n, k) if trans_b else (k, n), fan_in=k)]
    if draw(st.booleans()):
        inputs.append(net.weight((n,) if draw(st.booleans()) else (1, n), fan_in=8))
        attributes["beta"] = draw(choice(1.0, 0.5))
    attributes["alpha"] = draw(choice(1.0, 2.0))
    return follow_up_vector(draw, net, net.add("Gemm", inputs, (n,), **attributes))


def matmul(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """x @ W, with a bias by Add or none."""
    n = draw(st.integers(1, MAX_CHANNELS))
    y = net.add("MatMul", [x, net.weight((x.shape[-1], n), fan_in=x.shape[-1])], (n,))
    if draw(st.booleans()):
        y = net.add("Add", [y, net.weight((n,), fan_in=8)])
    return follow_up_vector(draw, net, y)


def follow_up_vector(draw: Draw, net: Net, x: Tensor) -> Tensor:
    return activation(draw, net, x) if draw(st.booleans()) else x


def flatten(draw: Draw, net: Net, x: Tensor) -> Tensor:
    """From (C, d1, ..., dn) to (F,): by Flatten, by Reshape, or behind global pooling."""
    kind = draw(choice("Flatten", "Reshape", "pool"))
    if kind == "pool":
        x = global_pool(draw, net, x)
    features = math.prod(x.shape)
    if kind == "Reshape":
        return net.add("Reshape", [x, net.constant([0, -1], np.int64)], (features,))
    return net.add("Flatten", [x], (features,))


def draw_window(
    draw: Draw, sizes: Sequence[int], *, dilate: bool
) -> tuple[list[int], dict[str, object], list[int]]:
    """Kernel, attributes and output sizes of a window that fits."""
    n = len(sizes)
    k = min(draw(choice(1, 3, 2)), *sizes)
    stride = draw(choice(1, 2))
    paddings = ["NOTSET", "uneven", "VALID"]
    if k >= stride:  # else the padding would be negative
        paddings += ["SAME_UPPER", "SAME_LOWER"]
    padding = draw(st.sampled_from(paddings))
    attributes: dict[str, object] = {"kernel_shape": [k] * n, "strides": [stride] * n}
    if padding in ("SAME_UPPER", "SAME_LOWER"):
        attributes["auto_pad"] = padding
        return [k] * n, attributes, [-(-s // stride) for s in sizes]
    dilation = draw(choice(1, 2)) if dilate and min(sizes) > 2 * (k - 1) else 1
    if dilation > 1:
        attributes["dilations"] = [dilation] * n
    before = after = 0
    if padding == "VALID":
        attributes["auto_pad"] = padding
    else:
        before = draw(st.integers(0, k - 1))
        after = draw(st.integers(0, k - 1)) if padding == "uneven" else before
        attributes["pads"] = [before] * n + [after] * n
    reach = dilation * (k - 1) + 1
    return [k] * n, attributes, [(s + before + after - reach) // stride + 1 for s in sizes]


SPATIAL: tuple[Layer, ...] = (
    conv, activation, batchnorm, pool, residual, branches, affine, conv_transpose, conv_twice,
    squeeze_excite, global_pool, pad, shuffle, left_matmul, conditional, function,
)  # fmt: skip
VECTOR: tuple[Layer, ...] = (gemm, matmul)
