"""Inputs near the data, described so that they can be searched, shrunk and read."""

from modelcheck.worst_inputs.climbing import climb
from modelcheck.worst_inputs.description import describe_change
from modelcheck.worst_inputs.edits import Contrast, Edit, Noise, Shift
from modelcheck.worst_inputs.neighbourhood import Neighbourhood, Ranges, Variant
from modelcheck.worst_inputs.shrinking import shrink

__all__ = [
    "Contrast",
    "Edit",
    "Neighbourhood",
    "Noise",
    "Ranges",
    "Shift",
    "Variant",
    "climb",
    "describe_change",
    "shrink",
]
