"""The reference: onnx's checker, shape inference and float32 onnxruntime, in a child process."""

from modelcheck.reference.activations import Range, ReferenceActivations
from modelcheck.reference.client import Reference, open_reference

__all__ = ["Range", "Reference", "ReferenceActivations", "open_reference"]
