"""Shapes in numbers.

explicit-shapes     A 0 in the shape of a Reshape, for the size that the input has there, as that
                    number, where another Reshape comes before; an Identity between the two where
                    it is not known. OpenCV 5's new engine makes one of the two, and takes the 0
                    for a size of the first one's input (docs/known-faults.md).
"""

from __future__ import annotations

import numpy as np

from modelcheck.transforms.graph import constant, is_standard, layer_name
from modelcheck.transforms.rules.rule import Rule, Site


def explicit_shapes(site: Site) -> bool:
    node = site.node
    value = node.inputs[0]
    before = value.producer() if value is not None else None
    target = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if value is None or before is None or not is_standard(before, "Reshape") or target is None:
        return False
    shape = [int(size) for size in target.numpy().reshape(-1)]
    if 0 not in shape or node.attributes.get_int("allowzero", False):
        return False
    dims = site.static.dims(value) or (None,) * len(shape)
    first = constant(before.inputs[1]) if len(before.inputs) > 1 else None
    copied = [] if first is None else [int(size) for size in first.numpy().reshape(-1)]
    numbers = []
    for axis, size in enumerate(shape):
        known = dims[axis] if size == 0 and axis < len(dims) else size
        kept = axis < len(copied) and copied[axis] == 0  # a 0 behind a 0 is the same size
        numbers.append((0 if kept else -1) if known is None else known)
    if numbers == shape:
        return False
    stem = layer_name(node)
    if numbers.count(-1) > 1:
        apart = site.edit.node("Identity", [value], f"{stem}/apart", like=value)
        site.edit.set_input(node, 0, apart)
    else:
        made = site.edit.initializer(f"{stem}.shape", np.array(numbers, np.int64))
        site.edit.set_input(node, 1, made)
    return True


_RESHAPE_TAKES_INPUTS = 5  # opset
EXPLICIT_SHAPES = Rule(
    "explicit-shapes", frozenset(("Reshape",)), explicit_shapes, opset=_RESHAPE_TAKES_INPUTS
)
