"""Starts, limits, frames and buries a child process. Native code runs nowhere else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil

from modelcheck.errors import Crashed, ModelcheckError, OutOfMemory, TimedOut
from modelcheck.process import frames
from modelcheck.process.closing import Closing
from modelcheck.process.starter import start
from modelcheck.process.workspace import Workspace
from modelcheck.units import duration, size

Arrays = Mapping[str, np.ndarray]

# Messages by which native code, numpy and the loader say that an allocation failed.
_OUT_OF_MEMORY = (
    "insufficient memory", "bad_alloc", "bad allocation", "failed to allocate",
    "unable to allocate", "cannot allocate memory", "failed to map segment", "memoryerror",
)  # fmt: skip
_LOG_TAIL_BYTES = 8_000
_DYING_S = 5.0  # between the end of a child's pipe and the end of the child


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What a child may use. `memory_bytes` caps its address space; 0 means the machine's memory.

    Drivers of accelerators reserve far more addresses than memory: with `addresses_free` nothing
    is capped.
    `start_s` is for requests that import large libraries or read a model, `request_s` for others.
    """

    start_s: float = 60.0
    request_s: float = 120.0
    memory_bytes: int = 0
    addresses_free: bool = False

    def address_space(self) -> int:
        """In bytes; 0 where nothing is capped."""
        if self.addresses_free:
            return 0
        return self.memory_bytes or psutil.virtual_memory().total


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child answered: header fields and arrays."""

    fields: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Refused(ModelcheckError):
    """The child is well, and says no: the native library raised an exception."""

    exit_code = 4

    def __init__(self, kind: str, what: str, where: str) -> None:
        super().__init__(what, where=where)
        self.kind = kind


class Child(Closing):
    """One worker process, spoken to in frames over two pipes.

    A death, hang or refusal is raised as `Crashed`, `TimedOut`, `OutOfMemory` or `Refused`; after
    the first three the child is gone. Use as a context manager: leaving it kills the process and
    removes its private folder.
    """

    def __init__(
        self,
        script: Path,
        *,
        name: str,
        python: str | None = None,
        limits: ChildLimits | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        """Raises Crashed where the interpreter cannot be started.

        `environment` is laid over this process's own; None takes a variable away.
        """
        self.name = name
        self._limits = limits or ChildLimits()
        self._deadline = 0.0
        self._patience_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Workspace()
        self._streams = contextlib.ExitStack()
        self._unanswered = 0
        try:
            self._log = self._streams.enter_context(self._open_log())
            self._from_child, self._to_child = self._start(script, python, environment or {})
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self.close()
            raise Crashed(f"cannot be started: {reason}", where=name) from error
        except BaseException:
            self.close()
            raise

    def request(
        self,
        op: str,
        arrays: Arrays | None = None,
        *,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Answer:
        """Send one request and wait for its answer."""
        self.send(op, arrays, timeout_s=timeout_s, **fields)
        return self.receive()

    def send(
        self,
        op: str,
        arrays: Arrays | None = None,
        *,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> None:
        """Send a request; the time-out runs from here. Pair every send with one `receive`."""
        self._check_alive()
        self._be_patient(timeout_s or self._limits.request_s)
        # Shared memory holds one frame: what an earlier request or answer has put there may not
        # have been read yet.
        alone = self._unanswered == 0
        self._unanswered += 1
        header = {"op": op, "may_share": alone, **fields}
        try:
            shared = self._asked if alone else None
            frames.write_frame(_Writer(self), header, dict(arrays or {}), shared)
        except BrokenPipeError:
            raise self._post_mortem() from None

    def receive(self, *, timeout_s: float | None = None) -> Answer:
        """The answer to the last request sent.

        A caller that did other work since `send` gives a time-out that runs from here.
        """
        self._check_alive()
        if timeout_s is not None:
            self._be_patient(timeout_s)
        try:
            fields, arrays = frames.read_frame(_Reader(self), self._answered)
            self._unanswered -= 1
            well = fields.pop("ok")
        except frames.Closed:
            raise self._post_mortem() from None
        except (frames.FrameError, KeyError) as error:
            log = self._bury()
            raise Crashed(f"gave no valid answer ({error})", where=self.name,
                          native_log=log) from None  # fmt: skip
        except MemoryError:
            self.close()
            raise self._out_of_memory() from None
        if well:
            return Answer(fields, arrays)
        kind, text = str(fields.get("kind")), str(fields.get("error", "")).strip()
        if kind == "MemoryError" or any(m in text.lower() for m in _OUT_OF_MEMORY):
            raise self._out_of_memory(self._bury())
        raise Refused(kind, text, self.name)

    @property
    def pid(self) -> int | None:
        """The process's number; None once it is gone."""
        return None if self._process is None else self._process.pid

    def log_tail(self, n_bytes: int = _LOG_TAIL_BYTES) -> str:
        """The end of what the living child's native code has printed so far."""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - n_bytes))
        return self._log.read().decode("utf-8", "replace")

    def close(self) -> None:
        """Kill the process and everything it started, and remove its folder."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        self._streams.close()
        self._folder.close()

    def wait_for(self, stream: IO[bytes], event: int) -> None:
        """Wait until the pipe is ready, or kill the child when its time is up."""
        left_s = self._deadline - time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(stream, event)
            # An answer that is there was given in time, however late the caller comes for it.
            if selector.select(max(0.0, left_s)):
                return
        raise TimedOut(
            f"no answer within {duration(self._patience_s)}; it was killed",
            where=self.name,
            remedy="Raise --timeout if the model is merely slow.",
            native_log=self._bury(),
        )

    def _open_log(self) -> IO[bytes]:
        # Appending, so that reading the log here does not move where the child writes.
        return (self._folder.path / "log").open("a+b")

    def _start(
        self, script: Path, python: str | None, environment: Mapping[str, str | None]
    ) -> tuple[IO[bytes], IO[bytes]]:
        """Start the process; the pipes from it and to it, neither of which blocks."""
        python = python or sys.executable
        if os.sep in python:
            python = os.path.abspath(python)  # of here, not of the child's own folder
        here = Path(__file__).parent
        shared = [_sealed_memory(self._streams) for _ in range(2)]
        self._asked, self._answered = map(self._mapping_of, shared)
        readable, writable = os.pipe()
        command = [
            python, "-I", str(script.absolute()), str(here / "frames.py"), str(here / "serve.py"),
            str(self._limits.address_space()), str(writable), *map(str, shared),
        ]  # fmt: skip
        wanted = {**os.environ, "TMPDIR": str(self._folder.path), **environment}
        try:
            from_child = self._streams.enter_context(os.fdopen(readable, "rb", buffering=0))
            self._process = start(
                command,
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                cwd=self._folder.path,
                env={key: value for key, value in wanted.items() if value is not None},
                start_new_session=True,  # Ctrl-C is for the parent, which then buries the child
                pass_fds=(writable, *shared),
                bufsize=0,
            )
        finally:
            os.close(writable)
        assert self._process.stdin is not None
        to_child = self._streams.enter_context(self._process.stdin)
        for pipe in (from_child, to_child):
            os.set_blocking(pipe.fileno(), False)
        return from_child, to_child

    def _mapping_of(self, descriptor: int) -> frames.SharedMemory:
        memory = frames.SharedMemory(descriptor)
        self._streams.callback(memory.close)
        return memory

    def _check_alive(self) -> None:
        if self._process is None:
            raise Crashed("is no longer running", where=self.name)

    def _be_patient(self, timeout_s: float) -> None:
        self._patience_s = timeout_s
        self._deadline = time.monotonic() + timeout_s

    def _post_mortem(self) -> ModelcheckError:
        """Why the child is no longer there, now that its pipe has closed."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=_DYING_S)
            how = _signal_name(-code) if code < 0 else f"ended with code {code}"
        except subprocess.TimeoutExpired:
            code, how = 0, "closed its pipe and ran on"
        log = self._bury()
        if any(m in log.lower() for m in _OUT_OF_MEMORY):
            return self._out_of_memory(log)
        if code == -signal.SIGKILL:
            return OutOfMemory(
                "was killed by the system, most likely for lack of memory",
                where=self.name, native_log=log,
            )  # fmt: skip
        return Crashed(how, where=self.name, native_log=log)

    def _out_of_memory(self, log: str = "") -> OutOfMemory:
        return OutOfMemory(
            f"ran out of memory (limit {size(self._limits.address_space())})",
            where=self.name, remedy="Raise --memory-limit, or use a smaller input.", native_log=log,
        )  # fmt: skip

    def _bury(self) -> str:
        """Close, and return the end of what the child's native code printed."""
        log = self.log_tail()
        self.close()
        return log


def _sealed_memory(streams: contextlib.ExitStack) -> int:
    """The descriptor of memory that a child can make larger but not smaller.

    Memory that becomes smaller would kill, by SIGBUS, the process that reads it.
    """
    descriptor = os.memfd_create("modelcheck", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    streams.callback(os.close, descriptor)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):  # real-time signals have no names
        return f"died of {signal.Signals(number).name}"
    return f"died of signal {number}"


class _Writer:
    """The child's stdin as a stream that gives up at the deadline."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        pipe = self._child._to_child
        while view:
            n: int | None = pipe.write(view)
            if n is None:  # the pipe is full
                self._child.wait_for(pipe, selectors.EVENT_WRITE)
            else:
                view = view[n:]

    def flush(self) -> None: ...


class _Reader:
    """The child's answers as a stream that gives up at the deadline."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def readinto(self, view: memoryview) -> int:
        pipe = self._child._from_child
        while (n := pipe.readinto(view)) is None:  # type: ignore[attr-defined]
            self._child.wait_for(pipe, selectors.EVENT_READ)
        return int(n)
