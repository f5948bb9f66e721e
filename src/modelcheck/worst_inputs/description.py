"""A found input in words: 'sample 17 with 3 values changed: [0,12,8] 0.12 -> 0.98'."""

from __future__ import annotations

import numpy as np

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.worst_inputs.edits import Array, Contrast, Edit, Noise, Region
from modelcheck.worst_inputs.neighbourhood import Neighbourhood, Variant

_LISTED = 3


def describe_change(near: Neighbourhood, variant: Variant, name: str) -> str:
    """What makes a variant differ from its sample, which is called `name`."""
    source, found = near.samples[variant.sample], near.arrays(variant)
    changed = {n: found[n] != array for n, array in source.items()}
    total = sum(int(mask.sum()) for mask in changed.values())
    name = printable(name, limit=60)
    if not total:
        return f"{name} as it is"
    several = len(source) > 1
    if total <= _LISTED:
        values = [
            text
            for n, mask in changed.items()
            for text in _values(n if several else "", source[n], found[n], mask)
        ]
        return f"{name} with {units.plural(total, 'value')} changed: {', '.join(values)}"
    size = sum(array.size for array in source.values())
    where = "".join(f", only in {_region(region)}" for _, region in variant.within)
    edits = [_edit(edit, near.radius) for edit in variant.edits]
    rest = len(edits) - _LISTED
    more = f" and {units.plural(rest, 'more edit')}" if rest > 0 else ""
    return (
        f"{name} with {total:,} of {size:,} values changed{where}: "
        f"{', '.join(edits[:_LISTED])}{more}"
    )


def _values(name: str, source: Array, found: Array, mask: Array) -> list[str]:
    """'[0,12,8] 0.12 -> 0.98'; the batch axis is left out where it is 1."""
    texts = []
    for index in map(tuple, np.argwhere(mask)):
        shown = index[1:] if source.shape[0] == 1 and source.ndim > 1 else index
        place = f"{name}[{','.join(map(str, shown))}]"
        texts.append(f"{place} {float(source[index]):.4g} -> {float(found[index]):.4g}")
    return texts


def _edit(edit: Edit, radius: float) -> str:
    amount = f"{100 * edit.amount * radius:+.2g} %"
    if isinstance(edit, Contrast):
        return f"contrast {100 * edit.amount:+.0f} %"
    if isinstance(edit, Noise):
        blocks = "" if edit.cell == 1 else f" in blocks of {edit.cell}"
        return f"noise ±{amount[1:]} of the range{blocks} (seed {edit.seed})"
    channel = "" if edit.channel is None else f" in channel {edit.channel}"
    region = f" at {_region(edit.region)}" if edit.region else ""
    return f"{amount} of the range{channel + region or ' everywhere'}"


def _region(region: Region) -> str:
    """'[10:20, 4]'."""
    parts = (f"{a}" if b == a + 1 else f"{a}:{b}" for a, b in region)
    return f"[{', '.join(parts)}]"
