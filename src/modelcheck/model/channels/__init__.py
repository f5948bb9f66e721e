"""Follows channels through a graph, to say which of them may change places."""

from modelcheck.model.channels.rules import follow_channels
from modelcheck.model.channels.trace import Edit, Trace

__all__ = ["Edit", "Trace", "follow_channels"]
