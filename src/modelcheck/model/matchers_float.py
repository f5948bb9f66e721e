"""Where float operators occur in forms that engines get wrong or refuse."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from modelcheck.model.float_faults import (
    fused_batchnorm,
    is_unread,
    other_size,
    rows_beyond,
    takes_size,
)
from modelcheck.model.matchers import Matcher, names, padded
from modelcheck.model.reduction_faults import are_last, misreads, named_axes, reduces_all
from modelcheck.model.same_padding import same_total
from modelcheck.model.scene import Scene
from modelcheck.model.static import product
from modelcheck.model.static.dims import Dims
from modelcheck.model.static.layers import REDUCTIONS

_WINDOWS = ("Conv", "MaxPool", "AveragePool", "QLinearConv")
_HALVES = ("half_pixel", "pytorch_half_pixel", "align_corners")
# What 4.14 and 5.0 classic do with each transformation, whatever is asked for.
_NEAREST = {"asymmetric": "floor", "tf_half_pixel_for_nn": "floor"} | dict.fromkeys(
    _HALVES, "round_prefer_ceil"
)


def with_dilations(*operators: str) -> Matcher:
    """Nodes of these operators that dilate their kernel."""

    def match(scene: Scene) -> list[str]:
        found = scene.nodes(*operators)
        return names(n for n in found if any(d > 1 for d in n.attributes.get_ints("dilations", ())))

    return match


def counted_padding(scene: Scene) -> list[str]:
    pools = scene.nodes("AveragePool")
    return names(
        n for n in pools if n.attributes.get_int("count_include_pad", 0) == 1 and padded(n)
    )


def same_lower(scene: Scene) -> list[str]:
    """SAME_LOWER where an odd number of pixels is to be padded."""
    return names(
        node
        for node in scene.nodes(*_WINDOWS)
        if _auto_pad(node) == "SAME_LOWER" and any(total % 2 for total, _ in _paddings(scene, node))
    )


def same_begins_elsewhere(scene: Scene) -> list[str]:
    """SAME_UPPER or SAME_LOWER whose padding does not begin with (k - 1) // 2 pixels."""
    found = []
    for node in scene.nodes(*_WINDOWS):
        lower = _auto_pad(node) == "SAME_LOWER"
        if not lower and _auto_pad(node) != "SAME_UPPER":
            continue
        for total, span in _paddings(scene, node):
            begin = (total + 1) // 2 if lower else total // 2
            if total and begin != span // 2:
                found.append(node)
    return names(found)


def pointwise_padded(scene: Scene) -> list[str]:
    return names(n for n in scene.nodes("Conv") if set(scene.kernel(n)) == {1} and padded(n))


def pointwise_padded_at_one_end(scene: Scene) -> list[str]:
    """More pixels at the end than at the begin."""
    found = []
    for node in scene.nodes("Conv"):
        pads = list(node.attributes.get_ints("pads", ()))
        ends = zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True)
        if set(scene.kernel(node)) == {1} and any(end > begin for begin, end in ends):
            found.append(node)
    return names(found)


def depthwise_padded_below(scene: Scene) -> list[str]:
    """A depthwise Conv whose last windows lie below the image but for one row."""
    found = []
    for node in scene.nodes("Conv"):
        weight = scene.static.dims(node.inputs[1])
        groups, pads = node.attributes.get_int("group", 1), _pads(node)
        if weight is None or len(weight) != 4 or groups == 1 or pads is None:
            continue
        if weight[:2] != (groups, 1) or None in weight:
            continue
        get, dims = node.attributes.get_ints, scene.static.dims(node.inputs[0])
        height = dims[2] if dims is not None and len(dims) == 4 else None
        strides, dilations = get("strides", ()) or (1, 1), get("dilations", ()) or (1, 1)
        if rows_beyond(scene.kernel(node), strides, dilations, pads, height):
            found.append(node)
    return names(found)


def one_dimension_padded_at_one_end(scene: Scene) -> list[str]:
    """A Conv or pooling over one dimension whose pads differ, and with them the size."""
    found = []
    for node in scene.nodes("Conv", "MaxPool", "AveragePool"):
        kernel, pads = scene.kernel(node), _pads(node)
        if len(kernel) != 1 or pads is None:
            continue
        get, dims = node.attributes.get_ints, scene.static.dims(node.inputs[0])
        (stride,), (dilation,) = get("strides", ()) or (1,), get("dilations", ()) or (1,)
        size = dims[2] if dims is not None and len(dims) == 3 else None
        span, up = dilation * (kernel[0] - 1) + 1, bool(node.attributes.get_int("ceil_mode", 0))
        if other_size(span, stride, pads, size, up=up):
            found.append(node)
    return names(found)


def batchnorm_behind_activation(scene: Scene) -> list[str]:
    found = (fused_batchnorm(node, scene.is_constant) for node in scene.nodes("Conv"))
    return names(node for node in found if node is not None)


def reduced_over_all(scene: Scene) -> list[str]:
    """A reduction that names every axis."""
    return names(n for n, axes, dims in _reductions(scene) if reduces_all(axes, dims))


def reduced_over_three(scene: Scene) -> list[str]:
    """A reduction over three axes or more, but not over all."""
    return names(n for n, _, _ in _misread(scene))


def reduced_over_three_between(scene: Scene) -> list[str]:
    """And these are not the last axes."""
    return names(n for n, axes, dims in _misread(scene) if not are_last(axes, dims))


def _misread(scene: Scene) -> Iterator[tuple[ir.Node, tuple[int, ...], Dims]]:
    for node, axes, dims in _reductions(scene):
        if misreads(axes, dims) and not reduces_all(axes, dims):
            yield node, axes, dims


def _reductions(scene: Scene) -> Iterator[tuple[ir.Node, tuple[int, ...], Dims]]:
    for node in scene.nodes(*REDUCTIONS):
        axes, dims = named_axes(node, scene.static), scene.static.dims(node.inputs[0])
        if axes is not None and dims is not None:
            yield node, axes, dims


def transposed_size(scene: Scene) -> list[str]:
    """A ConvTranspose that gives the size of its output instead of pads."""
    return names(filter(takes_size, scene.nodes("ConvTranspose")))


def transposed_1d(scene: Scene) -> list[str]:
    found = scene.nodes("ConvTranspose")
    return names(n for n in found if len(scene.static.dims(n.inputs[1]) or ()) == 3)


def transposed_asymmetric(scene: Scene) -> list[str]:
    found = []
    for node in scene.nodes("ConvTranspose"):
        pads = node.attributes.get_ints("pads", ())
        half = len(pads) // 2
        if tuple(pads[:half]) != tuple(pads[half:]):
            found.append(node)
    return names(found)


def gelu_constant_first(scene: Scene) -> list[str]:
    """x / c, Erf, + 1, · x, · 0.5 with the constant first in the sum or in the last product."""
    found = []
    for erf in scene.nodes("Erf"):
        divided = scene.maker(erf.inputs[0])
        if divided is None or divided.op_type != "Div":
            continue
        for sum_ in _users(scene, erf, "Add"):
            for product_ in _users(scene, sum_, "Mul"):
                if divided.inputs[0] not in product_.inputs:
                    continue
                for last in _users(scene, product_, "Mul"):
                    others = [v for v in last.inputs if v is not product_.outputs[0]]
                    firsts = [n for n in (sum_, last) if scene.is_constant(n.inputs[0])]
                    if all(map(scene.is_constant, others)):
                        found += firsts
    return names(found)


def _users(scene: Scene, node: ir.Node, operator: str) -> list[ir.Node]:
    return [user for user in scene.users(node.outputs[0]) if user.op_type == operator]


def softmax_before_13(scene: Scene) -> list[str]:
    """Softmax of opset < 13, whose axis begins the part that is summed over, and is not last."""
    if scene.static.opset >= 13:
        return []
    found = []
    for node in scene.nodes("Softmax", "LogSoftmax"):
        dims = scene.static.dims(node.inputs[0])
        axis = node.attributes.get_int("axis", 1)
        if dims is not None and axis != -1 and product(dims[axis:][1:]) != 1:
            found.append(node)
    return names(found)


def broadcast_matmul(scene: Scene) -> list[str]:
    """MatMul by a stack of constant matrices, each for several of the other's."""
    found = []
    for node in scene.nodes("MatMul"):
        dims, weight = (scene.static.dims(v) for v in node.inputs)
        if dims is None or weight is None or not scene.is_constant(node.inputs[1]):
            continue
        stack, batch = weight[:-2], dims[:-2]
        stack = (1,) * (len(batch) - len(stack)) + stack
        pairs = zip(batch, stack, strict=False)
        if product(stack) != 1 and any(w == 1 and d != 1 for d, w in pairs):
            found.append(node)
    return names(found)


def matmul_by_vector(scene: Scene) -> list[str]:
    return names(
        n
        for n in scene.nodes("MatMul")
        if any(len(dims) == 1 for v in n.inputs if (dims := scene.static.dims(v)) is not None)
    )


def prelu_not_by_channel(scene: Scene) -> list[str]:
    """A PRelu whose slopes lie along another axis than the channels."""
    found = []
    for node in scene.nodes("PRelu"):
        dims, slope = (scene.static.dims(v) for v in node.inputs[:2])
        if dims is None or slope is None or len(dims) < 3 or len(slope) > len(dims):
            continue
        full: Dims = (1,) * (len(dims) - len(slope)) + slope
        if any(d != 1 for i, d in enumerate(full) if i != 1):
            found.append(node)
    return names(found)


def gelu_tanh(scene: Scene) -> list[str]:
    return names(filter(is_unread, scene.nodes("Gelu")))


def swish_alpha(scene: Scene) -> list[str]:
    return names(filter(is_unread, scene.nodes("Swish")))


def resize_nearest(scene: Scene) -> list[str]:
    """Resize in a `nearest_mode` that comes out as another."""
    found = []
    for node in scene.nodes("Resize"):
        if node.attributes.get_string("mode", "nearest") != "nearest":
            continue
        how = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
        asked = node.attributes.get_string("nearest_mode", "round_prefer_floor")
        if how not in _NEAREST or asked == _NEAREST[how]:
            continue
        ratios = list(_ratios(scene, node))
        if not ratios or any(r < 1 for r in ratios):  # not known, or right by chance
            continue
        # Where every pixel is repeated as often, no coordinate lies between two of them.
        whole = all(r == int(r) for r in ratios)
        if not (whole and how in _HALVES and asked == "round_prefer_floor"):
            found.append(node)
    return names(found)


def resize_cubic(scene: Scene) -> list[str]:
    found = scene.nodes("Resize")
    return names(n for n in found if n.attributes.get_string("mode", "nearest") == "cubic")


def backward_slice(scene: Scene) -> list[str]:
    found = []
    for node in scene.nodes("Slice"):
        steps = scene.static.constant(node.inputs[4]) if len(node.inputs) > 4 else None
        if steps is not None and (steps < 0).any():
            found.append(node)
    return names(found)


def cropping_pad(scene: Scene) -> list[str]:
    found = []
    for node in scene.nodes("Pad"):
        pads = scene.static.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if pads is not None and (pads < 0).any():
            found.append(node)
    return names(found)


def reshape_after_reshape(scene: Scene) -> list[str]:
    """A 0 for a size that the Reshape before it, read by nothing else, changes or may change."""
    found = []
    for node in scene.nodes("Reshape"):
        before = scene.maker(node.inputs[0])
        target = scene.static.constant(node.inputs[1])
        if before is None or before.op_type != "Reshape" or target is None:
            continue
        alone = len(before.outputs[0].uses()) == 1 and not before.outputs[0].is_graph_output()
        if not alone or node.attributes.get_int("allowzero", False):
            continue
        zeros = [axis for axis, size in enumerate(target.reshape(-1)) if size == 0]
        if not all(_keeps(scene, before, axis) for axis in zeros):
            found.append(node)
    return names(found)


def _keeps(scene: Scene, reshape: ir.Node, axis: int) -> bool:
    """Whether a Reshape surely keeps the size of an axis."""
    target = scene.static.constant(reshape.inputs[1])
    if target is not None and axis < target.size and target.reshape(-1)[axis] == 0:
        return True
    dims = [scene.static.dims(v) for v in (reshape.inputs[0], reshape.outputs[0])]
    sizes = [d[axis] if d is not None and axis < len(d) else None for d in dims]
    return None not in sizes and sizes[0] == sizes[1]


def cast_to_float16(scene: Scene) -> list[str]:
    """A Cast of an activation to float16."""
    half = ir.DataType.FLOAT16.value
    return names(
        n
        for n in scene.nodes("Cast")
        if n.attributes.get_int("to", 0) == half and not scene.is_constant(n.inputs[0])
    )


def _auto_pad(node: ir.Node) -> str:
    return node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"


def _pads(node: ir.Node) -> tuple[int, ...] | None:
    """Pads that are given as numbers; None where there are none."""
    return (
        tuple(node.attributes.get_ints("pads", ())) or None if _auto_pad(node) == "NOTSET" else None
    )


def _paddings(scene: Scene, node: ir.Node) -> Iterator[tuple[int, int]]:
    """(pixels to pad in all, kernel span - 1) of each dimension whose size is known."""
    dims = scene.static.dims(node.inputs[0])
    kernel = scene.kernel(node)
    for i, (size, k) in enumerate(zip((dims or ())[2:], kernel, strict=False)):
        stride, dilation = (
            given[i] if len(given := node.attributes.get_ints(name, ()) or ()) > i else 1
            for name in ("strides", "dilations")
        )
        if size is not None:
            span = (k - 1) * dilation
            yield same_total(size, span + 1, stride), span


def _ratios(scene: Scene, node: ir.Node) -> Iterator[float]:
    """By what the sizes of an image are multiplied; nothing where they are not known."""
    before, after = (scene.static.dims(v) for v in (node.inputs[0], node.outputs[0]))
    if before is None or after is None or None in (*before[2:], *after[2:]):
        return
    for small, large in zip(before[2:], after[2:], strict=False):
        yield (large or 0) / (small or 1)
