"""A child process for tests that misbehaves on request.

Run by path:  python -I odd_worker.py FRAMES SERVE MEMORY_BYTES ANSWERS SHARED SHARED
"""

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import time

import numpy as np


def _module(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def echo(header, arrays):
    return {"fields": {k: v for k, v in header.items() if k not in ("op", "may_share")}}, arrays


def about(header, arrays):
    return {
        "pid": os.getpid(),
        "cwd": os.getcwd(),
        "tmpdir": os.environ.get("TMPDIR"),
        "variable": os.environ.get(header.get("variable", ""), None),
    }, {}


def end(header, arrays):
    """End in the way asked for."""
    sys.stderr.write("native library: about to " + header["way"] + "\n")
    sys.stderr.flush()
    {
        "segfault": lambda: ctypes.string_at(0),
        "abort": os.abort,
        "exit": lambda: os._exit(3),
        "exit 0": lambda: os._exit(0),
        "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "real-time signal": lambda: os.kill(os.getpid(), signal.SIGRTMIN + 5),
        "hang": lambda: time.sleep(60),
        "sys.exit": lambda: sys.exit("a library called sys.exit"),
        "close": lambda: (os.closerange(3, 64), time.sleep(60)),
    }[header["way"]]()
    return {}, {}


def refuse(header, arrays):
    raise ValueError(header["text"])


def allocate(header, arrays):
    return {"size": int(np.ones(header["bytes"], np.uint8).size)}, {}


def chat(header, arrays):
    """Print as native code does: to the file descriptors, past Python's buffers."""
    line = b"x" * 1023 + b"\n"
    for _ in range(header["kib"]):
        for descriptor in header["to"]:
            try:
                os.write(descriptor, line)
            except OSError:
                return {"stopped": True}, arrays
    os.write(2, b"the last words\n")
    return {"stopped": False}, arrays


def garble(header, arrays):
    """Answer with bytes that are no frame, then go on serving."""
    os.write(int(sys.argv[4]), bytes(bytearray(header["bytes"])))
    time.sleep(60)


def shrink(header, arrays):
    """Try to take the shared memory away."""
    shrunk = 0
    for number in sys.argv[5:7]:
        try:
            os.ftruncate(int(number), 0)
            shrunk += 1
        except OSError:
            pass
    return {"shrunk": shrunk}, {}


def breed(header, arrays):
    """Start a process that outlives this one unless somebody cares."""
    return {"pid": subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid}, {}


def hasten():
    """What a worker does while no request waits; then it fails."""
    sys.stderr.write("hastened\n")
    sys.stderr.flush()
    raise ImportError("no such library")


if __name__ == "__main__":
    frames, serve = _module(sys.argv[1]), _module(sys.argv[2])
    serve.limit_memory(int(sys.argv[3]))
    operations = (echo, about, end, refuse, allocate, chat, garble, shrink, breed)
    serve.serve(frames, {f.__name__: f for f in operations}, [hasten])
