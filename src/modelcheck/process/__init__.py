"""Child processes: the only place where native code that may crash or hang is run."""

from modelcheck.process.child import Answer, Arrays, Child, ChildLimits, Refused
from modelcheck.process.closing import Closing
from modelcheck.process.spare import Spares
from modelcheck.process.started import Command
from modelcheck.process.workspace import Workspace

__all__ = [
    "Answer",
    "Arrays",
    "Child",
    "ChildLimits",
    "Closing",
    "Command",
    "Refused",
    "Spares",
    "Workspace",
]
