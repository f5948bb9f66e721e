"""Transposed convolutions in the one form that every OpenCV computes rightly.

convtranspose-plain     auto_pad and output_shape as numbers: of a size n, strides s, the reach r of
                        the kernel, output_padding o and a size m of the output,
                            pads = s·(n - 1) + r + o - m
                        halved, the odd one at the end with SAME_UPPER, else at the begin. No engine
                        reads them. Pads that differ at the two ends as the smaller one at both, and
                        the rest cut off behind: 4.14 refuses them, and nets from TensorFlow have
                        them. A dilated kernel as a wider one with zeros: 4.14 leaves the dilation
                        out. One dimension as two, the first of one row: 4.14 refuses it, 5.0's
                        classic engine gets it wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.model.float_faults import takes_size
from modelcheck.model.same_padding import halves
from modelcheck.transforms.graph import CannotChange, layer_name
from modelcheck.transforms.rules.rule import Rule, Site

_ROWS = 2  # the axis of one row


def _plain(site: Site) -> bool:
    node, edit, stem = site.node, site.edit, layer_name(site.node)
    kernel = _kernel(site)
    n = len(kernel)
    dilations = site.ints("dilations", (1,) * n)
    strides, extra = site.ints("strides", (1,) * n), site.ints("output_padding", (0,) * n)
    automatic = takes_size(node)
    if automatic:
        reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
        pads = _pads(site, reach)
    else:
        is_valid = node.attributes.get_string("auto_pad", "NOTSET") == "VALID"
        given = (0,) * (2 * n) if is_valid else site.ints("pads", (0,) * (2 * n))
        pads = list(zip(given[:n], given[n:], strict=True))
    uneven, dilated, flat = any(b != e for b, e in pads), any(d > 1 for d in dilations), n == 1
    if not (automatic or uneven or dilated or flat):
        return False
    x, weight, *bias = node.inputs
    if dilated or flat:
        array = _with_zeros(site.weight(1), dilations)
        array = array[:, :, None] if flat else array
        kernel, weight = array.shape[2:], edit.initializer(f"{stem}.plain", array)
    if flat:
        x = _row(site, "Unsqueeze", x)

    def by_axis(numbers: Sequence[int], of_row: int) -> Sequence[int]:
        return (of_row, *numbers) if flat else numbers

    even = by_axis([min(ends) for ends in pads], 0)
    y = edit.node(
        "ConvTranspose", [x, weight, *bias], f"{stem}/plain", like=None, kernel_shape=kernel,
        strides=by_axis(strides, 1), output_padding=by_axis(extra, 0), pads=[*even, *even],
        group=node.attributes.get_int("group", 1),
    )  # fmt: skip
    if flat:
        y = _row(site, "Squeeze", y)
    if cut := [i for i, (begin, end) in enumerate(pads) if begin != end]:
        begins = [max(pads[i][0] - pads[i][1], 0) for i in cut]
        ends = [min(pads[i][0] - pads[i][1], 0) or None for i in cut]
        y = site.cut(y, begins, ends, [2 + i for i in cut], "cut")
    edit.remove(node, heir=y)
    return True


def _kernel(site: Site) -> tuple[int, ...]:
    dims = site.static.dims(site.node.inputs[1])
    if dims is None or None in dims:
        raise CannotChange("the shape of its weight is not known")
    return tuple(d for d in dims[2:] if d is not None)


def _pads(site: Site, reach: Sequence[int]) -> list[tuple[int, int]]:
    """Of each axis the pads at its two ends, for a size of the output."""
    n, upper = len(reach), site.node.attributes.get_string("auto_pad", "NOTSET") == "SAME_UPPER"
    strides, extra = site.ints("strides", (1,) * n), site.ints("output_padding", (0,) * n)
    wanted, sizes = site.ints("output_shape", ()), site.dims(site.node.inputs[0], rank=2 + n)[1:]
    pads = []
    for i, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        size_out = wanted[len(wanted) - n + i] if wanted else stride * size
        total = stride * (size - 1) + reach[i] + extra[i] - size_out
        if total < 0:  # engines, and the standard, do not agree on what that is
            raise CannotChange("its output is larger than what it computes")
        pads.append(halves(total, lower=not upper))
    return pads


def _with_zeros(weight: np.ndarray, dilations: Sequence[int]) -> np.ndarray:
    """The kernel with d - 1 zeros between any two taps."""
    outer, kernel = weight.shape[:2], weight.shape[2:]
    wide = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    made = np.zeros((*outer, *wide), weight.dtype)
    taps = (slice(None), slice(None), *(slice(None, None, d) for d in dilations))
    made[taps] = weight
    return made


def _row(site: Site, op_type: str, x: ir.Value | None) -> ir.Value:
    """x with one row, or without it."""
    return site.along(op_type, x, [_ROWS], f"{layer_name(site.node)}/{op_type.lower()}")


PLAIN = Rule("convtranspose-plain", frozenset(("ConvTranspose",)), _plain)
