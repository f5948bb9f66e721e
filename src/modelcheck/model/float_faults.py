"""Which float layers OpenCV computes wrongly: what `inspect` warns of and rules do not write.

Found by running some hundred small networks in it and in onnxruntime (4.14.0 and 5.0.0, x86-64).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from modelcheck.model.uses import only_user

_FAST = 3  # the kernel that 4.14 and 5.0's classic engine have code of their own for
# 5.0's new engine fuses these with a convolution and does not remember it. It looks after a Relu,
# a Clip, a LeakyRelu and a PRelu, and fuses neither Celu, Selu, Softplus nor Softsign.
_FUSED = frozenset((
    "Sigmoid", "Tanh", "Elu", "HardSigmoid", "HardSwish", "Swish", "Mish", "Gelu",
))  # fmt: skip
_HARD_SWISH = (1 / 6, 0.5)

Constant = Callable[[ir.Value | None], bool]


def rows_beyond(
    kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int],
    height: int | None,
) -> bool:  # fmt: skip
    """Whether a depthwise convolution reads rows that are not there, on 4.14 and 5.0 classic.

    Its code for 3x3 kernels leaves out the last row of a window where that is padding, and reads
    the middle one whatever it is. Other code takes over where more than one pixel is padded above
    or to the left, in horizontal steps of three and more, and where it is dilated. A height that
    is not known counts as unfavourable.
    """
    if tuple(kernel) != (_FAST, _FAST) or set(dilations) != {1} or strides[1] > _FAST - 1:
        return False
    top, left, bottom, _ = pads
    if top > 1 or left > 1 or bottom < _FAST - 1:
        return False
    if height is None:
        return True
    last = (height + top + bottom - _FAST) // strides[0] * strides[0] - top  # row of a window
    return last + 1 >= height


def other_size(
    span: int, stride: int, pads: Sequence[int], size: int | None, *, up: bool = False
) -> bool:
    """Whether a window of so many pixels that moves along one axis gives more or fewer results.

    4.14 and 5.0's classic engine take the padding at the begin for that at the end as well, in the
    size of the result. `up`: the number is rounded up. A size that is not known is unfavourable.
    """
    begin, end = pads
    if begin == end or size is None:
        return begin != end
    rest = stride - 1 if up else 0
    asked, given = ((size + total - span + rest) // stride for total in (begin + end, 2 * begin))
    return asked != given


def fused_batchnorm(conv: ir.Node, is_constant: Constant) -> ir.Node | None:
    """The BatchNormalization behind the activation of a convolution, where nothing else reads them.

    5.0's new engine fuses the activation, then folds the BatchNormalization into the weights:
    f(s·W·x + t) in place of s·f(W·x) + t. One that stands before the activation is folded first,
    and then none that stands behind it.
    """
    y = _activation(conv.outputs[0], is_constant)
    behind = None if y is None else only_user(y)
    if behind is None or behind.op_type != "BatchNormalization" or behind.inputs[0] is not y:
        return None
    return behind if all(map(is_constant, behind.inputs[1:])) else None


def _activation(x: ir.Value, is_constant: Constant) -> ir.Value | None:
    """What an activation that is fused makes of a value; x is not the model's own result."""
    user = only_user(x)
    if user is not None:
        return user.outputs[0] if user.op_type in _FUSED else None
    users = [use.node for use in x.uses()]
    products = [node for node in users if node.op_type == "Mul"]
    if x.is_graph_output() or len(users) != 2 or len(products) != 1:
        return None
    (other,) = (node for node in users if node is not products[0])
    if other.op_type == "Div":
        return _gelu(other, products[0], is_constant)
    gate = other
    if other.op_type == "Softplus":
        tanh = only_user(other.outputs[0])
        if tanh is None or tanh.op_type != "Tanh":
            return None
        gate = tanh
    elif other.op_type == "HardSigmoid":
        given = (other.attributes.get_float("alpha", 0.2), other.attributes.get_float("beta", 0.5))
        if any(abs(a - b) > 1e-6 for a, b in zip(given, _HARD_SWISH, strict=True)):
            return None
    elif other.op_type != "Sigmoid":
        return None
    return products[0].outputs[0] if only_user(gate.outputs[0]) is products[0] else None


def _gelu(divided: ir.Node, product: ir.Node, is_constant: Constant) -> ir.Value | None:
    """x / c, Erf, + 1, · x, · 0.5: the result, where they are put together like that."""
    at = divided
    for operator in ("Erf", "Add", "Mul", "Mul"):
        user = only_user(at.outputs[0])
        if user is None or user.op_type != operator:
            return None
        if (user is product) != (operator == "Mul" and at.op_type == "Add"):
            return None
        if operator in ("Add", "Mul") and user is not product and not is_constant(user.inputs[1]):
            return None
        at = user
    return at.outputs[0]


def takes_size(node: ir.Node) -> bool:
    """Whether a ConvTranspose says the size of its output, which no engine reads."""
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    return auto.startswith("SAME") or "output_shape" in node.attributes


def is_unread(node: ir.Node) -> bool:
    """Whether a Swish or a Gelu has an attribute that no engine reads."""
    if node.op_type == "Swish":
        return node.attributes.get_float("alpha", 1.0) != 1.0
    return node.attributes.get_string("approximate", "none") == "tanh"
