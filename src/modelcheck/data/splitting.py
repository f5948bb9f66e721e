"""Which samples calibrate and which are judged: never the same ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelcheck.data.samples import Samples
from modelcheck.errors import NotEnoughEvidence, UsageError
from modelcheck.units import plural

MAX_CALIBRATION = 100
MAX_PART = 3  # calibration takes at most one part in three
MAX_CHOOSING = 32  # samples that a search chooses by


@dataclass(frozen=True)
class SplitSamples:
    """The samples to judge by and to calibrate with; `text` says so on one line."""

    judged: Samples
    calibration: Samples | None
    dropped: int
    text: str


def split(
    data: Samples,
    calibration: Samples | None,
    needs_calibration: bool,
    *,
    allow_synthetic: bool = False,
) -> SplitSamples:
    """Part samples into calibration and judging, disjoint by content.

    Without `calibration`, `data` is split: the samples with the smallest SHA-256 calibrate, at
    most a third and at most 100, so the choice does not depend on names or order, and equal
    samples stay together. With it, samples equal to one of it are dropped from judging.
    Raises NotEnoughEvidence when nothing is left, UsageError for synthetic calibration.
    """
    data, equal = _distinct(data)
    if not needs_calibration:
        text = f"{plural(data.count, 'sample')} judged{equal}"
        if calibration is not None:
            text += "; nothing calibrates, so calibration data are unused"
        return SplitSamples(data, None, 0, text)
    source = data if calibration is None else calibration
    if source.synthetic and not allow_synthetic:
        raise UsageError(
            "calibrating on synthetic inputs fits the model to noise",
            where="calibration",
            remedy="Give representative samples with --data or --calibration-data, or accept it "
            "with --allow-synthetic.",
        )
    parts = _halve(data) if calibration is None else _without(data, calibration)
    return replace(parts, text=parts.text + equal)


def _distinct(data: Samples) -> tuple[Samples, str]:
    """Each sample once: equal ones are no further evidence. With a text if there were any."""
    if data.synthetic:
        return data, ""
    first = list({digest: i for i, digest in reversed(list(enumerate(data.digests())))}.values())
    if len(first) == data.count:
        return data, ""
    equal = plural(data.count - len(first), "equal sample")
    return data.select(sorted(first)), f"; {equal} left out, since each counts once"


def _halve(data: Samples) -> SplitSamples:
    digests = data.digests()
    room = min(data.count // MAX_PART, MAX_CALIBRATION)
    equal: dict[str, list[int]] = {}
    for index, digest in enumerate(digests):
        equal.setdefault(digest, []).append(index)
    chosen: set[int] = set()
    for digest in sorted(equal):
        if len(chosen) + len(equal[digest]) <= room:
            chosen.update(equal[digest])
    if not chosen:
        raise NotEnoughEvidence(
            f"{plural(data.count, 'sample')} ({len(equal)} different) cannot be split into "
            "calibration and judging",
            where=data.origin,
            remedy="Give more samples, or separate ones with --calibration-data.",
        )
    judged = data.select(i for i in range(data.count) if i not in chosen)
    part = data.select(sorted(chosen))
    text = (
        f"{part.count:,} of {plural(data.count, 'sample')} calibrate, chosen by a hash of their "
        f"content; the other {judged.count:,} are judged"
    )
    return SplitSamples(judged, part, 0, text)


def _without(data: Samples, calibration: Samples) -> SplitSamples:
    if data.digest_of == calibration.digest_of:
        known, mine = set(calibration.digests()), data.digests()
    else:
        known, mine = set(calibration.array_digests()), data.array_digests()
    keep = [i for i, digest in enumerate(mine) if digest not in known]
    dropped = data.count - len(keep)
    if not keep:
        raise NotEnoughEvidence(
            f"all {plural(data.count, 'sample')} are calibration samples too, so none is left to "
            "judge by",
            where=data.origin,
            remedy="Give other samples with --data or with --calibration-data.",
        )
    judged = data.select(keep) if dropped else data
    text = f"{plural(calibration.count, 'sample')} calibrate, {judged.count:,} are judged"
    if dropped:
        text += f"; {dropped:,} that are in both were dropped from judging"
    return SplitSamples(judged, calibration, dropped, text)


@dataclass(frozen=True)
class ThreeSets:
    """Samples to calibrate with, to choose by and to judge by, no one in two of them."""

    calibration: Samples | None
    choosing: Samples
    verdict: Samples
    text: str


def split_in_three(
    data: Samples, calibration: Samples | None, *, calibrate: bool, allow_synthetic: bool = False
) -> ThreeSets:
    """Part samples so that nobody is judged by what a choice was fitted to.

    `calibrate` False: nothing calibrates, and synthetic inputs will do. As `split`, then the
    samples with the smallest SHA-256 of those left choose: at most a third, at most 32.
    Raises NotEnoughEvidence where a set would be empty, and as `split` does.
    """
    first = split(data, calibration, calibrate, allow_synthetic=allow_synthetic)
    left = first.judged
    room = min(left.count // MAX_PART, MAX_CHOOSING)
    if not room:
        split_too = calibrate and calibration is None
        sets = "calibrate with, to choose by and to judge by" if split_too else (
            "choose by and to judge by"
        )  # fmt: skip
        raise NotEnoughEvidence(
            f"{plural(data.count, 'sample')} cannot be split into samples to {sets}",
            where=data.origin,
            remedy=f"Give at least {MAX_PART + 1 if split_too else MAX_PART} different ones.",
        )
    digests = left.digests()
    chosen = set(sorted(range(left.count), key=lambda i: (digests[i], i))[:room])
    choosing = left.select(sorted(chosen))
    verdict = left.select(i for i in range(left.count) if i not in chosen)
    text = f"{plural(choosing.count, 'sample')} to choose by, {verdict.count:,} to judge by"
    if first.calibration is not None:
        text = f"{plural(first.calibration.count, 'sample')} to calibrate with, {text}"
    return ThreeSets(first.calibration, choosing, verdict, f"{text}, by a hash of their content")
