"""Safe loading of an ONNX file into a Model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from modelcheck.model import wire
from modelcheck.model.checks import check_graph
from modelcheck.model.model import Model


def load(path: Path | str) -> Model:
    """Load and validate an ONNX file."""
    path = Path(path)
    parts = wire.split(memoryview(path.read_bytes()))
    proto = onnx.ModelProto.FromString(parts.skeleton)
    check_graph(proto, where=path.name)
    arrays = {}
    for index, payload in parts.payloads.items():
        tensor = proto.graph.initializer[index]
        dtype = ir.DataType(tensor.data_type).numpy()
        arrays[tensor.name] = np.frombuffer(payload, dtype).reshape(tuple(tensor.dims))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", wire.PLACEHOLDER), ("offset", "0"), ("length", str(len(payload)))):
            tensor.external_data.add(key=key, value=value)
    graph = ir.from_proto(proto)
    for name, array in arrays.items():
        graph.graph.initializers[name].const_value = ir.Tensor(array, name=name)
    return Model.freeze(graph, name=path.name)
