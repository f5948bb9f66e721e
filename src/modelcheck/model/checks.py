"""Structural checks of a graph, before any native code sees it.

In an order in which each check may rely on those before it: text is text, versions are known,
names are defined, tensors hold their data, and only then operators and their attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx

from modelcheck.errors import InvalidInput, Unsupported, printable
from modelcheck.model.checks_attributes import check_attributes
from modelcheck.model.checks_names import (
    check_function_names,
    check_functions,
    check_graph_names,
    domain_of,
    function_id,
    node_place,
)
from modelcheck.model.checks_operators import check_operator
from modelcheck.model.checks_tensors import check_sparse, check_tensor, check_value_type
from modelcheck.model.checks_text import check_text
from modelcheck.model.checks_values import Body

# The first IR version whose files must say which opset they use.
_OPSET_IMPORT_SINCE = 3
_NEWER = "Export with --opset {} or lower, or install a newer onnx."


def check_graph(
    proto: onnx.ModelProto,
    *,
    where: str,
    payload_bytes: Mapping[int, int] | None = None,
    skeleton: bool = False,
) -> None:
    """Raise InvalidInput or Unsupported when the graph is not well-formed.

    `payload_bytes` are the sizes of raw data taken out of `proto`, by index of the initializer.
    `skeleton` says that `proto` is a Model's own: its large initializers have no data here, and
    its text has been through this before.
    """
    if not skeleton:
        check_text(proto, where)
    opsets = _check_versions(proto, where)
    check_functions(proto.functions, where)
    functions = frozenset(map(function_id, proto.functions))
    if not proto.graph.output:
        raise InvalidInput("has no outputs", where=where, remedy="Export the model again.")
    check_graph_names(proto.graph, where)
    payloads = payload_bytes or {}
    for index, tensor in enumerate(proto.graph.initializer):
        check_tensor(
            tensor, f"{where}, initializer '{printable(tensor.name)}'",
            payload=payloads.get(index), deferred=skeleton,
        )  # fmt: skip
    _check_boundary(proto.graph, where, main=True)
    _check_graph_body(proto.graph, Body(where, opsets, functions))
    for function in proto.functions:
        place = f"{where}, function '{printable(function.name)}'"
        check_function_names(function, place)
        imports = _opsets(function.opset_import, place)
        body = Body(place, imports, functions)
        body.learn(function.value_info, (), function.node)
        _check_nodes(function.node, body)


def _check_versions(proto: onnx.ModelProto, where: str) -> dict[str, int]:
    if proto.ir_version < 1:
        raise InvalidInput(
            "says no IR version", where=where, remedy="Save the model with onnx.save."
        )
    if proto.ir_version > onnx.IR_VERSION:
        raise Unsupported(
            f"has IR version {proto.ir_version}; the installed onnx knows {onnx.IR_VERSION}",
            where=where, remedy="Install a newer onnx, or save the model with an older one.",
        )  # fmt: skip
    if not proto.opset_import and proto.ir_version < _OPSET_IMPORT_SINCE:
        return {"": 1}
    opsets = _opsets(proto.opset_import, where)
    if not opsets:
        raise InvalidInput("imports no operator set", where=where, remedy="Export the model again.")
    return opsets


def _opsets(imports: Iterable[onnx.OperatorSetIdProto], where: str) -> dict[str, int]:
    newest = {
        "": onnx.defs.onnx_opset_version(),
        "ai.onnx.ml": onnx.helper.VERSION_TABLE[-1][3],
    }
    opsets: dict[str, int] = {}
    for entry in imports:
        domain, version = domain_of(entry), entry.version
        shown = f"opset {version}" + (f" of {printable(domain)}" if domain else "")
        if version < 1:
            raise InvalidInput(
                f"imports {shown}; opsets start at 1", where=where, remedy="Export the model again."
            )
        if version > newest.get(domain, version):
            raise Unsupported(
                f"uses {shown}; the installed onnx knows up to {newest[domain]}",
                where=where, remedy=_NEWER.format(newest[domain]),
            )  # fmt: skip
        if opsets.setdefault(domain, version) != version:
            raise InvalidInput(
                f"imports both opset {opsets[domain]} and {shown}", where=where,
                remedy="Export the model again; only one of the two can be meant.",
            )  # fmt: skip
    return opsets


def _check_boundary(graph: onnx.GraphProto, where: str, *, main: bool) -> None:
    """What enters and leaves the network are tensors of known type; a branch may leave it open."""
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            place = f"{where}, {kind} '{printable(value.name)}'"
            check_value_type(value, place, boundary=main)


def _check_graph_body(graph: onnx.GraphProto, body: Body) -> None:
    for value in graph.value_info:
        place = f"{body.where}, value '{printable(value.name)}'"
        check_value_type(value, place, boundary=False)
    for sparse in graph.sparse_initializer:
        place = f"{body.where}, sparse initializer '{printable(sparse.values.name)}'"
        check_sparse(sparse, place)
    body.learn((*graph.input, *graph.output, *graph.value_info), graph.initializer, graph.node)
    _check_nodes(graph.node, body)


def _check_nodes(nodes: Sequence[onnx.NodeProto], body: Body) -> None:
    for node in nodes:
        for attribute in node.attribute:
            _check_attribute_tensors(attribute, node, body)
    for node in nodes:
        check_operator(node, body)
        check_attributes(node, body)
        for attribute in node.attribute:
            for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                _check_subgraph(graph, node, body)


def _check_attribute_tensors(
    attribute: onnx.AttributeProto, node: onnx.NodeProto, body: Body
) -> None:
    kind = attribute.type
    if kind in (onnx.AttributeProto.TENSOR, onnx.AttributeProto.TENSORS):
        for tensor in (*((attribute.t,) if attribute.HasField("t") else ()), *attribute.tensors):
            check_tensor(tensor, f"{body.place(node)}, {printable(attribute.name)}")
    elif kind in (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS):
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            check_sparse(sparse, f"{body.place(node)}, {printable(attribute.name)}")


def _check_subgraph(graph: onnx.GraphProto, node: onnx.NodeProto, outer: Body) -> None:
    where = f"{node_place(outer.where, node)}, graph '{printable(graph.name)}'"
    for tensor in graph.initializer:
        check_tensor(tensor, f"{where}, initializer '{printable(tensor.name)}'")
    _check_boundary(graph, where, main=False)
    inner = Body(where, outer.opsets, outer.functions, outer)
    _check_graph_body(graph, inner)
