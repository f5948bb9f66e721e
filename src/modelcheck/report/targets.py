"""What `modelcheck targets` found, on a screen and as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcheck.errors import printable
from modelcheck.report.document import plain
from modelcheck.verification.survey import Availability, Interpreter


def survey_json(found: Sequence[Interpreter]) -> dict[str, Any]:
    """Versioned plain values."""
    return {"schema": "modelcheck.targets/1", "interpreters": plain(found)}


def print_interpreter(found: Interpreter, console: Console) -> None:
    """The build's facts, then one row a target."""
    name = "this interpreter" if found.python is None else printable(found.python, limit=200)
    if found.opencv is None or found.build is None:
        console.print(Text.assemble((name, "bold"), "   ", (found.reason, "red")))
        console.print(Text(f"  {found.remedy}"), soft_wrap=True)
        console.print()
        return
    opencv, build = found.opencv, found.build
    console.print(
        Text.assemble((name, "bold"), f"   OpenCV {opencv.version}, Python {opencv.python}, "
                      f"numpy {opencv.numpy}")
    )  # fmt: skip
    facts = Table.grid(padding=(0, 2))
    facts.add_row("  CUDA", build.cuda or "not in this build")
    facts.add_row("  cuDNN", build.cudnn or "not in this build")
    facts.add_row("  OpenCL device", "none" if build.opencl is None else printable(build.opencl))
    facts.add_row("  CPU features", f"{build.features}   ({opencv.cpus} cores)")
    console.print(facts, style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in ("TARGET", "", "RAN ON, OR WHY NOT"):
        table.add_column(column, no_wrap=column != "RAN ON, OR WHY NOT", overflow="fold")
    for availability in found.targets:
        table.add_row(*_row(availability))
    console.print(table)
    console.print()


def _row(found: Availability) -> tuple[Text, Text, Text]:
    target = found.target
    spelled = str(target.device) if target.engine == "auto" else f"{target.device}:{target.engine}"
    if found.placement is not None:
        where = Text(found.placement.actual)
        if found.placement.simulated:
            where.append(" (a CPU: right or wrong can be judged there, speed cannot)")
        return Text(spelled), Text("available", style="green"), where
    why = Text(found.reason.rstrip("."))
    why.append(f". {found.remedy}" if found.remedy else ".", style="dim")
    return Text(spelled), Text("not available", style="magenta"), why
