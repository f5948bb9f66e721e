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
    from modelcheck.cli.screen import console, print_json
    from modelcheck.report.inspection import inspection_json, print_inspection

    loaded = gate.load_model(model)
    found = gate.inspect_model(loaded, parse_shapes(shape))
    if json:
        print_json(inspection_json(found))
    else:
        print_inspection(found, console())
    return 0
