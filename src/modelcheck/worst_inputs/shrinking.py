"""The smallest and plainest variant that still does it.

Light or contrast alone, if that does it; else fewer edits, fewer places (outside of a region all
goes back to the sample) and plainer amounts. Like the searches a generator: it yields variants
and is sent whether each still does it; the best so far is the last one that did.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

from modelcheck.worst_inputs.edits import Edit, Region, Shift, inner_sizes
from modelcheck.worst_inputs.neighbourhood import Neighbourhood, Variant
from modelcheck.worst_inputs.proposals import openings

Shrinking = Generator[Variant, bool, None]
_PLAIN_AMOUNTS = (1.0, 0.5, 0.25, 0.1)


def shrink(near: Neighbourhood, variant: Variant) -> Shrinking:
    """Shrink a variant that does it; ends where nothing simpler does."""
    variant = yield from _one_edit(near, variant)
    variant = yield from _fewer_edits(variant)
    variant = yield from _fewer_places(near, variant)
    variant = yield from _fewer_edits(variant)
    yield from _plainer(variant)


def _one_edit(near: Neighbourhood, variant: Variant) -> Generator[Variant, bool, Variant]:
    """Light or contrast, in place of everything."""
    if len(variant.edits) > 1:
        for edit in openings(near.shapes(variant.sample)):
            tried = replace(variant, edits=(edit,))
            if (yield tried):
                return tried
    return variant


def _fewer_places(near: Neighbourhood, variant: Variant) -> Generator[Variant, bool, Variant]:
    """Halve the region of change from each side, as long as that is possible."""
    for name, shape in near.shapes(variant.sample).items():
        region: Region = tuple((0, n) for n in inner_sizes(shape))
        others = tuple(pair for pair in variant.within if pair[0] != name)
        smaller = True
        while smaller and any(edit.input == name for edit in variant.edits):
            smaller = False
            for half in list(_halves(region)):
                tried = replace(variant, within=(*others, (name, half)))
                if (yield tried):
                    variant, region, smaller = tried, half, True
                    break
    return variant


def _fewer_edits(variant: Variant) -> Generator[Variant, bool, Variant]:
    """Leave out runs of edits, long ones first (delta debugging)."""
    length = len(variant.edits)
    while length:
        start = 0
        while start < len(variant.edits):
            rest = variant.edits[:start] + variant.edits[start + length :]
            tried = replace(variant, edits=rest)
            if rest and (yield tried):
                variant = tried
            else:
                start += length
        length = length // 2
    return variant


def _plainer(variant: Variant) -> Generator[Variant, bool, Variant]:
    """Replace each edit by the plainest that still does it."""
    for i in range(len(variant.edits)):
        for edit in _plain_forms(variant.edits[i]):
            tried = replace(variant, edits=(*variant.edits[:i], edit, *variant.edits[i + 1 :]))
            if (yield tried):
                variant = tried
                break
    return variant


def _plain_forms(edit: Edit) -> Iterator[Edit]:
    """Simpler edits in place of one: plain shifts for noise, all channels, round amounts."""
    sign = 1.0 if edit.amount > 0 else -1.0
    if not isinstance(edit, Shift):
        for amount in (sign, -sign):
            yield Shift(edit.input, amount)
    if isinstance(edit, Shift) and edit.channel is not None:
        yield replace(edit, channel=None)
    for amount in reversed(_PLAIN_AMOUNTS):
        if abs(edit.amount) != amount:
            yield replace(edit, amount=sign * amount)


def _halves(region: Region) -> Iterator[Region]:
    """The region without either half of its longest axes first."""
    axes = sorted(range(len(region)), key=lambda axis: region[axis][0] - region[axis][1])
    for axis in axes:
        start, stop = region[axis]
        middle = (start + stop) // 2
        if middle in (start, stop):
            continue
        for part in ((start, middle), (middle, stop)):
            yield (*region[:axis], part, *region[axis + 1 :])
