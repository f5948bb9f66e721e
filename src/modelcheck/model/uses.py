"""Who reads a value of a graph."""

from __future__ import annotations

import onnx_ir as ir


def only_user(value: ir.Value) -> ir.Node | None:
    """The node that reads this value, when nothing else does, and it is of the same graph."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    user = next(iter(uses)).node
    producer = value.producer()
    return user if producer is None or user.graph is producer.graph else None
