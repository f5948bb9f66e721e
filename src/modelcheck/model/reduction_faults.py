"""Which reductions OpenCV 4.14 and 5.0's classic engine get wrong: what `inspect` warns of and
`rewrite` writes so that they are right.

Found by running small networks over every set of axes (4.14.0 and 5.0.0, x86-64).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile

import onnx_ir as ir

from modelcheck.model.static import Static, ints

_MISREAD = 3  # axes at the end, of more than one element but for the first


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


def misreads_last(axes: Sequence[int], dims: Sequence[int | None]) -> bool:
    """Over the last three axes or more, not counting leading ones of one element."""
    first = len(dims)
    while first - 1 in axes:
        first -= 1
    return len(list(dropwhile(lambda size: size == 1, dims[first:]))) >= _MISREAD
