"""The fastest form of a model that passes the gate: choose by measuring, decide by judging."""

from modelcheck.searching.plan import Contender, Goal, Judged, Searched, SearchPlan
from modelcheck.searching.run import search_events
from modelcheck.searching.simple import search

__all__ = [
    "Contender",
    "Goal",
    "Judged",
    "SearchPlan",
    "Searched",
    "search",
    "search_events",
]
