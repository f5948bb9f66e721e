"""Layers that OpenCV 5.0's new engine computes wrongly in int8, without a word.

Found by running some thousand small networks in it and in onnxruntime (5.0.0, x86-64 with
AVX512-VNNI, November 2026); OpenCV 4.14 and 5.0's classic engine compute all of them rightly.
"""

from __future__ import annotations

from modelcheck.model.static import Static, product
from modelcheck.transforms.graph import constant, is_standard
from modelcheck.transforms.quantize_plan import Layer

_BLOCK = 8  # channels, or pixels, that the engine's int8 kernels take at a time
_WHERE = "OpenCV 5.0's new engine is wrong in int8 for"


def fault(layer: Layer, static: Static, *, integer: bool) -> str | None:
    """Why this layer had better stay float32; None where nothing is known against it.

    A Relu or Clip after a float layer between DequantizeLinear and QuantizeLinear saves it;
    operators on integers (`integer`) show none. Sizes that `static` does not know count as
    unfavourable.
    """
    node, weight = layer.node, constant(layer.slot.weight)
    assert weight is not None
    if node.op_type != "Conv":
        return None
    if layer.activation is not None and not integer:
        return None
    out_channels, in_per_group = (int(d) for d in weight.shape.numpy()[:2])
    per_group = out_channels // layer.slot.groups
    which = "" if integer else " without Relu"
    if layer.slot.groups > 1 and per_group > _BLOCK and per_group % _BLOCK:
        return f"{_WHERE} {per_group} output channels a group{which}: no multiple of {_BLOCK}"
    if in_per_group == per_group == 1 and _is_padded(layer):
        dims = static.dims(layer.result)
        pixels = product(dims[2:]) if dims is not None else None
        if pixels is None or pixels % _BLOCK:
            return f"{_WHERE} padded depthwise convolutions{which} of {pixels or 'any'} pixels"
    return None


def feeds_int8_sigmoid(layer: Layer, inputs: frozenset[object]) -> bool:
    """Whether a Sigmoid stands between this layer's result and something rounded to int8.

    `inputs` are the tensors that will be.
    """
    results = [
        use.node.outputs[0] for use in layer.result.uses() if is_standard(use.node, "Sigmoid")
    ]
    return any(
        result in inputs or any(is_standard(u.node, "QuantizeLinear") for u in result.uses())
        for result in results
    )


def _is_padded(layer: Layer) -> bool:
    attributes = layer.node.attributes
    return attributes.get_string("auto_pad", "NOTSET").startswith("SAME") or any(
        attributes.get_ints("pads", ())
    )
