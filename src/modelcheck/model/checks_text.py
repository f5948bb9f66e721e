"""Text is text: protobuf hands out bytes where a file's string is not UTF-8."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from modelcheck.errors import InvalidInput, printable


def check_text(proto: onnx.ModelProto, where: str) -> None:
    """Raise InvalidInput when a name or a documentation string is not UTF-8."""
    for field, value in proto.ListFields():
        if field.name != "graph":
            _check(field, value, where)
    _check_graph(proto.graph, where)


def _check_graph(graph: onnx.GraphProto, where: str) -> None:
    for field, value in graph.ListFields():
        if field.name not in ("node", "initializer"):
            _check(field, value, where)
    for tensor in graph.initializer:
        _check_strings((tensor.name, tensor.doc_string), where)
    # The short way for what a model has thousands of.
    for node in graph.node:
        _check_strings(
            (node.name, node.op_type, node.domain, node.overload, node.doc_string), where
        )
        _check_strings(node.input, where)
        _check_strings(node.output, where)
        for attribute in node.attribute:
            _check_strings((attribute.name, attribute.doc_string, attribute.ref_attr_name), where)
            if attribute.HasField("g"):
                _check_graph(attribute.g, where)
            for subgraph in attribute.graphs:
                _check_graph(subgraph, where)
        for entry in node.metadata_props:
            _check_strings((entry.key, entry.value), where)


def _check_strings(values: Iterable[object], where: str) -> None:
    for value in values:
        if type(value) is not str:
            raise InvalidInput(
                f"a name is not UTF-8 text: '{printable(repr(value)[2:-1])}'", where=where,
                remedy="The file is corrupt, or was written by a broken tool; export it again.",
            )  # fmt: skip


def _check(field: FieldDescriptor, value: object, where: str) -> None:
    if field.type == FieldDescriptor.TYPE_STRING:
        single = isinstance(value, (str, bytes))
        _check_strings([value] if single else value, where)  # type: ignore[arg-type]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        messages = [value] if isinstance(value, Message) else value
        for message in messages:  # type: ignore[attr-defined]
            for inner_field, inner in message.ListFields():
                _check(inner_field, inner, where)
