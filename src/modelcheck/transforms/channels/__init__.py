"""Channels that may lie in another order, or beside more of them: which, and how to write that.

`model/channels` follows channels one by one, for permutations that every operator is blind to. Here
whole tensors are followed, because what moves channels about is written anew, and because channels
may be added, which a sum over them or a softmax would notice.
"""

from modelcheck.model.channels.rules import OLDEST_OPSET
from modelcheck.transforms.channels.families import Families, Family
from modelcheck.transforms.channels.layouts import Layout, write_layouts
from modelcheck.transforms.channels.picks import Pick

__all__ = ["OLDEST_OPSET", "Families", "Family", "Layout", "Pick", "write_layouts"]
