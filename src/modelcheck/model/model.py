"""The Model: an immutable view over an ONNX graph whose weights are read-only and shared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import onnx
import onnx_ir as ir

from modelcheck.errors import InvalidInput
from modelcheck.model import wire
from modelcheck.model.deferred import Weights
from modelcheck.model.source import Source

# Before this IR version every initializer had to be listed as an input too.
_FREE_INITIALIZERS_SINCE = 4
_DIGEST = "modelcheck.sha256"  # cached on the tensor: models that share a buffer share its digest


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A graph input or output. A free dimension is None in `shape` and may have a name."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None
    dim_names: tuple[str | None, ...] = ()

    @property
    def batch_is_free(self) -> bool:
        return bool(self.shape) and self.shape is not None and self.shape[0] is None

    def describe(self) -> str:
        """'image float32 batch×3×224×224'."""
        if self.shape is None:
            return f"{self.name} {self.dtype} of unknown rank"
        names = self.dim_names or (None,) * len(self.shape)
        dims = (
            str(n) if d is None and n else str(d or "?")
            for d, n in zip(self.shape, names, strict=True)
        )
        return f"{self.name} {self.dtype} {'×'.join(dims) or 'scalar'}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, by name and in order; initializers are not inputs."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, name: str) -> TensorSpec:
        return next(spec for spec in self.inputs if spec.name == name)


@dataclass(frozen=True, eq=False)
class Model:
    """An ONNX model as a value.

    `edit()` gives a private copy of the graph that shares every weight buffer; `Model.freeze(copy)`
    checks it and makes a new Model. So nothing can change a Model, and a transform costs no copy
    of the weights it leaves alone. Two models are equal when their digests are.
    """

    _graph: ir.Model
    name: str = "model"
    source: Source | None = None

    @classmethod
    def freeze(
        cls, edited: ir.Model, *, name: str = "model", source: Source | None = None
    ) -> Model:
        """Make a Model of an edited graph; takes ownership of it.

        Raises InvalidInput when the graph is not well-formed (an undefined value, a cycle, a
        duplicate name, an initializer without data).
        """
        from modelcheck.model.checks import check_graph

        try:
            edited.graph.sort()
        except ValueError as error:
            raise InvalidInput("the graph has a cycle", where=name) from error
        for value in edited.graph.initializers.values():
            value.const_value = _read_only(value)
        if edited.ir_version < _FREE_INITIALIZERS_SINCE:
            graph = edited.graph
            if set(graph.initializers) - {value.name for value in graph.inputs}:
                edited.ir_version = _FREE_INITIALIZERS_SINCE
        model = cls(edited, name, source)
        if source is None:  # else `load` has checked what the file says
            check_graph(model.skeleton, where=name, skeleton=True)
        return model

    @classmethod
    def from_proto(cls, proto: onnx.ModelProto, *, name: str = "model") -> Model:
        """A Model of an onnx.ModelProto with its weights inside; the proto is not kept."""
        from modelcheck.model.checks import check_graph

        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        check_graph(copy, where=name)
        return cls.freeze(ir.from_proto(copy), name=name)

    def edit(self) -> ir.Model:
        """A copy of the graph to change freely; its weights are shared and read-only.

        To rename an initializer, register a new one: its tensor belongs to every copy.
        """
        return self._graph.clone()

    @property
    def graph(self) -> ir.Graph:
        """The graph, to look at. To change it, take `edit()`."""
        return self._graph.graph

    @property
    def functions(self) -> Mapping[ir.OperatorIdentifier, ir.Function]:
        """The model's local functions, to look at."""
        return MappingProxyType(dict(self._graph.functions))

    @property
    def opset(self) -> int:
        """The version of the default operator set."""
        return int(self._graph.opset_imports.get("", 1))

    @cached_property
    def weights(self) -> Weights:
        """Initializers of the main graph by name: read-only arrays."""
        return Weights(
            {
                name: value.const_value
                for name, value in self._graph.graph.initializers.items()
                if value.const_value is not None
            }
        )

    @cached_property
    def signature(self) -> Signature:
        initializers = self._graph.graph.initializers
        inputs = (v for v in self._graph.graph.inputs if v.name not in initializers)
        return Signature(
            tuple(_spec(v) for v in inputs), tuple(_spec(v) for v in self._graph.graph.outputs)
        )

    @cached_property
    def skeleton(self) -> onnx.ModelProto:
        """The model as protobuf, large initializers without their data. Do not change it."""
        bare = self._graph.clone()
        for name, value in bare.graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= wire.INLINE_BYTES:
                value.const_value = ir.ExternalTensor(
                    wire.PLACEHOLDER, 0, tensor.nbytes, tensor.dtype,
                    shape=ir.Shape(tensor.shape.numpy()), name=name, base_dir=".",
                )  # fmt: skip
        proto = ir.to_proto(bare)
        for tensor_proto in proto.graph.initializer:
            if tensor_proto.data_location == onnx.TensorProto.EXTERNAL:
                tensor_proto.ClearField("external_data")
                tensor_proto.ClearField("data_location")
        # One canonical form, so that a saved and reloaded model has the digest it had.
        known = {v.name: v for v in proto.graph.value_info if v.name not in bare.graph.initializers}
        del proto.graph.value_info[:]
        proto.graph.value_info.extend(known[name] for name in sorted(known))
        return proto

    @cached_property
    def payloads(self) -> Weights:
        """The large initializers, which `skeleton` lacks."""
        return self.weights.at_least(wire.INLINE_BYTES)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of graph and weights: the same however the file stores them.

        Inline or external, raw or typed, in whatever order the initializers stand.
        """
        bare = onnx.ModelProto()
        bare.CopyFrom(self.skeleton)
        del bare.graph.initializer[:]
        whole = hashlib.sha256(bare.SerializeToString(deterministic=True))
        for name in sorted(self.weights):
            tensor = self._graph.graph.initializers[name].const_value
            assert tensor is not None
            if _DIGEST not in tensor.meta:
                one = hashlib.sha256()
                for piece in self.weights.pieces(name):
                    one.update(wire.little_endian(piece))
                tensor.meta[_DIGEST] = one.digest()
            head = json.dumps([name, tensor.dtype.name, list(tensor.shape.numpy())])
            whole.update(head.encode() + tensor.meta[_DIGEST])
        return whole.hexdigest()

    @property
    def parameters(self) -> int:
        """The number of weights: elements of all initializers and of Constant nodes."""
        constants = (
            node.attributes["value"].as_tensor().size
            for node in self._graph.graph
            if node.op_type == "Constant" and "value" in node.attributes
        )
        return sum(tensor.size for tensor in self.weights.tensors()) + sum(map(int, constants))

    @property
    def nbytes(self) -> int:
        """The size of the initializers in bytes."""
        return sum(tensor.nbytes for tensor in self.weights.tensors())

    def to_proto(self) -> onnx.ModelProto:
        """The whole model as protobuf, weights inside: a copy, for small models and for tools."""
        return ir.to_proto(self._graph)

    def check_unchanged(self) -> None:
        """Raise InvalidInput when the file that this was loaded from is not what it was."""
        if self.source is not None:
            self.source.check_unchanged()

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Model) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)


def _read_only(value: ir.Value) -> ir.TensorProtocol:
    """The initializer's tensor over a read-only array, with its digest if it is known."""
    tensor = value.const_value
    if tensor is None:
        raise InvalidInput("an initializer has no data", where=value.name)
    if isinstance(tensor, ir.LazyTensor):
        return tensor  # stays deferred; see deferred.py
    if isinstance(tensor, ir.Tensor) and not tensor.numpy().flags.writeable:
        return tensor
    array = tensor.numpy().view()
    array.flags.writeable = False
    return ir.Tensor(array, dtype=tensor.dtype, shape=ir.Shape(array.shape), name=value.name)


def _spec(value: ir.Value) -> TensorSpec:
    if value.dtype is None:
        raise InvalidInput("has no element type", where=f"'{value.name}'")
    dtype = value.dtype.numpy()
    if value.shape is None:
        return TensorSpec(str(value.name), dtype, None)
    dims = tuple(d if isinstance(d, int) and d >= 0 else None for d in value.shape)
    names = tuple(None if isinstance(d, int) else d.value for d in value.shape)
    return TensorSpec(str(value.name), dtype, dims, names)
