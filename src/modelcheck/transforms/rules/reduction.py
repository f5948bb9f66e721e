"""Reductions: those that engines get wrong (model/reduction_faults.py), and one that is faster.

reductions-in-turns over all axes, each of them named: none named, which means all; the engines die
                    of the names. Over three or more: over the last two, then the two before them.
                    A sum of sums is a sum; so it is with means of equally many, extremes,
                    products and norms:
                        Σ x² = Σ Σ x²,   log Σ x = log Σ Σ x
globalpool-as-mean  GlobalAveragePool as ReduceMean over the axes of the image: on 5.0 new 1.65x of
                    the layer at 96x184x184, 3x at 28x28 and 7x7; up to 1.7x on classic.
                    nanotrack_v2_backbone with its six 1.05x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from modelcheck.model.reduction_faults import misreads, named_axes, reduces_all
from modelcheck.model.static.layers import REDUCTIONS
from modelcheck.transforms.graph import FLOATS, CannotChange, layer_name
from modelcheck.transforms.rules.rule import Rule, Site

_CHANNELS = 2  # axes before those of the image: the batch, the channels
_AT_ONCE = 2  # axes
# First over some axes, then over more, at last over the others; what is not said is the same.
_TURNS: Mapping[str, tuple[str, str, str]] = {
    "ReduceSumSquare": ("ReduceSumSquare", "ReduceSum", "ReduceSum"),
    "ReduceLogSum": ("ReduceSum", "ReduceSum", "ReduceLogSum"),
}
_ROUNDED = ("ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")  # of integers
_AXES_ARE_INPUT, _AXES_OF_SUM_ARE_INPUT = 18, 13  # opsets


def _in_turns(site: Site) -> bool:
    node = site.node
    axes, dims = named_axes(node, site.static), site.static.dims(node.inputs[0])
    x = node.inputs[0]
    if axes is None or dims is None or x is None:
        return False
    if reduces_all(axes, dims):
        heir = _reduced(site, node.op_type, x, ())
    elif misreads(axes, dims):
        if node.op_type in _ROUNDED and site.element_type(x) not in FLOATS:
            return False  # rounded twice it is another number
        first, then, last = _TURNS.get(node.op_type, (node.op_type,) * 3)
        heir = _reduced(site, first, x, axes[-_AT_ONCE:])
        while axes := axes[:-_AT_ONCE]:
            op_type = then if len(axes) > _AT_ONCE else last
            heir = _reduced(site, op_type, heir, axes[-_AT_ONCE:])
    else:
        return False
    site.edit.remove(node, heir=heir)
    return True


def _as_mean(site: Site) -> bool:
    x = site.node.inputs[0]
    dims = site.static.dims(x)
    if x is None or dims is None or len(dims) <= _CHANNELS:
        raise CannotChange("the rank of what it pools is not known")
    if misreads(range(_CHANNELS, len(dims)), dims):
        raise CannotChange("OpenCV's older engines get a mean over so many axes wrong")
    heir = _reduced(site, "ReduceMean", x, range(_CHANNELS, len(dims)))
    site.edit.remove(site.node, heir=heir)
    return True


def _reduced(site: Site, op_type: str, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """x over these axes, which stay where the node keeps them; none are all."""
    stem = f"{layer_name(site.node)}/turn"
    keepdims = site.node.attributes.get_int("keepdims", 1)
    if not axes:
        return site.edit.node(op_type, [x], stem, like=None, keepdims=keepdims)
    since = _AXES_OF_SUM_ARE_INPUT if op_type == "ReduceSum" else _AXES_ARE_INPUT
    return site.along(op_type, x, axes, stem, since=since, keepdims=keepdims)


GLOBAL_AS_MEAN = Rule("globalpool-as-mean", frozenset(("GlobalAveragePool",)), _as_mean)
IN_TURNS = Rule("reductions-in-turns", REDUCTIONS, _in_turns)
