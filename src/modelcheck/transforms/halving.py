"""Turn a whole graph to float16, and keep in float32 what would suffer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.transforms.base import Context
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.element_types import (
    allowed_types,
    element_types,
    schema_of,
    type_variable,
)
from modelcheck.transforms.graph import (
    CannotChange,
    constant,
    is_standard,
    layer_name,
    matching,
    report_hidden,
)

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_LOSS = 2.0**-10  # one unit in the last place: what rounding a normal number can cost

# What stays in float32, and why.
_SUMS = "it sums many values, which float32 does better"
_KEPT = {
    **dict.fromkeys(
        (
            "BatchNormalization", "CumSum", "GroupNormalization", "InstanceNormalization",
            "LayerNormalization", "LpNormalization", "LRN", "MeanVarianceNormalization",
            "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean",
            "ReduceProd", "ReduceSum", "ReduceSumSquare", "RMSNormalization",
        ),
        _SUMS,
    ),
    **dict.fromkeys(("Exp", "Pow"), "its result easily leaves the range of float16"),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), "a recurrence adds up rounding errors"),
}  # fmt: skip
# These have types of their own; nothing is said of them.
_SILENT = frozenset(
    {"Cast", "CastLike", "Constant", "DequantizeLinear", "QuantizeLinear", "Shape", "Size"}
)


def half(array: np.ndarray) -> np.ndarray:
    """The array in float16. Raises CannotChange where that loses more than rounding should."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = array.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise CannotChange("it has a constant beyond 65504, where float16 ends")
    exact = array.astype(np.float64)
    if np.linalg.norm(rounded - exact) > _LOSS * np.linalg.norm(exact):
        raise CannotChange("it has a constant too small for float16")
    return rounded


def halve(edit: Edit, context: Context, exclude: Sequence[str]) -> None:
    """Rewrite the main graph: every node that can takes and gives float16.

    A node takes part when its operator allows float16, all its types are known, its constants fit,
    and at least one of its float32 inputs comes from the model's inputs: what is computed from
    shapes and constants alone stays as it is.
    """
    _Halving(edit, context, exclude).run()


class _Halving:
    def __init__(self, edit: Edit, context: Context, exclude: Sequence[str]) -> None:
        self._edit = edit
        self._context = context
        self._types = element_types(edit.model)
        self._nodes = list(edit.graph)
        self._excluded = matching(exclude, map(layer_name, self._nodes))
        self._data = {v for v in edit.graph.inputs if not v.is_initializer()}
        self._halved: set[ir.Value] = set()  # were float32, are float16 now
        self._rounded: dict[ir.Value, np.ndarray] = {}  # constants that fit, not yet used
        self._as_half: dict[ir.Value, ir.Value] = {}
        self._as_float: dict[ir.Value, ir.Value] = {}

    def run(self) -> None:
        if self._edit.opset < 7:
            self._context.leave("the model", f"opset {self._edit.opset} is older than 7")
            return
        report_hidden(self._edit.model, {"Conv", "ConvTranspose", "Gemm", "MatMul"}, self._context)
        constants: dict[ir.Value | None, None] = {}
        for n, node in enumerate(self._nodes):
            constants |= dict.fromkeys(node.inputs)
            if not is_standard(node, "Shape", "Size") and not self._data.isdisjoint(node.inputs):
                self._data.update(node.outputs)
            self._visit(node)
            self._context.progress((n + 1) / len(self._nodes))
        for value in list(self._halved):
            for user, index in value.uses():
                if user.graph is not self._edit.graph:  # a subgraph that captures the value
                    self._edit.set_input(user, index, self._float(value))
        self._keep_outputs_float()
        self._edit.drop_unused(constants)

    def _visit(self, node: ir.Node) -> None:
        inputs, outputs = self._plan(node)
        try:
            for read in inputs.values():
                self._check_fits(read)
        except CannotChange as reason:
            self._context.leave(layer_name(node), str(reason))
            inputs, outputs = {}, ()
        halves = {i: self._half(value) for i, value in inputs.items()}
        for i, value in enumerate(node.inputs):
            if i in halves:
                self._edit.set_input(node, i, halves[i])
            elif value in self._halved:
                self._edit.set_input(node, i, self._float(value))
        for output in outputs:
            output.type = ir.TensorType(_HALF)
            self._halved.add(output)

    def _plan(self, node: ir.Node) -> tuple[dict[int, ir.Value], Sequence[ir.Value]]:
        """The inputs and outputs of a node that turn to float16; nothing where it stays."""
        floats = {
            i: value
            for i, value in enumerate(node.inputs)
            if value is not None and self._types.get(value) == _FLOAT
        }
        schema = schema_of(node, self._edit.opset)
        if self._data.isdisjoint(floats.values()) or is_standard(node, *_SILENT):
            return {}, ()
        reason = _KEPT.get(node.op_type)
        if schema is None:
            reason = "it is not an operator of the ONNX standard"
        elif layer_name(node) in self._excluded:
            reason = "excluded"
        elif any(v is not None and v not in self._types for v in (*node.inputs, *node.outputs)):
            reason = "its types are not known"
        elif any(a.type in _BODIES for a in node.attributes.values()):
            reason = "it has subgraphs"
        if schema is not None and reason is None:
            variables = {i: type_variable(schema, i) for i in floats}
            turning = {v for v in variables.values() if v is not None and "tensor(" not in v}
            if turning and all("tensor(float16)" in allowed_types(schema, v) for v in turning):
                return (
                    {i: value for i, value in floats.items() if variables[i] in turning},
                    [
                        output
                        for i, output in enumerate(node.outputs)
                        if self._types.get(output) == _FLOAT
                        and type_variable(schema, i, output=True) in turning
                    ],
                )
            reason = f"{node.op_type} knows no float16 at opset {self._edit.opset}"
        self._context.leave(layer_name(node), str(reason))
        return {}, ()

    def _check_fits(self, value: ir.Value) -> None:
        tensor = constant(value)
        if tensor is not None and value not in self._as_half:
            self._rounded[value] = half(tensor.numpy())

    def _half(self, value: ir.Value) -> ir.Value:
        """The float16 twin of a float32 value."""
        if value in self._halved:
            return value
        if value not in self._as_half:
            source = value.producer()
            if value in self._rounded:
                twin = self._edit.initializer(f"{value.name}.float16", self._rounded.pop(value))
            elif source is not None and _widens(source, self._types):
                twin = source.inputs[0] or value
            else:
                twin = self._cast(value, _HALF)
            self._as_half[value] = twin
        return self._as_half[value]

    def _float(self, value: ir.Value) -> ir.Value:
        if value not in self._as_float:
            self._as_float[value] = self._cast(value, _FLOAT)
        return self._as_float[value]

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        name = "float16" if dtype == _HALF else "float32"
        cast = self._edit.node("Cast", [value], f"{value.name}/{name}", like=value, to=dtype.value)
        cast.type = ir.TensorType(dtype)
        return cast

    def _keep_outputs_float(self) -> None:
        """Cast the model's outputs back, under the names that they had."""
        outputs = self._edit.graph.outputs
        for index, inner in enumerate(list(outputs)):
            if inner in self._halved:
                outer = self._float(inner)
                name = inner.name
                inner.name, outer.name = self._edit.fresh(f"{name}/float16"), name
                outputs[index] = outer


_BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _widens(node: ir.Node, types: dict[ir.Value, ir.DataType]) -> bool:
    """Whether a node only turns float16 to float32."""
    source = node.inputs[0] if node.inputs else None
    return is_standard(node, "Cast") and source is not None and types.get(source) == _HALF
