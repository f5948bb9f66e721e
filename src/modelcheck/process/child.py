"""Starts, limits, frames and buries a child process. Native code runs nowhere else."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from modelcheck.errors import Crashed, ModelcheckError, OutOfMemory, TimedOut
from modelcheck.process.closing import Closing
from modelcheck.process.spare import started
from modelcheck.process.started import Command
from modelcheck.units import duration, size

if TYPE_CHECKING:
    import numpy as np  # takes 0.1 s, in which the first spare child can start

Arrays = Mapping[str, "np.ndarray"]

# Messages by which native code, numpy and the loader say that an allocation failed.
_OUT_OF_MEMORY = (
    "insufficient memory", "bad_alloc", "bad allocation", "failed to allocate",
    "unable to allocate", "cannot allocate memory", "failed to map segment", "memoryerror",
)  # fmt: skip
_LOG_TAIL_BYTES = 8_000
_LONGEST_WAIT_MS = 2**31 - 1  # what poll() takes: 24 days
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
        from modelcheck.process import frames

        self.name = name
        self._limits = limits or ChildLimits()
        self._deadline = 0.0
        self._patience_s = 0.0
        self._unanswered = 0
        try:
            self._worker = started(
                Command.of(
                    script,
                    memory_bytes=self._limits.address_space(),
                    python=python,
                    environment=environment,
                )
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise Crashed(f"cannot be started: {reason}", where=name) from error
        self._asked, self._answered = map(frames.SharedMemory, self._worker.shared)

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
        from modelcheck.process import frames

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
        from modelcheck.process import frames

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
        process = self._worker.process
        return None if process is None else process.pid

    def log_tail(self, n_bytes: int = _LOG_TAIL_BYTES) -> str:
        """The end of what the living child's native code has printed so far."""
        log = self._worker.log
        end = log.seek(0, os.SEEK_END)
        log.seek(max(0, end - n_bytes))
        return log.read().decode("utf-8", "replace")

    def close(self) -> None:
        """Kill the process and everything it started, and remove its folder."""
        self._worker.close()
        self._asked.close()
        self._answered.close()

    def wait_for(self, stream: IO[bytes], event: int) -> None:
        """Wait until the pipe is ready, or kill the child when its time is up."""
        left_ms = 1e3 * (self._deadline - time.monotonic())
        waiting = select.poll()
        waiting.register(stream, event)
        # An answer that is there was given in time, however late the caller comes for it.
        if waiting.poll(min(max(0.0, left_ms), _LONGEST_WAIT_MS)):
            return
        raise TimedOut(
            f"no answer within {duration(self._patience_s)}; it was killed",
            where=self.name,
            remedy="Raise --timeout if the model is merely slow.",
            native_log=self._bury(),
        )

    def _check_alive(self) -> None:
        if self._worker.process is None:
            raise Crashed("is no longer running", where=self.name)

    def _be_patient(self, timeout_s: float) -> None:
        self._patience_s = timeout_s
        self._deadline = time.monotonic() + timeout_s

    def _post_mortem(self) -> ModelcheckError:
        """Why the child is no longer there, now that its pipe has closed."""
        process = self._worker.process
        assert process is not None
        try:
            code = process.wait(timeout=_DYING_S)
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
        pipe = self._child._worker.to_worker
        while view:
            n: int | None = pipe.write(view)
            if n is None:  # the pipe is full
                self._child.wait_for(pipe, select.POLLOUT)
            else:
                view = view[n:]

    def flush(self) -> None: ...


class _Reader:
    """The child's answers as a stream that gives up at the deadline."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def readinto(self, view: memoryview) -> int:
        pipe = self._child._worker.from_worker
        while (n := pipe.readinto(view)) is None:  # type: ignore[attr-defined]
            self._child.wait_for(pipe, select.POLLIN)
        return int(n)
