"""Which reductions OpenCV gets wrong: what `inspect` warns of and `rewrite` writes so that they are
right.

An engine goes through the elements of the reduced axes by a table of their offsets. Where it takes
the next element of all these axes but the last two, it begins at that axis' stride, and not at the
stride times the index: right for the first two elements only. 5.0's new engine has another loop for
axes at the end. Found by running small networks over every set of axes (4.14.0 and 5.0.0, x86-64).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from modelcheck.model.static import Static, ints

_INNER, _RIGHT = 2, 2  # axes that are gone through rightly, and elements of the others


def named_axes(node: ir.Node, static: Static) -> tuple[int, ...] | None:
    """The axes that a reduction names, ascending; None where it names none, or nobody knows."""
    dims = static.dims(node.inputs[0])
    given = ints(node, "axes", 1, static)
    if not given or dims is None:
        return None
    return tuple(sorted({axis % len(dims) for axis in given}))


def reduces_all(axes: Sequence[int], dims: Sequence[int | None]) -> bool:
    """Over every axis, each of them named: the process dies of it. None named means all, too."""
    return len(axes) == len(dims)


def misreads(axes: Sequence[int], dims: Sequence[int | None]) -> bool:
    """Over three axes or more, where all but the last two have more than two elements together."""
    outer = [dims[axis] for axis in axes[:-_INNER]]
    return bool(outer) and (None in outer or math.prod(d or 0 for d in outer) > _RIGHT)


def are_last(axes: Sequence[int], dims: Sequence[int | None]) -> bool:
    """No axis lies behind or between them, or one element is all that is left."""
    others = [axis for axis in range(len(dims)) if axis not in axes]
    return all(axis < axes[0] for axis in others) or all(dims[axis] == 1 for axis in others)
