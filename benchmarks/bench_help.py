"""How long `modelcheck --help` takes, beside the import of two libraries.

python benchmarks/bench_help.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from measure import cost_of, interleaved, report


def main() -> None:
    tool = str(Path(sys.executable).with_name("modelcheck"))
    imports = "import numpy, typer"
    costs = interleaved(
        {
            "modelcheck --help": lambda: cost_of([tool, "--help"]),
            "import numpy, typer": lambda: cost_of([sys.executable, "-c", imports]),
        },
        rounds=11,
    )
    report("--help (goal: under 0.2 s)", costs, of="modelcheck --help", to="import numpy, typer")


if __name__ == "__main__":
    main()
