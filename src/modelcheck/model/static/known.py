"""What is known of a graph's values without running it: dimensions and constants.

This is no replacement for ONNX shape inference (native code, run by the reference's child): it
knows the operators of convolution nets and transformers, says "unknown" for the rest, and never
allocates more than a small array. Pure Python, so the stages before any child may use it.

Source: the operator specifications of ONNX, opsets 7 to 25.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.model.static import layers, movement
from modelcheck.model.static.arithmetic import ARITHMETIC, MOVEMENTS, constant_node
from modelcheck.model.static.dims import Dims, product

_RULES = {**layers.RULES, **movement.RULES}
_SMALL = 1024  # elements: shape arithmetic is kept, weights are read only when asked for


class Static:
    """Dimensions and constants of the values of one graph, in one pass over its nodes.

    `shapes` adds what is known from elsewhere (shape inference, the shapes of the samples); it
    wins over what the graph declares, and what follows from the operators wins over both.
    """

    def __init__(
        self, graph: ir.Graph, opset: int, shapes: Mapping[str, Sequence[int | None]] | None = None
    ) -> None:
        self.opset = opset
        self._shapes = shapes or {}
        self._dims: dict[ir.Value, Dims] = {}
        self._small: dict[ir.Value, np.ndarray] = {}
        for value in graph.inputs:
            self._note(value, None)
        for node in graph:
            self._visit(node)

    def dims(self, value: ir.Value | None) -> Dims | None:
        """The dimensions, None for those unknown; None when not even the rank is known."""
        if value is None:
            return None
        if value not in self._dims:
            tensor = value.const_value
            if tensor is not None and value.is_initializer():
                return tuple(int(d) for d in tensor.shape.numpy())
        return self._dims.get(value)

    def constant(self, value: ir.Value | None) -> np.ndarray | None:
        """The value as an array, when it is constant; derived by movement and casts if need be."""
        if value is None:
            return None
        if value in self._small:
            return self._small[value]
        if value.is_initializer() and value.const_value is not None:
            return value.const_value.numpy()
        node = value.producer()
        if node is None or node.domain:
            return None
        if node.op_type == "Constant":
            return constant_node(node)
        move = MOVEMENTS.get(node.op_type)
        source = self.constant(node.inputs[0]) if move and node.inputs else None
        if move is None or source is None:
            return None
        rest = [self.constant(v) for v in node.inputs[1:]]
        try:
            return np.asarray(move(node, source, rest))
        except (IndexError, TypeError, ValueError):
            return None

    def _visit(self, node: ir.Node) -> None:
        found: Sequence[Dims | None] = ()
        if not node.domain:
            rule = _RULES.get(node.op_type)
            if rule is not None:
                try:
                    found = rule(node, [self.dims(v) for v in node.inputs], self)
                except (IndexError, TypeError, ValueError, ZeroDivisionError):
                    found = ()  # an ill-formed node: nothing is known of its outputs
            self._fold(node)
        for index, value in enumerate(node.outputs):
            self._note(value, found[index] if index < len(found) else None)

    def _note(self, value: ir.Value, found: Dims | None) -> None:
        """Keep what follows from the operator, filled up with what is declared."""
        known = found
        given = self._shapes.get(value.name or "")
        for declared in (given, None if value.shape is None else value.shape.dims):
            if declared is None:
                continue
            ints = tuple(d if isinstance(d, int) and d >= 0 else None for d in declared)
            if known is None:
                known = ints
            elif len(known) == len(ints):
                known = tuple(b if a is None else a for a, b in zip(known, ints, strict=True))
        if known is not None:
            self._dims[value] = known

    def _fold(self, node: ir.Node) -> None:
        """Evaluate shape arithmetic: Shape, Gather, Concat, Mul and the like on small arrays."""
        if node.op_type == "Shape":
            dims = self.dims(node.inputs[0])
            if dims is not None and None not in dims:
                start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end")
                self._small[node.outputs[0]] = np.array(dims[start:end], np.int64)
            return
        evaluate = ARITHMETIC.get(node.op_type)
        if evaluate is None or len(node.outputs) != 1:
            return
        arrays: list[np.ndarray | None] = []
        for value in node.inputs:
            dims = self.dims(value)
            if dims is not None and (product(dims) or 0) > _SMALL:
                return
            array = self.constant(value)
            if value is not None and (array is None or array.size > _SMALL):
                return
            arrays.append(array)
        try:
            result = np.asarray(evaluate(node, arrays))
        except (IndexError, TypeError, ValueError, ZeroDivisionError):
            return
        if result.size <= _SMALL:
            self._small[node.outputs[0]] = result
            self._dims[node.outputs[0]] = result.shape
