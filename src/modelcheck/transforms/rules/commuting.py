"""Operands in the order that engines expect: a + x = x + a, a · x = x · a, to the last bit.

A scalar constant that stands first is put second. OpenCV's importer looks for a GELU written out
as x / √2, Erf, + 1, · x, · ½ and dies where its constants stand first (docs/known-faults.md).
"""

from __future__ import annotations

from modelcheck.transforms.graph import constant
from modelcheck.transforms.rules.rule import Rule, Site


def _constants_second(site: Site) -> bool:
    first, second = site.node.inputs
    tensor = constant(first)
    if tensor is None or tensor.size != 1 or constant(second) is not None:
        return False
    assert first is not None
    assert second is not None
    site.edit.set_input(site.node, 0, second)
    site.edit.set_input(site.node, 1, first)
    return True


CONSTANTS_SECOND = Rule("constants-second", frozenset(("Add", "Mul")), _constants_second)
