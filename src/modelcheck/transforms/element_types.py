"""The element type of every value of a graph, from the ONNX operators' own type rules.

Files seldom say the types of inner values. Each operator's schema names its types by variables
('T') or outright ('tensor(float)'); a variable gets the type of the input that carries it.
"""

from __future__ import annotations

import functools

import onnx
import onnx_ir as ir

from modelcheck.transforms.graph import constant

_BY_ATTRIBUTE = {
    "Cast": "to",
    "EyeLike": "dtype",
    "Multinomial": "dtype",
    "RandomNormal": "dtype",
    "RandomNormalLike": "dtype",
    "RandomUniform": "dtype",
    "RandomUniformLike": "dtype",
    "QuantizeLinear": "output_dtype",
}
_FLOAT_BY_DEFAULT = {"ConstantOfShape", "RandomNormal", "RandomUniform"}

Types = dict[ir.Value, ir.DataType]


def element_types(model: ir.Model) -> Types:
    """The types of all values of the main graph that can be known, in one pass."""
    types: Types = {}
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        _learn(types, value)
    for node in model.graph:
        for value in node.outputs:
            _learn(types, value)
        if any(output not in types for output in node.outputs):
            _infer(types, node, int(model.graph.opset_imports.get(node.domain, 1)))
    return types


def schema_of(node: ir.Node, version: int) -> onnx.defs.OpSchema | None:
    """The operator's schema at an opset version; None for what is not of the ONNX standard."""
    return _schema(node.op_type, version) if node.domain in ("", "ai.onnx") else None


def type_variable(schema: onnx.defs.OpSchema, index: int, *, output: bool = False) -> str | None:
    """The type, or type variable, of an input or output; the last formal one may repeat."""
    formal = schema.outputs if output else schema.inputs
    if not formal:
        return None
    return str(formal[min(index, len(formal) - 1)].type_str)


def allowed_types(schema: onnx.defs.OpSchema, variable: str) -> frozenset[str]:
    """The types that a variable may stand for; a type outright allows itself."""
    for constraint in schema.type_constraints:
        if constraint.type_param_str == variable:
            return frozenset(constraint.allowed_type_strs)
    return frozenset({variable})


@functools.cache
def _schema(op_type: str, version: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return None


def _learn(types: Types, value: ir.Value) -> None:
    tensor = constant(value)
    if tensor is not None:
        types[value] = tensor.dtype
    elif value.dtype is not None and isinstance(value.type, ir.TensorType):
        types[value] = value.dtype


def _infer(types: Types, node: ir.Node, version: int) -> None:
    schema = schema_of(node, version)
    if schema is None:
        return
    bound: dict[str | None, ir.DataType] = {
        type_variable(schema, i): types[value]
        for i, value in enumerate(node.inputs)
        if value is not None and value in types
    }
    by_attribute = _BY_ATTRIBUTE.get(node.op_type)
    for index, output in enumerate(node.outputs):
        if output in types:
            continue
        if by_attribute is not None and by_attribute in node.attributes:
            types[output] = ir.DataType(node.attributes[by_attribute].as_int())
        elif node.op_type == "ConstantOfShape" and "value" in node.attributes:
            types[output] = node.attributes["value"].as_tensor().dtype
        elif node.op_type in _FLOAT_BY_DEFAULT:
            types[output] = ir.DataType.FLOAT
        else:
            found = _output_type(schema, index, bound)
            if found is not None:
                types[output] = found


def _output_type(
    schema: onnx.defs.OpSchema, index: int, bound: dict[str | None, ir.DataType]
) -> ir.DataType | None:
    variable = type_variable(schema, index, output=True)
    if variable is None:
        return None
    if variable in bound:
        return bound[variable]
    allowed = allowed_types(schema, variable)
    if len(allowed) != 1:
        return None
    (only,) = allowed
    name = only.removeprefix("tensor(").removesuffix(")").upper()
    return ir.DataType[name] if name in ir.DataType.__members__ else None
