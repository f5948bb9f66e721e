"""A worker process that has been started: its pipes, shared memory, log and private folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modelcheck.process.closing import Closing
from modelcheck.process.starter import start
from modelcheck.process.workspace import Workspace

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. Two workers of one command are the same until the first request.

    `memory_bytes` caps the address space; 0 caps nothing. `environment` is laid over this
    process's own; None takes a variable away.
    """

    script: Path
    python: str
    memory_bytes: int
    environment: frozenset[tuple[str, str | None]]

    @classmethod
    def of(
        cls,
        script: Path,
        *,
        memory_bytes: int,
        python: str | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> Command:
        """The command for an interpreter: this one, if none is named."""
        python = python or sys.executable
        if os.sep in python:
            python = os.path.abspath(python)  # of here, not of the worker's own folder
        variables = frozenset((environment or {}).items())
        return cls(script.absolute(), python, memory_bytes, variables)


class Started(Closing):
    """A running worker and all that is its own."""

    def __init__(self, command: Command) -> None:
        """Raises OSError or ValueError where the interpreter cannot be started."""
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = Workspace()
        self._streams = contextlib.ExitStack()
        try:
            # Appending, so that reading the log here does not move where the worker writes.
            log = (self._folder.path / "log").open("a+b")
            self.log: IO[bytes] = self._streams.enter_context(log)
            self.from_worker, self.to_worker = self._start(command)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill the process and everything it started, and remove its folder."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
        self._streams.close()
        self._folder.close()

    def _start(self, command: Command) -> tuple[IO[bytes], IO[bytes]]:
        """Start the process; the pipes from it and to it, neither of which blocks."""
        self.shared = [_sealed_memory(self._streams) for _ in range(2)]
        readable, writable = os.pipe()
        words = [
            command.python, "-I", str(command.script), str(_HERE / "frames.py"),
            str(_HERE / "serve.py"), str(command.memory_bytes), str(writable),
            *map(str, self.shared),
        ]  # fmt: skip
        wanted = {**os.environ, "TMPDIR": str(self._folder.path), **dict(command.environment)}
        try:
            from_worker = self._streams.enter_context(os.fdopen(readable, "rb", buffering=0))
            self.process = start(
                words,
                stdin=subprocess.PIPE,
                stdout=self.log,
                stderr=self.log,
                cwd=self._folder.path,
                env={key: value for key, value in wanted.items() if value is not None},
                start_new_session=True,  # Ctrl-C is for the parent, which then buries the child
                pass_fds=(writable, *self.shared),
                bufsize=0,
            )
        finally:
            os.close(writable)
        assert self.process.stdin is not None
        to_worker = self._streams.enter_context(self.process.stdin)
        for pipe in (from_worker, to_worker):
            os.set_blocking(pipe.fileno(), False)
        return from_worker, to_worker


def _sealed_memory(streams: contextlib.ExitStack) -> int:
    """The descriptor of memory that a child can make larger but not smaller.

    Memory that becomes smaller would kill, by SIGBUS, the process that reads it.
    """
    descriptor = os.memfd_create("modelcheck", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    streams.callback(os.close, descriptor)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor
