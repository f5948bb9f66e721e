"""How often a pair was judged before: who runs until it is green, shall be seen to."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.judge import Outcome
from modelcheck.report.document import Report


def earlier_lines(report: Report) -> Iterator[str]:
    """'run 4 of this pair; earlier: 2 FAIL, 1 INCONCLUSIVE'; targets with the same on one line."""
    by_text: dict[str, list[str]] = {}
    noun = "model" if report.candidate is None else "pair"
    for target in report.verification.targets:
        name = target.settings.target.name
        counts = report.earlier.get(name, {})
        if not counts:
            continue
        listed = ", ".join(f"{counts[o]} {o}" for o in Outcome if counts.get(o))
        line = f"run {sum(counts.values()) + 1} of this {noun}; earlier: {listed}"
        by_text.setdefault(line, []).append(name)
    for line, names in by_text.items():
        alone = len(names) == len(report.verification.targets)
        yield line if alone else f"{line} ({'; '.join(names)})"
