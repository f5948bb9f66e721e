"""Shapes in numbers.

explicit-shapes     A 0 in the shape of a Reshape, for the size that the input has there, as that
                    number, where another Reshape comes before: OpenCV 5's new engine makes one of
                    the two, and takes the 0 for a size of the first one's input
                    (docs/known-faults.md).
"""

from __future__ import annotations

import numpy as np

from modelcheck.transforms.graph import CannotChange, constant, is_standard, layer_name
from modelcheck.transforms.rules.rule import Rule, Site


def _explicit_shapes(site: Site) -> bool:
    node = site.node
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    target = constant(node.inputs[1])
    if before is None or not is_standard(before, "Reshape") or target is None:
        return False
    shape = [int(size) for size in target.numpy().reshape(-1)]
    if 0 not in shape or node.attributes.get_int("allowzero", False):
        return False
    dims, first = (
        site.static.dims(node.inputs[0]) or (None,) * len(shape),
        constant(before.inputs[1]),
    )
    copied = [] if first is None else [int(size) for size in first.numpy().reshape(-1)]
    numbers = []
    for axis, size in enumerate(shape):
        known = dims[axis] if size == 0 and axis < len(dims) else size
        kept = axis < len(copied) and copied[axis] == 0  # a 0 behind a 0 is the same size
        numbers.append((0 if kept else -1) if known is None else known)
    if numbers == shape:
        return False
    if numbers.count(-1) > 1:
        raise CannotChange("the shape of its input is not known")
    made = site.edit.initializer(f"{layer_name(node)}.shape", np.array(numbers, np.int64))
    site.edit.set_input(node, 1, made)
    return True


EXPLICIT_SHAPES = Rule("explicit-shapes", frozenset(("Reshape",)), _explicit_shapes)
