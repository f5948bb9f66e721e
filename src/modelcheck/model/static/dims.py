"""Dimensions, and what the rules need of a node and of what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

Dims = tuple[int | None, ...]


class Known(Protocol):
    """What a rule may ask besides its node: constants."""

    def constant(self, value: ir.Value | None) -> np.ndarray | None: ...


# A rule takes the node, the dimensions of its inputs (None where not even the rank is known) and
# the constants, and gives the dimensions of the outputs.
Rule = Callable[[ir.Node, "list[Dims | None]", Known], "Sequence[Dims | None]"]


def product(dims: Iterable[int | None]) -> int | None:
    """The number of elements; None when a dimension is unknown."""
    total = 1
    for d in dims:
        if d is None:
            return None
        total *= d
    return total


def broadcast(shapes: Sequence[Dims | None]) -> Dims | None:
    """Numpy's rule, aligned to the right. An unknown dimension against n > 1 gives n."""
    known = [s for s in shapes if s is not None]
    if len(known) != len(shapes) or not known:
        return None
    rank = max(len(s) for s in known)
    out: list[int | None] = []
    for column in zip(*((1,) * (rank - len(s)) + s for s in known), strict=True):
        sizes = {d for d in column if d is not None and d != 1}
        out.append(sizes.pop() if len(sizes) == 1 else None if None in column or sizes else 1)
    return tuple(out)


def ints(node: ir.Node, attribute: str, index: int, known: Known) -> list[int] | None:
    """Integers that are an attribute in old opsets and a (constant) input in newer ones."""
    given = node.attributes.get_ints(attribute, None)
    if given is not None:
        return list(given)
    if index < len(node.inputs) and node.inputs[index] is not None:
        array = known.constant(node.inputs[index])
        return None if array is None else [int(i) for i in array.reshape(-1)]
    return None
