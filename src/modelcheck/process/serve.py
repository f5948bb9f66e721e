"""The loop that every worker runs: limits first, then one answer for each request.

Loaded from its path by the workers (see `child.py`): standard library and numpy only, Python 3.8.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def serve(frames, handlers):
    """Answer requests from stdin until it closes. `handlers` maps an op to f(header, arrays).

    A handler returns (fields, arrays). An exception becomes an answer with its type and text, so
    that only death (a signal, a hang) is left for the parent to notice. Native code prints to
    fd 1 and 2 as it likes: answers go to a private copy of fd 1.
    """
    _die_with_parent()
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    for stream in (requests, answers):
        _widen_pipe(stream)
    answers = _WriteAll(answers)
    while True:
        try:
            header, arrays = frames.read_frame(requests)
        except frames.FrameError:
            return
        try:
            fields, results = handlers[header["op"]](header, arrays)
            answer = dict(fields, ok=True)
        except MemoryError as error:
            answer, results = {"ok": False, "kind": "MemoryError", "error": str(error)}, {}
        except Exception as error:
            answer = {"ok": False, "kind": type(error).__name__, "error": str(error)}
            results = {}
        sys.stdout.flush()
        sys.stderr.flush()
        frames.write_frame(answers, answer, results)


def limit_memory(n_bytes):
    """Cap this process's address space, and its core dumps at nothing."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if n_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


class _WriteAll:
    """A raw pipe may take only part of a write; this writes the rest."""

    def __init__(self, raw):
        self._raw = raw

    def write(self, data):
        view = memoryview(data)
        while len(view):
            view = view[self._raw.write(view) :]

    def flush(self):
        pass


def _die_with_parent():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _widen_pipe(stream):
    try:
        import fcntl

        fcntl.fcntl(stream.fileno(), 1031, 1 << 20)  # F_SETPIPE_SZ: one image in one go
    except (ImportError, OSError):
        pass
