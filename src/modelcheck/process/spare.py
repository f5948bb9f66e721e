"""Workers started ahead of their use.

A worker takes 0.3 s to import its libraries, and this process takes a second to import its own.
Who knows early which workers will be needed starts them first, and the two go side by side: the
`Child` that is made later of the same command takes over what is there.
"""

from __future__ import annotations

import contextlib

from modelcheck.errors import ModelcheckError
from modelcheck.process.closing import Closing
from modelcheck.process.started import Command, Started

_waiting: dict[Command, list[Started]] = {}


class Spares(Closing):
    """Starts workers that will probably be needed, and ends those that nobody took."""

    def start(self, command: Command) -> None:
        """Start one. What cannot be started is left to who needs it, and says why."""
        with contextlib.suppress(OSError, ValueError, ModelcheckError):
            _waiting.setdefault(command, []).append(Started(command))

    def close(self) -> None:
        for workers in _waiting.values():
            while workers:
                workers[-1].close()
                workers.pop()


def started(command: Command) -> Started:
    """A spare worker where there is one, else a new one."""
    workers = _waiting.get(command)
    return workers.pop() if workers else Started(command)
