"""What is multiplied or added channel by channel, folded into the convolution beside it.

affine-into-conv    before it   W·(s·x + t) + b = (W·S)·x + (W·t + b),  S = diag(s), one s and one t
                                for each channel, through a Transpose too; t only where the
                                convolution does not pad, since it pads with zeros, not with t
                    behind it   s·(W·x + b) + t = (S·W)·x + (s·b + t)
                    so that a normalization of inputs, or a bias by itself, costs no pass over the
                    tensor: person_reid_0288 spent 10 % of its time on one.
                    Computed in float64, rounded once. Left alone: what something else reads too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.model.float_faults import fused_batchnorm
from modelcheck.model.uses import only_user
from modelcheck.transforms.graph import CannotChange, constant, is_constant, is_standard, slot_of
from modelcheck.transforms.rules.rule import Rule, Site

_OPERATORS = ("Mul", "Div", "Add", "Sub")


@dataclass(frozen=True)
class _Affine:
    """scale · x + shift of each channel, by one node that reads x and a constant."""

    node: ir.Node
    x: ir.Value
    scale: np.ndarray  # (channels,), float64
    shift: np.ndarray


def _into_conv(site: Site) -> bool:
    if site.weight(1).dtype != np.float32:
        raise CannotChange("its weights are not float32, and may not hold what is folded in")
    return _fold_before(site) or fold_behind(site)


def _fold_before(site: Site) -> bool:
    node, edit = site.node, site.edit
    if node.op_type != "Conv" or node.inputs[0] is None:
        return False
    weight, slot = site.weight(1), slot_of(node)
    made = node.inputs[0].producer()
    moved = made if made is not None and is_standard(made, "Transpose") else None
    value = moved.inputs[0] if moved is not None else node.inputs[0]
    maker = value.producer() if value is not None else None
    if slot is None or maker is None or value is None or only_user(value) is not (moved or node):
        return False
    if moved is not None and only_user(moved.outputs[0]) is not node:
        return False
    rank = weight.ndim
    perm = moved.attributes.get_ints("perm", ()) if moved is not None else range(rank)
    if len(perm) != rank:
        return False
    channels = weight.shape[1] * slot.groups
    affine = _affine(maker, None, channels, rank, perm[1])
    if affine is None or (np.any(affine.shift) and _pads(node)):
        return False
    dims = site.static.dims(affine.x)
    if dims is None or len(dims) != rank or dims[perm[1]] != channels:
        return False
    bias, wide = site.bias(2), weight.astype(np.float64)
    shift = slot.scale_inputs(wide, affine.shift).reshape(weight.shape[0], -1).sum(axis=1)
    total = shift if bias is None else shift + bias
    if not _write(site, slot.scale_inputs(wide, affine.scale), total):
        return False
    edit.set_input(moved or node, 0, affine.x)
    edit.remove_unused(affine.node)
    return True


def fold_behind(site: Site) -> bool:
    """Fold what stands behind a convolution into it; whether there was anything."""
    node, edit = site.node, site.edit
    weight, bias, slot = site.weight(1), site.bias(2), slot_of(node)
    behind = only_user(node.outputs[0])
    if slot is None or behind is None:
        return False
    channels = weight.shape[1] * slot.groups if node.op_type == "ConvTranspose" else len(weight)
    affine = _affine(behind, node.outputs[0], channels, weight.ndim, 1)
    if affine is None:
        return False
    if node.op_type == "Conv" and fused_batchnorm(behind, is_constant):
        raise CannotChange("OpenCV 5 would fold the BatchNormalization behind its activation too")
    scaled = slot.scale_outputs(weight.astype(np.float64), affine.scale)
    total = affine.shift + (0.0 if bias is None else bias.astype(np.float64) * affine.scale)
    if not _write(site, scaled, total):
        return False
    edit.remove(behind, heir=node.outputs[0])
    return True


def _write(site: Site, weight: np.ndarray, bias: np.ndarray) -> bool:
    """Give the layer its new numbers; whether float32 holds them with all their digits."""
    node, edit = site.node, site.edit
    limits = np.finfo(np.float32)
    for before, after in ((site.weight(1), weight), (np.ones(bias.shape), bias)):
        sizes = np.abs(after[before != 0])
        too_small = (sizes > 0) & (sizes < limits.tiny)
        if not np.isfinite(after).all() or np.any(sizes > limits.max) or np.any(too_small):
            return False
    edit.own_constant(node, 1, weight.astype(np.float32), "scaled")
    if np.any(bias) or site.bias(2) is not None:
        edit.own_constant(node, 2, bias.astype(np.float32), "bias")
    return True


def _affine(
    node: ir.Node, x: ir.Value | None, channels: int, rank: int, axis: int
) -> _Affine | None:
    """What the node does to each channel of x, or of its one input that is not constant."""
    if not is_standard(node, *_OPERATORS) or len(node.inputs) != 2:
        return None
    tensors = [constant(value) for value in node.inputs]
    if tensors.count(None) != 1:
        return None
    at = tensors.index(None)
    given, tensor = node.inputs[at], tensors[1 - at]
    if given is None or tensor is None or (x is not None and given is not x):
        return None
    numbers = _by_channel(tensor.numpy().astype(np.float64), channels, rank, axis)
    if numbers is None or not np.isfinite(numbers).all():
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    found = {
        ("Mul", 0): (numbers, zeros), ("Mul", 1): (numbers, zeros),
        ("Add", 0): (ones, numbers), ("Add", 1): (ones, numbers),
        ("Sub", 0): (ones, -numbers), ("Sub", 1): (-ones, numbers),
        ("Div", 0): (1 / numbers, zeros) if numbers.all() else None,
    }.get((node.op_type, at))  # fmt: skip
    return None if found is None else _Affine(node, given, *found)


def _by_channel(array: np.ndarray, channels: int, rank: int, axis: int) -> np.ndarray | None:
    """One number for each channel, which lie along an axis; None for any other shape."""
    if array.ndim > rank:
        return None
    full = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if full.size not in (1, channels) or full.size != full.shape[axis]:
        return None
    return np.broadcast_to(full.reshape(-1), (channels,))


def _pads(node: ir.Node) -> bool:
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    return auto.startswith("SAME") or any(node.attributes.get_ints("pads", ()))


INTO_CONV = Rule("affine-into-conv", frozenset(("Conv", "ConvTranspose")), _into_conv)
