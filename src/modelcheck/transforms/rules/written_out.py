"""Activations whose attributes engines do not read, as the arithmetic that they stand for.

activation-written-out  Swish with an alpha: x · σ(alpha · x); every engine takes it for 1 (error
                        0.07 at 1.702). Gelu with approximate=tanh:
                            ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))
                        which every engine computes with erf (2e-4).
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from modelcheck.model.float_faults import is_unread
from modelcheck.transforms.graph import FLOATS, CannotChange, layer_name
from modelcheck.transforms.rules.rule import Rule, Site


def _written_out(site: Site) -> bool:
    node = site.node
    if not is_unread(node):
        return False
    write = _Arithmetic(site)
    is_swish = node.op_type == "Swish"
    heir = write.swish(node.attributes.get_float("alpha")) if is_swish else write.gelu()
    site.edit.remove(node, heir=heir)
    return True


class _Arithmetic:
    """Nodes on the input of an activation, with constants of its element type."""

    def __init__(self, site: Site) -> None:
        x, dtype = site.node.inputs[0], site.element_type(site.node.inputs[0])
        if x is None or dtype not in FLOATS:
            raise CannotChange("its input is no floating-point tensor")
        self._edit, self._stem = site.edit, layer_name(site.node)
        self._x, self._dtype = x, dtype.numpy()

    def swish(self, alpha: float) -> ir.Value:
        return self._op("Mul", self._x, self._op("Sigmoid", self._op("Mul", self._x, alpha)))

    def gelu(self) -> ir.Value:
        x = self._x
        cube = self._op("Mul", self._op("Mul", x, x), x)
        inner = self._op("Add", x, self._op("Mul", cube, 0.044715))
        tanh = self._op("Tanh", self._op("Mul", inner, math.sqrt(2 / math.pi)))
        return self._op("Mul", self._op("Mul", x, 0.5), self._op("Add", tanh, 1.0))

    def _op(self, op_type: str, *operands: ir.Value | float) -> ir.Value:
        stem = f"{self._stem}/{op_type.lower()}"
        inputs = [
            one
            if isinstance(one, ir.Value)
            else self._edit.initializer(f"{stem}.constant", np.asarray(one, self._dtype))
            for one in operands
        ]
        return self._edit.node(op_type, inputs, stem, like=None)


WRITTEN_OUT = Rule("activation-written-out", frozenset(("Swish", "Gelu")), _written_out)
