"""Activations behind layers: which they are, and how to keep an engine from fusing them.

activation-apart    y = f(conv(x))  ->  f(reshape(conv(x))), a Reshape to the shape that it has.
                    OpenCV's classic engine computes what it fuses with a convolution one number
                    at a time, and vectorized where it stands apart: a depthwise 3x3 of 64 channels
                    at 52x52 took 1.15 ms with a Sigmoid and 0.31 ms so, 3.8 and 0.32 ms with a
                    Tanh, 0.61 and 0.33 ms with a SiLU, 0.26 and 0.21 ms with a Relu.
"""

from __future__ import annotations

import onnx_ir as ir

from modelcheck.transforms.graph import is_constant, is_standard
from modelcheck.transforms.rules.rule import Rule, Site

# Of one tensor, element by element. PRelu alone takes constants that are not scalars.
ELEMENTWISE = frozenset((
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu",
))  # fmt: skip
_ACTIVATIONS = ELEMENTWISE | {"PRelu"}
_GATES = ("Sigmoid", "HardSigmoid")


def activations_behind(value: ir.Value) -> tuple[ir.Node, ...]:
    """What computes an activation of a value, and is all that uses it.

    One node, or two for a gate: x · sigmoid(x), x · hardsigmoid(x). Empty where there is none.
    """
    users, maker = [use.node for use in value.uses()], value.producer()
    if value.is_graph_output() or any(maker and node.graph is not maker.graph for node in users):
        return ()
    if len(users) == 1 and is_standard(users[0], *_ACTIVATIONS) and users[0].inputs[0] is value:
        constants = all(v is None or is_constant(v) for v in users[0].inputs[1:])
        return (users[0],) if constants else ()
    gates = [node for node in users if is_standard(node, *_GATES)]
    products = [node for node in users if is_standard(node, "Mul")]
    if len(users) != 2 or len(gates) != 1 or len(products) != 1:
        return ()
    gate, product = gates[0], products[0]
    alone = len(gate.outputs[0].uses()) == 1 and not gate.outputs[0].is_graph_output()
    if not alone or set(product.inputs) != {value, gate.outputs[0]}:
        return ()
    return gate, product


def _apart(site: Site) -> bool:
    y = site.node.outputs[0]
    behind = activations_behind(y)
    if not behind:
        return False
    dims = site.static.dims(y) or (None,) * site.weight(1).ndim
    # Numbers where they are known: see the rule explicit-shapes. 0 is a size as it is.
    same = dims if dims.count(None) <= 1 else [d or 0 for d in dims]
    apart = site.reshaped(y, same, "apart")
    apart.type, apart.shape = y.type, y.shape
    for node in behind:
        for index, value in enumerate(node.inputs):
            if value is y:
                site.edit.set_input(node, index, apart)
    return True


APART = Rule("activation-apart", frozenset(("Conv",)), _apart, opset=5)
