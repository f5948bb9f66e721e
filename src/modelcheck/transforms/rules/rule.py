"""What a rewriting rule is, and what rules ask of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from modelcheck.model.static import Static
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.element_types import Types, element_types
from modelcheck.transforms.graph import FLOATS, CannotChange, constant, layer_name

SLICE_TAKES_INPUTS = 10  # opset
_TYPES = "element types"  # in what a rule has found out
_TO_THE_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Site:
    """A node that a rule looks at, the graph it stands in, and what is known of the values.

    `wanted` says of other layers, by name, whether they may be written anew with it. `shared` is
    what the rule has found out about the graph at other nodes, while `static` holds.
    """

    edit: Edit
    static: Static
    node: ir.Node
    wanted: Callable[[str], bool] = lambda name: True
    shared: dict[str, Any] = field(default_factory=dict)

    def dims(self, value: ir.Value | None, *, rank: int | None = None) -> tuple[int, ...]:
        """All dimensions but the first, the batch. Raises CannotChange where one is unknown."""
        dims = self.static.dims(value)
        name = "?" if value is None else value.name
        if dims is None or None in dims[1:] or len(dims) < 2:
            raise CannotChange(f"the shape of '{name}' is not known")
        if rank is not None and len(dims) != rank:
            raise CannotChange(f"'{name}' has {len(dims)} axes, not {rank}")
        return tuple(int(d) for d in dims[1:] if d is not None)

    def element_type(self, value: ir.Value | None) -> ir.DataType:
        """Declared or inferred. Raises CannotChange where it is not known."""
        if _TYPES not in self.shared:
            self.shared[_TYPES] = element_types(self.edit.model)
        types: Types = self.shared[_TYPES]
        if value is None or value not in types:
            raise CannotChange("its element type is not known")
        return types[value]

    def weight(self, index: int) -> np.ndarray:
        """The constant, floating-point array at an input."""
        tensor = constant(self.node.inputs[index]) if index < len(self.node.inputs) else None
        if tensor is None or tensor.dtype not in FLOATS:
            raise CannotChange("its weight is not a floating-point constant")
        return tensor.numpy()

    def bias(self, index: int) -> np.ndarray | None:
        """The constant at an input that may be left out."""
        if index >= len(self.node.inputs) or self.node.inputs[index] is None:
            return None
        return self.weight(index)

    def reshaped(self, x: ir.Value, dims: Sequence[int | None], role: str) -> ir.Value:
        """x with these dimensions: 0 for one that stays as it is, None for what is left."""
        stem = layer_name(self.node)
        target = np.array([-1 if d is None else d for d in dims], np.int64)
        shape = self.edit.initializer(f"{stem}.{role}", target)
        return self.edit.node("Reshape", [x, shape], f"{stem}/{role}", like=None)

    def along(
        self, op_type: str, x: ir.Value | None, axes: Sequence[int], stem: str, *, since: int = 13,
        **attributes: int,
    ) -> ir.Value:  # fmt: skip
        """An operator on x along these axes, which are an input of it `since` that opset."""
        if self.edit.opset < since:
            return self.edit.node(op_type, [x], stem, like=None, axes=list(axes), **attributes)
        given = self.edit.initializer(f"{stem}.axes", np.array(axes, np.int64))
        return self.edit.node(op_type, [x, given], stem, like=None, **attributes)

    def cut(
        self, x: ir.Value, begins: Sequence[int], ends: Sequence[int | None], axes: Sequence[int],
        role: str, *, steps: Sequence[int] = (),
    ) -> ir.Value:  # fmt: skip
        """x from `begins` to `ends` along these axes; None for the end of the axis.

        Steps there are since opset 10 only: a rule that takes them says so.
        """
        stem = f"{layer_name(self.node)}/{role}"
        bounds = {
            "starts": list(begins),
            "ends": [_TO_THE_END if end is None else end for end in ends],
            "axes": list(axes),
        }
        if self.edit.opset < SLICE_TAKES_INPUTS:
            assert set(steps) <= {1}
            return self.edit.node("Slice", [x], stem, like=None, **bounds)
        if any(step != 1 for step in steps):
            bounds["steps"] = list(steps)
        given = [
            self.edit.initializer(f"{stem}.{name}", np.array(numbers, np.int64))
            for name, numbers in bounds.items()
        ]
        return self.edit.node("Slice", [x, *given], stem, like=None)

    def ints(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.node.attributes.get_ints(name, ()) or default)


@dataclass(frozen=True)
class Rule:
    """One exact rewriting: which operators it looks at, and how it writes one of them anew.

    `apply` changes the graph, or raises CannotChange before it has changed anything; it returns
    False where the node is simply none of its own, which nobody needs to be told. What it writes
    is there since `opset`.
    """

    name: str
    operators: frozenset[str]
    apply: Callable[[Site], bool]
    opset: int = 1
