"""What changed between two models, found by comparing them: no transform reports on itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck import units
from modelcheck.model import Model
from modelcheck.model.deferred import pieces_of
from modelcheck.transforms.graph import LAYERS, constant, is_standard, layer_name

# Quantized operators carry their weight and its zero point elsewhere.
_WEIGHT_INPUTS = {
    "QLinearConv": (3, 5),
    "QLinearMatMul": (3, 5),
    "QGemm": (3, 5),
    "ConvInteger": (1, 3),
    "MatMulInteger": (1, 3),
}
# A constant behind these is still a stored weight.
_UNPACKING = ("DequantizeLinear", "Cast", "Mul", "Identity", "Transpose", "Reshape")
_ZEROS = "modelcheck.zeros"  # cached on the tensor, which never changes


@dataclass(frozen=True)
class Change:
    """The difference between two models.

    Nodes are counted by operator, Constant nodes apart; layers by the dtype that their weight is
    stored in. Sparsity is the fraction of zeros in the weights of layers, bytes are those of all
    initializers and constants.
    """

    nodes_removed: Mapping[str, int]
    nodes_added: Mapping[str, int]
    nodes_changed: int
    weights_changed: int
    layers_before: Mapping[str, int]
    layers_after: Mapping[str, int]
    sparsity_before: float
    sparsity_after: float
    bytes_before: int
    bytes_after: int

    @property
    def nothing(self) -> bool:
        """Whether the two models are the same."""
        counts = (self.nodes_removed, self.nodes_added, self.nodes_changed, self.weights_changed)
        return not any(counts)

    def summary(self) -> str:
        """One line: '20 nodes removed', '21 layers to int8', '50.0 % zeros'."""
        if self.nothing:
            return "nothing changed"
        parts = [
            f"{units.plural(n - self.layers_before.get(dtype, 0), 'layer')} to {dtype}"
            for dtype, n in self.layers_after.items()
            if n > self.layers_before.get(dtype, 0)
        ]
        removed, added = sum(self.nodes_removed.values()), sum(self.nodes_added.values())
        if not parts:  # the nodes that unpack a stored weight are no news
            parts += [f"{units.plural(removed, 'node')} removed"] if removed else []
            parts += [f"{units.plural(added, 'node')} added"] if added else []
            if self.sparsity_after > self.sparsity_before + 1e-4:
                parts.append(f"{units.percent(self.sparsity_after)} zeros")
        if not parts and self.weights_changed:
            parts.append(f"{units.plural(self.weights_changed, 'weight')} changed")
        return ", ".join(parts) or f"{units.plural(max(self.nodes_changed, added), 'node')} changed"


def diff(before: Model, after: Model) -> Change:
    """Compare two models. Weights that share a buffer are equal without being read."""
    old_nodes, new_nodes = _node_counts(before), _node_counts(after)
    old_constants, new_constants = _constants(before), _constants(after)
    changed = sum(
        name in new_constants and not _same(tensor, new_constants[name])
        for name, tensor in old_constants.items()
    )
    old_layers, new_layers = _stored_weights(before), _stored_weights(after)
    return Change(
        nodes_removed=dict(old_nodes - new_nodes),
        nodes_added=dict(new_nodes - old_nodes),
        nodes_changed=_changed_nodes(before, after),
        weights_changed=changed + len(new_constants.keys() - old_constants.keys()),
        layers_before=_by_dtype(old_layers),
        layers_after=_by_dtype(new_layers),
        sparsity_before=_sparsity(old_layers),
        sparsity_after=_sparsity(new_layers),
        bytes_before=sum(t.nbytes for t in old_constants.values()),
        bytes_after=sum(t.nbytes for t in new_constants.values()),
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    """A layer's weight as the file holds it; `zero` is the stored number that means 0."""

    tensor: ir.TensorProtocol
    zero: int | None = 0


def _node_counts(model: Model) -> Counter[str]:
    counts: Counter[str] = Counter()
    for node in _nodes(model):
        if not is_standard(node, "Constant"):
            standard = is_standard(node, node.op_type)
            counts[node.op_type if standard else f"{node.domain}.{node.op_type}"] += 1
    return counts


def _nodes(model: Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _constants(model: Model) -> dict[str, ir.TensorProtocol]:
    found = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    for node in model.graph:
        if is_standard(node, "Constant"):
            tensor = constant(node.outputs[0])
            if tensor is not None:
                found[str(node.outputs[0].name)] = tensor
    return found


def _same(old: ir.TensorProtocol, new: ir.TensorProtocol) -> bool:
    if old is new:
        return True
    if old.dtype != new.dtype or old.shape.numpy() != new.shape.numpy():
        return False
    if isinstance(new, ir.LazyTensor) and _zeros(_Stored(new)) != _zeros(_Stored(old)):
        return False  # a deferred tensor is cheaper to count than to compute whole
    one, other = old.numpy(), new.numpy()
    if _address(one) == _address(other):
        return True
    # Bytes, so that -0.0 differs from 0.0 and NaN equals itself.
    return bool(np.array_equal(_bytes(one), _bytes(other)))


def _address(array: np.ndarray) -> object:
    return (array.__array_interface__["data"][0], array.strides)


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _stored_weights(model: Model) -> list[_Stored]:
    found = []
    for node in model.graph:
        if node.op_type in _WEIGHT_INPUTS:
            weight, zero_point = _WEIGHT_INPUTS[node.op_type]
            tensor = constant(_input(node, weight))
            if tensor is not None:
                found.append(_Stored(tensor, _zero(_input(node, zero_point))))
        elif is_standard(node, *LAYERS):
            sides = [_stored(_input(node, 1))]
            if node.op_type in ("Gemm", "MatMul"):
                sides.append(_stored(_input(node, 0)))
            found += [side for side in sides if side is not None][:1]
    return found


def _stored(value: ir.Value | None) -> _Stored | None:
    """The constant behind a value, through nodes that only unpack it."""
    tensor = constant(value)
    if tensor is not None:
        return _Stored(tensor)
    node = value.producer() if value is not None else None
    if node is None or not is_standard(node, *_UNPACKING):
        return None
    sources = [_stored(v) for v in node.inputs if v is not None]
    if not sources or sources[0] is None or None in sources:
        return None
    if node.op_type == "DequantizeLinear":
        return _Stored(sources[0].tensor, _zero(_input(node, 2)))
    return sources[0]


def _zero(value: ir.Value | None) -> int | None:
    """A zero point, where all channels have the same; None where they differ."""
    tensor = constant(value)
    if tensor is None:
        return 0 if value is None else None
    distinct = np.unique(tensor.numpy())
    return int(distinct[0]) if distinct.size == 1 else None


def _by_dtype(stored: list[_Stored]) -> dict[str, int]:
    return dict(Counter(str(s.tensor.dtype.numpy().name) for s in stored))


def _sparsity(stored: list[_Stored]) -> float:
    """The fraction of zeros, each tensor counted once."""
    once = {id(s.tensor): s for s in stored}
    size = sum(s.tensor.size for s in once.values())
    return sum(_zeros(s) for s in once.values()) / size if size else 0.0


def _zeros(stored: _Stored) -> int:
    if stored.zero is None:
        return 0
    meta, zero = stored.tensor.meta, stored.zero
    key = f"{_ZEROS}.{zero}"
    if key not in meta:
        pieces = pieces_of(stored.tensor)
        nonzero = sum(int(np.count_nonzero(p != zero if zero else p)) for p in pieces)
        meta[key] = stored.tensor.size - nonzero
    return int(meta[key])


def _changed_nodes(before: Model, after: Model) -> int:
    """Nodes of the same name and operator that read or do something else."""
    old = {_key(node): node for node in _nodes(before)}
    return sum(
        not _alike(old[key], node)
        for key, node in ((_key(n), n) for n in _nodes(after))
        if key in old and not is_standard(node, "Constant")
    )


def _key(node: ir.Node) -> tuple[str, str, str]:
    return (node.domain, node.op_type, layer_name(node))


def _alike(old: ir.Node, new: ir.Node) -> bool:
    names = [[v.name if v is not None else None for v in n.inputs] for n in (old, new)]
    return names[0] == names[1] and _settings(old) == _settings(new)


def _settings(node: ir.Node) -> dict[str, object]:
    """The attributes that can be compared; nodes of subgraphs are compared by themselves."""
    bodies = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return {
        name: id(attribute.value) if attribute.type == ir.AttributeType.TENSOR else attribute.value
        for name, attribute in node.attributes.items()
        if attribute.type not in bodies
    }


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None
