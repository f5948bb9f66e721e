"""The lines under the tables: proofs, recalled outputs, known faults, accuracy, what would pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.text import Text

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.judge import Check, Outcome
from modelcheck.ledger import SINCE_LAST
from modelcheck.report.tables import agreements
from modelcheck.targets import listed_layers
from modelcheck.verification import TargetResult

# Of two classes even a coin meets one of so many.
_ENOUGH_LABELS = 16


def placements(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """The proof where a model ran on another device than the CPU, and what fell back."""
    for target in targets:
        for name, placement in (("original", target.original), ("candidate", target.candidate)):
            if placement is None or not placement.proven or target.settings.target.device.is_cpu:
                continue
            fell_back = ""
            if placement.partial:
                share = placement.fallback_share
                part = "an unknown part" if share is None else units.percent(share)
                fell_back = f"; PARTIAL: {listed_layers(placement)} fell back, {part} of the MACs"
            yield Text(
                f"{placement.requested}, {name}: proof: {', '.join(placement.proof)}{fell_back}"
            )


def recalled(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """Whose original was not run again."""
    names = [target.settings.target.name for target in targets if target.recalled]
    if names:
        yield Text(
            f"The original's outputs are recalled from an earlier run on {'; '.join(names)}.",
            style="dim",
        )


def accuracies(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """Accuracy by the labels, where there are any: accuracy alone would hide flips."""
    for target in targets:
        for found in agreements(target)[:1]:
            before, after = found.label_correct_expected, found.label_correct_actual
            if before is not None and after is not None and found.labelled:
                yield Text(
                    f"{target.settings.target.name}: top-1 accuracy on {found.labelled} labels "
                    f"{units.percent(before / found.labelled)} in float32, "
                    f"{units.percent(after / found.labelled)} here"
                )
                if before == 0 and found.labelled >= _ENOUGH_LABELS:
                    yield Text(
                        f"{target.settings.target.name}: not one label is met: the preprocessing, "
                        "or the numbering of the labels, is not the model's.",
                        style="yellow",
                    )


def passing(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """For each target what was asked, and the tightest limits that would pass."""
    for target in targets:
        evidence = target.equivalence
        if evidence is None:
            continue
        tightest = (f"{key} {value:g}" for key, value in evidence.tightest.items())
        yield Text(
            f"{target.settings.target.name}: asked {evidence.limit}; {evidence.noise}; "
            f"would pass {' or '.join(tightest) or 'nothing'}"
        )


def kept_up(checks: Iterable[Check]) -> Iterator[Text]:
    """What was compared with the last release, and is no worse."""
    for check in checks:
        if check.kind == SINCE_LAST and check.outcome is Outcome.PASS:
            yield Text(printable(f"no worse than before: {check.message}", limit=2000))


def known(targets: tuple[TargetResult, ...]) -> Iterator[Text]:
    """What was known beforehand, each fault once for all targets that share it."""
    places: dict[str, list[str]] = {}
    severities: dict[str, str] = {}
    for target in targets:
        for fault in target.known:
            if fault.foreseeable:
                said = fault.describe()
                severities[said] = fault.finding.pattern.severity
                places.setdefault(said, []).append(target.settings.target.name)
    for said, names in places.items():
        head = f"KNOWN {severities[said]} "
        yield Text.assemble((head, "yellow"), f"on {'; '.join(names)}: {said}")
