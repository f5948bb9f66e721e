"""Layers written for channels that lie in another order, or beside channels of zeros.

A *layout* says for each channel of a tensor which one it was, and -1 for one of zeros. What makes
the tensor has its outputs so, what sums over it its inputs:

    W'[k, :] = W[l[k], :],  b'[k] = b[l[k]]        W'[:, k] = W[:, l[k]]        0 for l[k] = -1

Depthwise weights and constants for each channel follow. Weights that others share are copied.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from modelcheck.transforms.channels.families import Family
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import constant, slot_of

Layout = npt.NDArray[np.int64]


def write_layouts(edit: Edit, layouts: Mapping[Family, Layout]) -> None:
    """Write the constants of these families anew. What a pick moves is the caller's."""
    for family, layout in layouts.items():
        if np.array_equal(layout, np.arange(family.channels)):
            continue
        for node in family.makers:
            _write(edit, node, 1, _slot(node)[1], layout)
            _write(edit, node, 2, 0, layout)
        for node in family.readers:
            _write(edit, node, 1, _slot(node)[0], layout)
        for node in family.depthwise:
            _write(edit, node, 1, 0, layout)
            _write(edit, node, 2, 0, layout)
            if len(layout) != family.channels:
                edit.set_attribute(node, ir.AttrInt64("group", len(layout)))
        for node, index, axis in family.constants:
            _write(edit, node, index, axis, layout)
        if len(layout) != family.channels:
            for value in family.values:
                if value.shape is not None:
                    value.shape = ir.Shape([*value.shape[:1], len(layout), *value.shape[2:]])


def _slot(node: ir.Node) -> tuple[int, int]:
    """The axes of inputs and outputs of a layer's weight."""
    slot = slot_of(node)
    assert slot is not None
    assert slot.output_axis is not None
    return slot.input_axis, slot.output_axis


def _write(edit: Edit, node: ir.Node, index: int, axis: int, layout: Layout) -> None:
    """Lay out one axis of a constant; an input that is left out stays so."""
    tensor = constant(node.inputs[index]) if index < len(node.inputs) else None
    if tensor is None:
        return
    array = tensor.numpy()
    zeros = np.zeros_like(np.take(array, [0], axis))
    # The zeros stand at the end, which is where -1 points.
    laid = np.take(np.concatenate([array, zeros], axis), layout, axis)
    edit.own_constant(node, index, np.ascontiguousarray(laid), "weight" if index == 1 else "bias")
