"""A model evaluated in float64, by code that has nothing in common with what is judged.

No onnxruntime, no OpenCV, nothing of modelcheck's judge: onnx's own reference implementation in
numpy, on the model with every float turned into a double. Where that implementation is too slow
for real nets (pooling, Resize, transposed convolutions), `float64_operators` takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from modelcheck.testing.float64_operators import OPERATORS

_FLOATS = frozenset((TensorProto.FLOAT, TensorProto.FLOAT16))
_DTYPES = frozenset((np.dtype(np.float32), np.dtype(np.float16)))

Arrays = dict[str, np.ndarray]


class Float64:
    """A model ready to be evaluated in float64."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._outputs = [output.name for output in proto.graph.output]
        self._evaluator = ReferenceEvaluator(as_float64(proto), new_ops=list(OPERATORS))

    def run(self, sample: Mapping[str, np.ndarray]) -> Arrays:
        """The outputs of one sample, by name."""
        fed = {k: a.astype(np.float64) if a.dtype in _DTYPES else a for k, a in sample.items()}
        with np.errstate(all="ignore"):  # a planted NaN is no accident
            found = self._evaluator.run(None, fed)
        return dict(zip(self._outputs, map(np.asarray, found), strict=True))


def moved(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> float:
    """max |actual - expected| / max |expected|, the largest over the outputs.

    Infinite where an output has another shape or is not finite. An output that is zero everywhere
    counts as moved without bound as soon as it moves at all.
    """
    worst = 0.0
    for name, value in expected.items():
        other = actual[name]
        if other.shape != value.shape or not np.isfinite(other).all():
            return np.inf
        if value.size:
            error = float(np.abs(other.astype(np.float64) - value).max())
            scale = float(np.abs(value.astype(np.float64)).max())
            worst = max(worst, error / scale if scale else np.inf * bool(error))
    return worst


def as_float64(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with double in place of float and float16: weights, attributes, Casts, types."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    _widen_graph(copy.graph)
    return copy


def _widen_graph(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _widen(tensor)
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type in _FLOATS:
            info.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _widen_graph(attribute.g)
            elif attribute.type == AttributeProto.TENSOR:
                _widen(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i in _FLOATS:
                attribute.i = TensorProto.DOUBLE
            elif node.op_type == "Constant" and attribute.name.startswith("value_float"):
                _make_tensor(attribute)


def _make_tensor(attribute: AttributeProto) -> None:
    """value_float and value_floats say float32: value says double."""
    plain = helper.get_attribute_value(attribute)
    tensor = numpy_helper.from_array(np.asarray(plain, np.float64))
    attribute.CopyFrom(helper.make_attribute("value", tensor))


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in _FLOATS:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def outputs(path: Path, samples: Iterable[Mapping[str, np.ndarray]]) -> list[Arrays]:
    """What a model makes of each sample: for a child process, which takes a plain function."""
    model = Float64(onnx.load(path))
    return [model.run(sample) for sample in samples]
