"""Layers that OpenCV 5.0's new engine is known to compute wrongly in int8, without a word.

Which those are stands in `model/int8_faults.py` and in the table of `model/patterns.py`; here is
what a plan of layers to quantize asks of it.
"""

from __future__ import annotations

from modelcheck.model.int8_faults import conv_fault, int8_conv
from modelcheck.model.patterns import PATTERNS
from modelcheck.model.static import Static
from modelcheck.transforms.graph import constant, is_standard
from modelcheck.transforms.quantize_plan import Layer

WHERE = "OpenCV 5.0's new engine is wrong for"
SAID = {pattern.id: pattern.what for pattern in PATTERNS}


def fault(layer: Layer, static: Static, *, integer: bool) -> str | None:
    """Why this layer had better stay float32; None where nothing is known against it.

    A Relu or Clip after a float layer between DequantizeLinear and QuantizeLinear saves it;
    operators on integers (`integer`) show none. Sizes that `static` does not know count as
    unfavourable.
    """
    node, weight = layer.node, constant(layer.slot.weight)
    assert weight is not None
    if node.op_type != "Conv" or (layer.activation is not None and not integer):
        return None
    dims = static.dims(layer.result)
    shape = [int(d) for d in weight.shape.numpy()]
    found = conv_fault(int8_conv(node, shape, None if dims is None else dims[2:]))
    return None if found is None else f"{WHERE} {SAID[found]}"


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
