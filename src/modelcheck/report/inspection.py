"""What a model is made of, on a screen and as JSON values."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.model.inspection import Inspection, Layer
from modelcheck.model.patterns import Finding
from modelcheck.report.document import plain

_SHOWN_LAYERS = 40
_SHOWN_NODES = 4


def inspection_json(found: Inspection) -> dict[str, Any]:
    """Versioned plain values; a pattern stands as its text, without its matcher."""
    known_wrong = [
        {
            "id": f.pattern.id,
            "what": f.pattern.what,
            "engines": list(f.pattern.engines),
            "severity": plain(f.pattern.severity),
            "remedy": f.pattern.remedy,
            "nodes": list(f.nodes),
        }
        for f in found.known_wrong
    ]
    fields = {k: plain(getattr(found, k)) for k in found.__dataclass_fields__ if k != "known_wrong"}
    return {"schema": "modelcheck.inspection/1", **fields, "known_wrong": known_wrong}


def print_inspection(found: Inspection, console: Console) -> None:
    """Facts, the layers with most work, operators, and what engines are known to get wrong."""
    console.print(Text.assemble((printable(found.name), "bold"), f"   {found.digest[:8]}"))
    facts = Table.grid(padding=(0, 3, 0, 0))
    for label, values in (("input", found.inputs), ("output", found.outputs)):
        for spec in values:
            facts.add_row(label, Text(printable(spec.describe(), limit=120)))
    opsets = ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in found.opsets.items())
    facts.add_row("opset", Text(f"{opsets}   IR {found.ir_version}   {printable(found.producer)}"))
    macs = "unknown" if found.macs is None else units.count(found.macs)
    facts.add_row(
        "size",
        f"{units.count(found.parameters)} parameters   {units.size(found.nbytes)}   {macs} MACs",
    )
    operators = ", ".join(f"{name} {n}" for name, n in found.operators.items())
    facts.add_row("operators", Text(printable(operators, limit=1000)))
    console.print(facts)
    if found.layers:
        console.print()
        console.print(_layers(found.layers))
    console.print()
    if not found.known_wrong:
        console.print("Nothing in it is known to go wrong on cv2.dnn.")
    for finding in found.known_wrong:
        console.print(_known(finding))


def _layers(layers: tuple[Layer, ...]) -> Table:
    """The layers with weights, in order; of a long net those with most work."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in ("LAYER", "OPERATOR", "WEIGHT", "TYPE"):
        table.add_column(name)
    for name in ("MACS", "ZEROS"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = sorted(layers, key=lambda layer: -(layer.macs or 0))[:_SHOWN_LAYERS]
    for layer in (each for each in layers if each in shown):
        shape = "" if layer.weight_shape is None else "×".join(map(str, layer.weight_shape))
        table.add_row(
            Text(printable(layer.name, limit=40)),
            layer.operator,
            shape,
            layer.weight_dtype or "",
            "?" if layer.macs is None else units.count(layer.macs),
            "" if layer.sparsity is None else units.percent(layer.sparsity),
        )
    if len(layers) > len(shown):
        table.add_row(f"and {len(layers) - len(shown)} with less work")
    return table


def _known(finding: Finding) -> Text:
    pattern = finding.pattern
    nodes = ", ".join(printable(n, limit=40) for n in finding.nodes[:_SHOWN_NODES])
    more = len(finding.nodes) - _SHOWN_NODES
    return Text.assemble(
        (str(pattern.severity.value).upper(), "yellow"),
        f" on {', '.join(pattern.engines)}: {pattern.what}\n"
        f"    at {nodes}{f' and {more} more' if more > 0 else ''}\n"
        f"    {pattern.remedy}",
    )
