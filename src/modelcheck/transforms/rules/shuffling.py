"""Channel shuffles, absorbed by the layers around them.

shuffle-into-weights    X' = P·X, P a permutation of channels or a choice among them:
                            W·P·X = (W·P)·X,    P·(W·X + b) = (P·W)·X + P·b
                        Instead of shuffling X, the next layers have their inputs in the order in
                        which X comes, and the layers that make X their outputs in the order in
                        which it is taken apart: by which of the shuffled parts a channel is in. A
                        part is then a Slice, or some put together, where it was Reshape, Transpose,
                        Reshape and Gather; all of X is X. Activations, pooling, depthwise
                        convolutions and sums between them are the same for every order.
                        fastestdet, a ShuffleNetV2 with 13 shuffles: 1.46 times as fast on OpenCV
                        5's classic engine (35.8 and 23.4 ms on a busy machine); 1.0 to 1.08 on the
                        new one, which has to put tensors out of its blocks for a Slice as well.
                        Left alone: what is given to the caller, or to layers that need the order
                        (with groups, dense, reshaped).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelcheck.transforms.channels import (
    OLDEST_OPSET,
    Families,
    Family,
    Layout,
    Pick,
    write_layouts,
)
from modelcheck.transforms.graph import CannotChange, is_standard, layer_name
from modelcheck.transforms.rules.rule import Rule, Site

_STEPS = 4  # the input of Slice
_MOST_RUNS = 4  # more of them than this in one tensor are gathered at once


@dataclass(frozen=True)
class _Part:
    """Channels of one source, by their places in the order in which it now lies."""

    source: ir.Value
    places: Layout  # ascending
    of: int  # so many channels has the source

    @property
    def runs(self) -> list[tuple[int, int]]:
        breaks = np.flatnonzero(np.diff(self.places) != 1) + 1
        return [(int(run[0]), int(run[-1]) + 1) for run in np.split(self.places, breaks)]


@dataclass(frozen=True)
class _Plan:
    """What is to be done about all shuffles of a graph."""

    families: Families
    layouts: dict[Family, Layout]
    parts: dict[Pick, list[_Part]]  # of which picks are put together anew

    @classmethod
    def of(cls, site: Site) -> _Plan:
        families = Families(site.edit.graph, site.static)
        for pick in families.picks:
            moving = [layer_name(node) for node in pick.through if _may_shuffle(node)]
            if not all(map(site.wanted, moving)):
                family = _family(families, pick.value)
                family.fix("another layer that moves its channels is excluded")
        return cls(families, *_laid_out(families, families.settle()))


def _into_weights(site: Site) -> bool:
    if not _may_shuffle(site.node):
        return False
    if "plan" not in site.shared:
        site.shared["plan"] = _Plan.of(site)
    plan: _Plan | None = site.shared["plan"]
    if plan is None:  # carried out, at another node
        return False
    mine = [pick for pick in plan.families.picks if site.node in pick.through]
    if not any(pick in plan.parts for pick in mine):
        reasons = [_family(plan.families, p.value).fixed for p in mine if p.rearranges]
        if any(reasons):
            raise CannotChange(next(reason for reason in reasons if reason))
        return False
    site.shared["plan"] = None
    built: dict[ir.Value, ir.Value] = {}
    for pick, pieces in plan.parts.items():
        built[pick.value] = _put_together(site, pick, pieces, built)
    write_layouts(site.edit, plan.layouts)
    _remove_unused(site, plan.parts)
    return True


def _may_shuffle(node: ir.Node) -> bool:
    """Whether it is one of those that rearrange channels; a Slice does in steps only."""
    if is_standard(node, "Slice"):
        return len(node.inputs) > _STEPS and node.inputs[_STEPS] is not None
    return is_standard(node, "Transpose", "Gather")


def _laid_out(
    families: Families, order: list[Family]
) -> tuple[dict[Family, Layout], dict[Pick, list[_Part]]]:
    """In which order the channels of each family shall lie, and what picks are then made of."""
    takers: dict[Family, list[Pick]] = {}
    for pick in families.picks:
        for source in pick.sources:
            takers.setdefault(_family(families, source), []).append(pick)
    layouts: dict[Family, Layout] = {}
    parts: dict[Pick, list[_Part]] = {}
    for family in order:
        layout = np.arange(family.channels)
        if not family.fixed and family.picks:
            (pick,) = family.picks
            found = _parts(pick, {s: layouts[_family(families, s)] for s in pick.sources})
            as_it_is = all(_is_sorted(layouts[f]) for f in families.givers(family))
            if pick.rearranges or not as_it_is:
                layout, parts[pick] = found
        elif not family.fixed:
            layout = _by_takers(family, takers.get(family, []))
        layouts[family] = layout
    return layouts, parts


def _by_takers(family: Family, takers: list[Pick]) -> Layout:
    """The channels of the first pick together, then those of the next; the rest last.

    As they are where that makes no fewer pieces, so that what was written once stays.
    """
    members = set(family.values)
    keys: list[list[bool]] = [[] for _ in range(family.channels)]
    for pick in dict.fromkeys(takers):
        taken = {channel for source, channel in pick.channels if source in members}
        for channel, key in enumerate(keys):
            key.append(channel not in taken)
    as_it_is = np.arange(family.channels)
    layout = np.array(sorted(range(family.channels), key=lambda c: keys[c]), np.int64)
    return layout if _pieces(keys, layout) < _pieces(keys, as_it_is) else as_it_is


def _pieces(keys: list[list[bool]], layout: Layout) -> int:
    """How often a channel is taken, or left out, whose neighbour is not."""
    laid = np.array(keys)[layout]
    return int(np.sum(laid[1:] != laid[:-1]))


def _parts(pick: Pick, layouts: dict[ir.Value, Layout]) -> tuple[Layout, list[_Part]]:
    """What of each source is put together, and the layout that this gives."""
    number = {channel: i for i, channel in enumerate(pick.channels)}
    laid: list[int] = []
    parts = []
    for source in pick.sources:
        layout = layouts[source]
        places = [p for p, c in enumerate(layout.tolist()) if (source, c) in number]
        laid.extend(number[source, int(layout[place])] for place in places)
        parts.append(_Part(source, np.array(places, np.int64), len(layout)))
    return np.array(laid, np.int64), parts


def _put_together(
    site: Site, pick: Pick, parts: list[_Part], built: dict[ir.Value, ir.Value]
) -> ir.Value:
    """Feed the parts, one after the other, to what has read the pick."""
    edit, pieces = site.edit, []
    for part in parts:
        x = built.get(part.source, part.source)
        if len(part.places) == part.of:
            pieces.append(x)
        elif len(part.runs) > _MOST_RUNS:
            places = edit.initializer(f"{layer_name(site.node)}.places", part.places)
            stem = f"{layer_name(site.node)}/gathered"
            pieces.append(edit.node("Gather", [x, places], stem, like=None, axis=1))
        else:
            pieces.extend(site.cut(x, [a], [b], [1], "part") for a, b in part.runs)
    y = pieces[0]
    if len(pieces) > 1:
        y = edit.node("Concat", pieces, f"{layer_name(site.node)}/parts", like=None, axis=1)
    if y not in built.values() and y is not parts[0].source:
        y.type = pick.value.type
    pick.value.replace_all_uses_with(y)
    return y


def _remove_unused(site: Site, picks: dict[Pick, list[_Part]]) -> None:
    moving = {node for pick in picks for node in pick.through}
    for node in reversed([node for node in site.edit.graph if node in moving]):
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            site.edit.remove_unused(node)


def _family(families: Families, value: ir.Value) -> Family:
    found = families.of(value)
    assert found is not None
    return found


def _is_sorted(layout: Layout) -> bool:
    return bool(np.array_equal(layout, np.arange(len(layout))))


INTO_WEIGHTS = Rule(
    "shuffle-into-weights", frozenset(("Transpose", "Gather", "Slice")), _into_weights,
    opset=OLDEST_OPSET,
)  # fmt: skip
