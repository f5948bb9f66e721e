"""Structural checks of a graph, before any native code sees it."""

from __future__ import annotations

import onnx


def check_graph(proto: onnx.ModelProto, *, where: str) -> None:
    """Raise InvalidInput or Unsupported when the graph is not well-formed."""
