"""Channels in numbers that engines compute in one go.

channels-in-eights      Y = W·X + b  ->  [Y; 0] = [W; 0]·X + [b; 0],   f([Y; 0]) = [f(Y); f(0)],
                        V·f(Y)  ->  [V, 0]·[f(Y); f(0)]
                        for as many zeros as make the number of channels a multiple of 8. Through
                        activations, pooling, depthwise convolutions (which grow as well), sums and
                        products of two tensors, and Concat; f(0) is finite, whatever it is.
                        OpenCV 5's new engine keeps channels in blocks of 8: four 1x1 layers of 58
                        channels at 40x40 were 1.22 to 1.27 times as fast, of 51 and of 33 1.05, of
                        12 1.16, 3x3 ones of 58 channels 1.5 to 1.8, of 20 1.02; vittrack 1.02 to
                        1.04, ultraface, xfeat 1.01 to 1.02. Classic loses by it (0.66 to 0.99).
                        Left alone: what is given to the caller, or to anything that would notice
                        more channels.
"""

from __future__ import annotations

import numpy as np

from modelcheck.transforms.channels import (
    OLDEST_OPSET,
    Families,
    Family,
    Layout,
    Pick,
    write_layouts,
)
from modelcheck.transforms.graph import CannotChange, constant, layer_name, slot_of
from modelcheck.transforms.rules.rule import Rule, Site

_BLOCK = 8


def _in_eights(site: Site) -> bool:
    node, slot = site.node, slot_of(site.node)
    tensor = None if slot is None else constant(slot.weight)
    if slot is None or tensor is None or slot.output_axis is None or slot.groups > 1:
        return False
    if int(tensor.shape.numpy()[slot.output_axis]) % _BLOCK == 0:
        return False
    if "families" not in site.shared:
        site.shared["families"] = _families(site)
    families: Families | None = site.shared["families"]
    if families is None:  # all of them were written, at another node
        return False
    mine = families.of(node.outputs[0])
    assert mine is not None
    if mine.fixed:
        raise CannotChange(mine.fixed)
    site.shared["families"] = None
    layouts: dict[Family, Layout] = {}
    for family in families.settle():
        layouts[family] = _widened(families, family, layouts)
    write_layouts(site.edit, layouts)
    return True


def _families(site: Site) -> Families:
    families = Families(site.edit.graph, site.static)
    for family in families:
        _fix_what_may_not_grow(site, families, family)
    families.settle()
    return families


def _fix_what_may_not_grow(site: Site, families: Families, family: Family) -> None:
    if family.sized:
        family.fix(family.sized)
    if not all(site.wanted(layer_name(node)) for node in family.makers):
        family.fix("another layer that makes its channels is excluded")
    for pick in family.picks:
        if not pick.puts_together:
            for member in (family, *families.givers(family)):
                member.fix(f"'{pick.value.name}' takes its channels apart")


def _widened(families: Families, family: Family, layouts: dict[Family, Layout]) -> Layout:
    layout = np.arange(family.channels)
    if family.fixed:
        return layout
    if family.picks:
        (pick,) = family.picks
        return _beside_one_another(families, pick, layouts)
    return np.concatenate([layout, np.full(-family.channels % _BLOCK, -1)])


def _beside_one_another(families: Families, pick: Pick, layouts: dict[Family, Layout]) -> Layout:
    """The channels of a Concat, the zeros of each operand behind it."""
    laid, begin = [], 0
    for source in pick.sources:
        family = families.of(source)
        assert family is not None
        layout = layouts[family]
        laid.append(np.where(layout < 0, -1, layout + begin))
        begin += family.channels
    return np.concatenate(laid)


IN_EIGHTS = Rule(
    "channels-in-eights", frozenset(("Conv", "ConvTranspose")), _in_eights, opset=OLDEST_OPSET
)
