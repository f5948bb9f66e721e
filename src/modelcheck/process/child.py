"""Starts, limits, frames and buries a child process. Native code runs nowhere else."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import psutil

from modelcheck.errors import Crashed, ModelcheckError, OutOfMemory, TimedOut
from modelcheck.process import frames
from modelcheck.process.workspace import private_folder
from modelcheck.units import duration, size

Arrays = Mapping[str, np.ndarray]

# Messages by which native code says that an allocation failed (cv2, onnxruntime, libstdc++).
_OUT_OF_MEMORY = ("insufficient memory", "bad_alloc", "bad allocation", "failed to allocate")
_LOG_TAIL_BYTES = 8_000


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What a child may use. `memory_bytes` caps its address space; 0 means the machine's memory."""

    start_s: float = 60.0
    request_s: float = 120.0
    memory_bytes: int = 0

    def address_space(self) -> int:
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


class Child:
    """One worker process, spoken to in frames over its stdin and stdout.

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
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._limits = limits or ChildLimits()
        self._folder = private_folder()
        self._log: IO[bytes] = (self._folder / "log").open("w+b")
        env = dict(os.environ, TMPDIR=str(self._folder), **(environment or {}))
        here = Path(__file__).parent
        command = [
            python or sys.executable, "-I", str(script),
            str(here / "frames.py"), str(here / "serve.py"), str(self._limits.address_space()),
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                cwd=self._folder,
                env=env,
                start_new_session=True,  # Ctrl-C is for the parent, which then buries the child
                bufsize=0,
            )
        except OSError as error:
            self._log.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise Crashed(f"cannot be started: {error.strerror}", where=name) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to_child = self._process.stdin
        self._from_child = self._process.stdout
        os.set_blocking(self._from_child.fileno(), False)
        os.set_blocking(self._to_child.fileno(), False)
        self._deadline = 0.0

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
        self._deadline = time.monotonic() + (timeout_s or self._limits.request_s)
        try:
            frames.write_frame(_Writer(self), {"op": op, **fields}, dict(arrays or {}))
        except BrokenPipeError:
            raise self._post_mortem() from None

    def receive(self, *, timeout_s: float | None = None) -> Answer:
        """The answer to the last request sent.

        A caller that did other work since `send` gives a time-out that runs from here.
        """
        if timeout_s is not None:
            self._deadline = time.monotonic() + timeout_s
        try:
            fields, arrays = frames.read_frame(_Reader(self))
        except frames.FrameError:
            raise self._post_mortem() from None
        if fields.pop("ok"):
            return Answer(fields, arrays)
        text = str(fields.get("error", "")).strip()
        if fields["kind"] == "MemoryError" or any(m in text.lower() for m in _OUT_OF_MEMORY):
            self.close()
            raise self._out_of_memory()
        raise Refused(fields["kind"], text, self.name)

    def native_log(self) -> str:
        """The end of what the child's native code printed."""
        try:
            return self._read_log()
        except ValueError:
            return ""

    def cpu_s(self) -> float:
        """Processor time used so far, in seconds."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """Kill the process and everything it started, and remove its folder."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._to_child, self._from_child):
            with contextlib.suppress(OSError):
                stream.close()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait_for(self, stream: IO[bytes], event: int) -> None:
        """Wait until the pipe is ready, or kill the child when its time is up."""
        left_s = self._deadline - time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(stream, event)
            if left_s > 0 and selector.select(left_s):
                return
        log = self._read_log()
        self.close()
        raise TimedOut(
            f"no answer within {duration(self._limits.request_s)}; it was killed",
            where=self.name,
            remedy="Raise --timeout if the model is merely slow.",
            native_log=log,
        )

    def _post_mortem(self) -> ModelcheckError:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = 0
        log = self._read_log()
        self.close()
        if any(m in log.lower() for m in _OUT_OF_MEMORY):
            return self._out_of_memory(log)
        if code == -signal.SIGKILL:
            return OutOfMemory(
                "was killed by the system, most likely for lack of memory",
                where=self.name, native_log=log,
            )  # fmt: skip
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return Crashed(how, where=self.name, native_log=log)

    def _out_of_memory(self, log: str = "") -> OutOfMemory:
        return OutOfMemory(
            f"ran out of memory (limit {size(self._limits.address_space())})",
            where=self.name, remedy="Raise --memory-limit, or use a smaller input.", native_log=log,
        )  # fmt: skip

    def _read_log(self) -> str:
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - _LOG_TAIL_BYTES))
        return self._log.read().decode("utf-8", "replace")


class _Writer:
    """The child's stdin as a stream that gives up at the deadline."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        pipe = self._child._to_child
        while len(view):
            n = pipe.write(view)
            if n is None:  # the pipe is full
                self._child.wait_for(pipe, selectors.EVENT_WRITE)
            else:
                view = view[n:]

    def flush(self) -> None: ...


class _Reader:
    """The child's stdout as a stream that gives up at the deadline."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def readinto(self, view: memoryview) -> int:
        pipe = self._child._from_child
        while (n := pipe.readinto(view)) is None:  # type: ignore[attr-defined]
            self._child.wait_for(pipe, selectors.EVENT_READ)
        return int(n)


def kill_on_sigterm() -> None:
    """Turn SIGTERM into SystemExit(143), so that folders and children are cleaned up as usual."""

    def leave(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, leave)
