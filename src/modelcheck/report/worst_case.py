"""What the search for worst inputs found, in a few lines a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from modelcheck import units
from modelcheck.judge import FoundInput, WorstCaseEvidence, describe_search
from modelcheck.verification import TargetResult


def worst_case_lines(targets: Sequence[TargetResult]) -> Iterator[Text]:
    """One line a target that was searched, and one for the input that was found."""
    for target in targets:
        evidence = target.worst_case
        if evidence is None:
            continue
        name = target.settings.target.name
        yield Text(f"{name}: worst-case search: {describe_search(evidence)}{_replayed(evidence)}")
        if evidence.stopped:
            yield Text(f"  stopped after {evidence.tried} of {evidence.asked}: {evidence.stopped}")
        if evidence.worst is not None:
            yield Text(f"  worst: {_found(evidence.worst)}")
        if evidence.shrunk is not None:
            yield Text(f"  plain: {_found(evidence.shrunk)}")
        if evidence.file:
            yield Text(f"  saved in {evidence.file}, which the next run tries first", style="dim")


def _found(found: FoundInput) -> str:
    output = f"output '{found.score.output}' off by " if found.score.output else ""
    return f"{output}{units.scientific(found.score.error)}, {found.text} ({found.found_by})"


def _replayed(evidence: WorstCaseEvidence) -> str:
    if not evidence.replayed:
        return ""
    worst = units.scientific(evidence.replayed_worst)
    return f"; {units.plural(evidence.replayed, 'saved input')} replayed first, worst {worst}"
