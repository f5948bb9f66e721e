"""The loop that every worker runs: limits first, then one answer for each request.

Loaded from its path by the workers (see `child.py`): standard library and numpy only, Python 3.8.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1
_MAX_FILE_BYTES = 256 << 20  # far more than a worker writes; native code can print for ever


def serve(frames, handlers, ahead=(), borrowing=()):
    """Answer requests from stdin until it closes. `handlers` maps an op to f(header, arrays).

    A handler returns (fields, arrays). An exception becomes an answer with its type and text, so
    that only death (a signal, a hang) is left for the parent to notice. Native code, a start-up
    file or a wrapper may print to fd 1 and 2, which both go to the log: answers go to the pipe
    whose number is the fourth argument. The fifth and sixth, where they are given, are shared
    memory for the arrays of requests and answers.

    The operations in `borrowing` may be given views of the shared memory: they keep no array.

    The functions in `ahead` import what requests will need, one after the other, as long as no
    request waits. What fails there fails again when it is needed, and is told then.
    """
    _die_with_parent()
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    pipe = int(sys.argv[4])
    os.set_inheritable(pipe, False)
    answers = os.fdopen(pipe, "wb", buffering=0)
    for stream in (requests, answers):
        _widen_pipe(stream)
    answers = _WriteAll(answers)
    asked, answered = _shared_memory(frames)
    for prepare in ahead:
        if select.select([requests], [], [], 0)[0]:
            break
        with contextlib.suppress(Exception):
            prepare()
    while True:
        try:
            header, arrays = frames.read_frame(
                requests, asked, borrows=lambda header: header.get("op") in borrowing
            )
        except frames.Closed:
            return
        try:
            fields, results = handlers[header["op"]](header, arrays)
            answer = dict(fields, ok=True)
        except MemoryError as error:
            answer, results = {"ok": False, "kind": "MemoryError", "error": str(error)}, {}
        except Exception as error:
            answer = {"ok": False, "kind": type(error).__name__, "error": str(error)}
            results = {}
        _flush()
        frames.write_frame(answers, answer, results, answered if header["may_share"] else None)


def limit_memory(n_bytes):
    """Cap this process's address space and its files, and its core dumps at nothing."""
    import resource

    _cap(resource, resource.RLIMIT_CORE, 0)
    # Python ignores SIGXFSZ: what goes beyond is not written, and nobody dies of it.
    _cap(resource, resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    if n_bytes:
        _cap(resource, resource.RLIMIT_AS, n_bytes)


def _cap(resource, what, most):
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)  # the user's own `ulimit` may be stricter
    resource.setrlimit(what, (most, most))


class _WriteAll:
    """A raw pipe may take only part of a write; this writes the rest."""

    def __init__(self, raw):
        self._raw = raw

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[self._raw.write(view) :]

    def flush(self):
        pass


def _shared_memory(frames):
    """(that of requests, that of answers); None where the parent has none to share."""
    descriptors = [int(number) for number in sys.argv[5:7]]
    if len(descriptors) < 2:
        return None, None
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return tuple(frames.SharedMemory(descriptor) for descriptor in descriptors)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the log is full
            stream.flush()


def _die_with_parent():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _widen_pipe(stream):
    try:
        import fcntl

        fcntl.fcntl(stream.fileno(), 1031, 1 << 20)  # F_SETPIPE_SZ: one image in one go
    except (ImportError, OSError):
        pass
