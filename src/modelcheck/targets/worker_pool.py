"""Pools: several nets of one file, each in a thread of its own. Part of the worker: Python 3.8.

A Net is never shared between threads and never sees two input shapes, so a pool is loaded for one
batch size and reads its nets anew for other samples. OpenCV's number of threads belongs to the
process: it is set again before every run, because pools of one process may differ in it.
"""

import threading
import time

import numpy as np


class Pools:
    """The handlers of the requests about pools, and the pools they made.

    `read(cv2, header)` makes a net of a load request, `names(net, outputs)` says what the net
    calls the model's outputs, `as_cv2(array)` gives values a type that cv2 takes.
    """

    def __init__(self, cv2, read, names, as_cv2):
        self._cv2 = cv2
        self._read, self._names, self._as_cv2 = read, names, as_cv2
        self._samples = []
        self._requests = (0, [])  # (batch, the samples in batches of it)
        self._pools = {}  # key -> (header of its load request, nets, shapes they have seen)

    def sample(self, header, arrays):
        """Keep one sample. The first call forgets the samples before."""
        if header["first"]:
            self._samples = []
        self._samples.append({name: self._as_cv2(value) for name, value in arrays.items()})
        self._requests = (0, [])
        return {}, {}

    def load(self, header, arrays):
        """Read one net for each thread of a pool; returns one of them too."""
        nets = [self._read(self._cv2, header) for _ in range(header["nets"])]
        self._pools[header["key"]] = (header, nets, None)
        return nets[0]

    def run(self, header, arrays):
        """Every net runs every request at the same time as the others run theirs.

        Returns the outputs of the first net as 'request:name', and where another net's are not
        the same to the last bit, with how far they lie apart, of the scale (-1: not to be said):
        [[net, request, name, apart], ...].
        """
        asked, nets, requests = self._ready(header["key"])
        count = min(header["requests"], len(requests))
        found = [[None] * count for _ in nets]
        start = threading.Barrier(len(nets))

        def work(number):
            start.wait()
            for i in range(count):
                which = (number + i) % count  # at any time the nets see different inputs
                found[number][which] = self._forward(nets[number], asked, requests[which])

        _in_threads(work, len(nets), start)
        differing = [
            [number, i, name, _apart(found[0][i][name], array)]
            for number in range(1, len(nets))
            for i in range(count)
            for name, array in found[number][i].items()
            if not _same_bits(array, found[0][i][name])
        ]
        outputs = {"%d:%s" % (i, n): a for i in range(count) for n, a in found[0][i].items()}
        return {"requests": count, "differing": differing}, outputs

    def measure(self, header, arrays):
        """Keep every net busy for so many seconds: how long requests take, how many are done."""
        asked, nets, requests = self._ready(header["key"])
        window = _Window(header["seconds"], len(nets))
        names = [self._names(net, asked["outputs"]) for net in nets]

        def work(number):
            net, i = nets[number], number
            done = window.times[number]
            window.start.wait()
            while window.goes_on(number):
                request = requests[i % len(requests)]
                begin = time.perf_counter()
                for name, value in request.items():
                    net.setInput(value, name)
                net.forward(names[number])
                done.append((begin, time.perf_counter()))
                i += 1

        _in_threads(work, len(nets), window.start)
        return window.result(asked["batch"]), {}

    def unload(self, header, arrays):
        self._pools.pop(header["key"], None)
        return {}, {}

    def _ready(self, key):
        """The pool with OpenCV's threads set as it wants them, and the requests in its batches."""
        asked, nets, seen = self._pools[key]
        batch = asked["batch"]
        if self._requests[0] != batch:
            self._requests = (batch, _batches(self._samples, batch))
        requests = self._requests[1]
        shapes = {name: value.shape for name, value in requests[0].items()}
        if seen is not None and seen != shapes:
            nets = [self._read(self._cv2, asked) for _ in nets]
        self._pools[key] = (asked, nets, shapes)
        self._cv2.setNumThreads(asked["threads"] or -1)  # negative: OpenCV's own choice
        return asked, nets, requests

    def _forward(self, net, asked, request):
        for name, value in request.items():
            net.setInput(value, name)
        results = net.forward(self._names(net, asked["outputs"]))
        # A copy: what forward returns may be the net's own memory, which it writes again.
        return {name: np.array(r) for name, r in zip(asked["outputs"], results)}


class _Window:
    """A stretch of time in which every thread is busy from before its begin to after its end.

    The window opens when each thread has done one request, which warms it up. A thread that has
    passed the end goes on until the others have too, so that nobody's last request has the
    machine for itself.
    """

    def __init__(self, seconds, threads):
        self.start = threading.Barrier(threads)
        self.times = [[] for _ in range(threads)]  # per thread: (begin, end) of each request
        self._seconds, self._lock = seconds, threading.Lock()
        self._warm, self._over = set(), set()
        self._begin = self._end = None
        self._cpu_begin = self._cpu = None

    def goes_on(self, number):
        """Whether this thread shall do another request; asked before each."""
        if self.start.broken:  # another thread has failed: nobody waits for it
            return False
        if not self.times[number]:
            return True
        if self._end is not None and time.perf_counter() < self._end:
            return True
        with self._lock:
            if self._end is None:
                self._warm.add(number)
                if len(self._warm) == len(self.times):
                    self._cpu_begin = time.process_time()
                    self._begin = time.perf_counter()
                    self._end = self._begin + self._seconds
                return True
            self._over.add(number)
            if self._cpu is None:
                wall = time.perf_counter() - self._begin
                self._cpu = (time.process_time() - self._cpu_begin) / max(wall, 1e-9)
            return len(self._over) < len(self.times)

    def result(self, batch):
        """A request that reaches over an edge of the window counts with the part inside."""
        inside = [
            (begin, end)
            for times in self.times
            for begin, end in times
            if begin < self._end and end > self._begin
        ]
        parts = sum(
            (min(end, self._end) - max(begin, self._begin)) / max(end - begin, 1e-9)
            for begin, end in inside
        )
        taken = sorted(end - begin for begin, end in inside)
        return {
            "samples_per_s": batch * parts / self._seconds,
            # By Little's law, so that a thread that waits for a core counts with its waiting.
            "latency_s": len(self.times) * self._seconds / parts,
            "p95_s": taken[-(-95 * len(taken) // 100) - 1],
            "requests": len(taken),
            "cpu_wall": self._cpu,
        }


def _batches(samples, n):
    """Requests of n samples; the last one is filled up from the start."""
    count = -(-len(samples) // n)
    rows = [[samples[(i * n + j) % len(samples)] for j in range(n)] for i in range(count)]
    if n == 1:
        return [row[0] for row in rows]
    return [{name: np.concatenate([s[name] for s in row]) for name in row[0]} for row in rows]


def _in_threads(work, count, start):
    """work(0) ... work(count - 1), each in its thread; raises what the first of them raised."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except threading.BrokenBarrierError:
            pass  # another one failed before all had started
        except BaseException as error:
            failures.append(error)
            start.abort()

    threads = [threading.Thread(target=guarded, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _apart(first, other):
    """The largest difference over the largest value; -1 for shapes or numbers that forbid it."""
    if first.shape != other.shape or not (np.isfinite(first).all() and np.isfinite(other).all()):
        return -1
    scale = float(np.abs(first).max())
    largest = float(np.abs(other.astype(np.float64) - first).max())
    return largest / scale if scale else -1


def _same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
