"""`modelcheck inspect`: what a model is made of, and what in it each engine gets wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    model: Annotated[Path, typer.Argument(help="An ONNX model.")],
    shape: Annotated[
        list[str] | None, typer.Option(metavar="INPUT=1x3x224x224", help="Fix a free input shape.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:
    """Show inputs, outputs, opset, parameters, size, MACs, sparsity, operators and known faults."""
    from modelcheck import gate
    from modelcheck.cli.request import parse_shapes
    from modelcheck.report.inspection import print_inspection, to_json

    loaded = gate.load_model(model)
    found = gate.inspect_model(loaded, parse_shapes(shape))
    if json:
        print(to_json(found))
    else:
        print_inspection(found, model)
    return 0
