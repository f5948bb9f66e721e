"""What is known of the values in one list of nodes: shapes and small constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from modelcheck.model.checks_names import FunctionId, node_place
from modelcheck.model.checks_tensors import check_element_type

Shape = tuple[int | None, ...]

# Targets, axes, repeats and scales are short; nothing longer is worth decoding here.
_MAX_CONSTANT = 64  # elements; below wire.INLINE_BYTES, so never a payload


@dataclass
class Body:
    """A list of nodes being checked, with what the model declares about their values.

    Names that it does not know are asked of `outer`, the graph around it.
    """

    where: str
    opsets: Mapping[str, int]
    functions: frozenset[FunctionId]
    outer: Body | None = None
    _shapes: dict[str, onnx.ValueInfoProto | onnx.TensorProto] = field(default_factory=dict)
    _constants: dict[str, onnx.TensorProto | onnx.NodeProto] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)

    def place(self, node: onnx.NodeProto) -> str:
        return node_place(self.where, node)

    def learn(
        self,
        values: Iterable[onnx.ValueInfoProto],
        tensors: Iterable[onnx.TensorProto],
        nodes: Iterable[onnx.NodeProto],
    ) -> None:
        """Take in declarations, initializers and constants."""
        self._shapes.update((value.name, value) for value in values)
        self._shapes.update((tensor.name, tensor) for tensor in tensors)
        self._constants.update((tensor.name, tensor) for tensor in tensors)
        for node in nodes:
            self._made.update(node.output)
            if node.op_type == "Constant" and node.output:
                self._constants[node.output[0]] = node

    def shape(self, name: str) -> Shape | None:
        """The declared shape, None where nothing is declared; free dims are None."""
        known = self._shapes.get(name)
        if known is None:
            constant = self.constant(name) if name in self._constants else None
            if constant is not None:
                return tuple(constant.shape)
            return self.outer.shape(name) if self.outer and name not in self._made else None
        if isinstance(known, onnx.TensorProto):
            return tuple(known.dims)
        tensor_type = known.type.tensor_type
        if not tensor_type.HasField("shape"):
            return None
        return tuple(
            d.dim_value if d.WhichOneof("value") == "dim_value" and d.dim_value >= 0 else None
            for d in tensor_type.shape.dim
        )

    def constant(self, name: str) -> np.ndarray | None:
        """A small constant, be it an initializer or a Constant node's; else None."""
        known = self._constants.get(name)
        if known is None:
            hidden = name in self._shapes or name in self._made
            return self.outer.constant(name) if self.outer and not hidden else None
        tensor = known if isinstance(known, onnx.TensorProto) else _tensor_of(known)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        if int(np.prod(tensor.dims, dtype=object)) > _MAX_CONSTANT:
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    def check_cast(self, data_type: int, node: onnx.NodeProto) -> None:
        if data_type != onnx.TensorProto.STRING:
            check_element_type(data_type, f"{self.place(node)}, its result")


def _tensor_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    tensor: onnx.TensorProto
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.HasField("t"):
            tensor = attribute.t
            return tensor
        if attribute.name in ("value_int", "value_ints"):
            values = [attribute.i] if attribute.name == "value_int" else list(attribute.ints)
            return numpy_helper.from_array(
                np.array(values, np.int64).reshape(() if attribute.name == "value_int" else (-1,))
            )
        if attribute.name in ("value_float", "value_floats"):
            floats = [attribute.f] if attribute.name == "value_float" else list(attribute.floats)
            return numpy_helper.from_array(
                np.array(floats, np.float32).reshape(
                    () if attribute.name == "value_float" else (-1,)
                )
            )
    return None
