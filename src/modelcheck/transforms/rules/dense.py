"""Dense layers in the form that an engine runs fast.

gemm-as-matmul     Gemm(A, B, c) = alpha·A' · B' + beta·c  ->  MatMul(A, alpha·B'), Add(beta·c)
                   for a constant B; transA is left alone.
matmul-as-gemm     MatMul(A, B) + c  ->  Gemm(A, B, c), for a matrix A, a constant matrix B and one
                   c for each column: a ViT went from 15.0 to 9.2 ms on 5.0's classic engine.
"""

from __future__ import annotations

import numpy as np

from modelcheck.transforms.graph import CannotChange, constant, is_standard, layer_name
from modelcheck.transforms.rules.rule import Rule, Site


def _gemm_as_matmul(site: Site) -> bool:
    node, edit, stem = site.node, site.edit, layer_name(site.node)
    if node.attributes.get_int("transA", 0):
        raise CannotChange("it transposes its input")
    b, c = site.weight(1), site.bias(2)
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    if node.attributes.get_int("transB", 0):
        b = b.T
    right = edit.initializer(f"{stem}.matrix", np.ascontiguousarray(_scaled(b, alpha)))
    y = edit.node("MatMul", [node.inputs[0], right], f"{stem}/product", like=node.outputs[0])
    if c is not None:
        bias = edit.initializer(f"{stem}.bias", _scaled(c, beta))
        y = edit.node("Add", [y, bias], f"{stem}/bias", like=node.outputs[0])
    edit.remove(node, heir=y)
    return True


def _matmul_as_gemm(site: Site) -> bool:
    node, edit = site.node, site.edit
    user = next((use.node for use in node.outputs[0].uses()), None)
    alone = len(node.outputs[0].uses()) == 1 and not node.outputs[0].is_graph_output()
    if user is None or not alone or not is_standard(user, "Add"):
        return False
    addend = user.inputs[1] if user.inputs[0] is node.outputs[0] else user.inputs[0]
    c, b = constant(addend), constant(node.inputs[1])
    if c is None or b is None or len(b.shape) != 2:
        return False
    addends, columns = c.numpy(), b.shape.numpy()[1]
    if addends.ndim not in (1, 2) or addends.shape[-1] != columns or addends.size != columns:
        return False
    site.dims(node.inputs[0], rank=2)
    bias = edit.initializer(f"{layer_name(node)}.bias", addends.reshape(-1))
    inputs = [node.inputs[0], node.inputs[1], bias]
    y = edit.node("Gemm", inputs, f"{layer_name(node)}/gemm", like=user.outputs[0])
    edit.remove(user, heir=y)
    edit.remove_unused(node)
    return True


def _scaled(array: np.ndarray, factor: float) -> np.ndarray:
    return array if factor == 1 else (array.astype(np.float64) * factor).astype(array.dtype)


GEMM_AS_MATMUL = Rule("gemm-as-matmul", frozenset(("Gemm",)), _gemm_as_matmul)
MATMUL_AS_GEMM = Rule("matmul-as-gemm", frozenset(("MatMul",)), _matmul_as_gemm)
