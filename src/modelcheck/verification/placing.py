"""Where the models ran, told in the model's own terms: the share of the work that fell back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelcheck.model import Model
from modelcheck.model.inspection import inspect
from modelcheck.reference import Reference
from modelcheck.targets import FallbackLayer, Placement

# cv2's names for the layer that an ONNX node becomes: after the node, or after its output.
_PREFIXES = ("onnx_node!", "onnx_node_output_0!", "")
# cv2's layer types that multiply by weights, whose MACs must be known.
_MULTIPLIES = frozenset({
    "Attention", "Convolution", "ConvolutionInt8", "Deconvolution", "Gemm", "InnerProduct",
    "InnerProductInt8", "MatMul",
})  # fmt: skip


def macs_by_layer(
    model: Model, reference: Reference, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int] | None:
    """Multiply-accumulates of each layer by its node's name; None where one is unknown."""
    layers = inspect(model, reference.shapes(model, shapes)).layers
    known = {layer.name: layer.macs for layer in layers if layer.macs is not None}
    return known if len(known) == len(layers) else None


def with_share(placement: Placement, macs: Mapping[str, int] | None) -> Placement:
    """The placement with the part of the MACs that ran elsewhere; None stays where it is unknown.

    A layer that multiplies, but under no name that the model knows, leaves it unknown.
    """
    if not placement.partial or not macs:
        return placement
    found = [_macs_of(layer, macs) for layer in placement.fallback_layers]
    if None in found:
        return placement
    share = sum(n or 0 for n in found) / max(1, sum(macs.values()))
    return replace(placement, fallback_share=share)


def _macs_of(layer: FallbackLayer, macs: Mapping[str, int]) -> int | None:
    for prefix in _PREFIXES:
        if layer.name.startswith(prefix) and layer.name[len(prefix) :] in macs:
            return macs[layer.name[len(prefix) :]]
    return None if layer.kind in _MULTIPLIES else 0
