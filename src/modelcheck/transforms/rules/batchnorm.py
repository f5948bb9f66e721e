"""BatchNormalization where an engine folds it into the wrong layer.

batchnorm-apart     behind a convolution's activation f, s·f(W·x) + t as Mul and Add by channel:
                        s = scale / sqrt(var + epsilon),  t = B - mean·s
                    OpenCV 5.0's new engine makes f(s·W·x + t) of it (error 0.3 to 0.7, docs/
                    known-faults.md). Computed in float64, rounded once.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelcheck.model.float_faults import fused_batchnorm
from modelcheck.transforms.graph import FLOATS, CannotChange, constant, is_constant, layer_name
from modelcheck.transforms.rules.rule import Rule, Site

_EPSILON = 1e-5  # ONNX's default


def _apart(site: Site) -> bool:
    node = fused_batchnorm(site.node, is_constant)
    if node is None:
        return False
    edit, stem = site.edit, layer_name(node)
    scale, shift, mean, variance = (_numbers(value) for value in node.inputs[1:])
    factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", _EPSILON))
    offset = shift - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise CannotChange(f"what '{stem}' multiplies by is not finite")
    dtype = site.weight(1).dtype
    by_channel = (-1, *(1,) * (site.weight(1).ndim - 2))
    made = node.inputs[0]
    assert made is not None
    for operator, numbers in (("Mul", factor), ("Add", offset)):
        name = operator.lower()
        given = edit.initializer(f"{stem}.{name}", numbers.reshape(by_channel).astype(dtype))
        made = edit.node(operator, [made, given], f"{stem}/{name}", like=node.outputs[0])
    edit.remove(node, heir=made)
    return True


def _numbers(value: ir.Value | None) -> np.ndarray:
    tensor = constant(value)
    if tensor is None or tensor.dtype not in FLOATS:
        raise CannotChange("the BatchNormalization behind it has no floating-point parameters")
    return np.asarray(tensor.numpy(), np.float64)


APART = Rule("batchnorm-apart", frozenset(("Conv",)), _apart)
