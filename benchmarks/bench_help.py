"""How long `modelcheck --help` takes, beside a bare Python start.

python benchmarks/bench_help.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from measure import cost_of, interleaved, report


def main() -> None:
    tool = str(Path(sys.executable).with_name("modelcheck"))
    costs = interleaved(
        {
            "modelcheck --help": lambda: cost_of([tool, "--help"]),
            "python -c pass": lambda: cost_of([sys.executable, "-c", "pass"]),
        },
        rounds=11,
    )
    report("--help (goal: under 0.2 s)", costs, of="modelcheck --help", to="python -c pass")


if __name__ == "__main__":
    main()
