"""Counts OpenCL kernel launches, as a whole and by layer. Part of the worker: Python 3.8, no more.

cv2 takes a request for OpenCL and may run on the CPU without a word, so a launch is the proof.
Every OpenCL object starts with a pointer to its driver's dispatch table (the extension
cl_khr_icd, whose table is a stable binary interface); the loader calls through it. `Launches`
puts a counting function into the entry of clEnqueueNDRangeKernel: no compiler is needed, and
nothing changes outside this process.
"""

import ctypes
import glob
import mmap
import os
import time

_ENTRY = 59  # clEnqueueNDRangeKernel, in cl_icd.h
_READ_WRITE = 3
_FUNCTION = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p,
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p,
)  # fmt: skip
_TRACE = "trace"
# The environment in which OpenCV writes its trace, deep enough to show each layer's forward.
TRACE_ENVIRONMENT = {
    "OPENCV_TRACE": "1",
    "OPENCV_TRACE_LOCATION": _TRACE,
    "OPENCV_TRACE_DEPTH_OPENCV": "4",
    "OPENCV_TRACE_MAX_CHILDREN": "1000000",
    "OPENCV_TRACE_MAX_CHILDREN_OPENCV": "1000000",
}
_MARKS = 50
_FILLERS = 2_000  # calls whose trace is longer than the trace's buffer


class Launches:
    """Counts from `install` to `remove`; `times` are those of time.perf_counter_ns."""

    def __init__(self):
        self.times = []
        self._entries = []  # (address, original function), kept alive with the replacement

    def install(self):
        """Count on every platform; OSError where there is no OpenCL loader."""
        if self._entries:
            return
        for platform in _platforms():
            table = ctypes.cast(platform, ctypes.POINTER(ctypes.c_void_p))[0]
            address = table + _ENTRY * ctypes.sizeof(ctypes.c_void_p)
            if any(address == known[0] for known in self._entries):
                continue
            slot = _writable(address)
            original = _FUNCTION(slot.value)
            counting = self._counting(original)
            self._entries.append((address, original, slot.value, counting))
            slot.value = ctypes.cast(counting, ctypes.c_void_p).value

    def remove(self):
        """Call the driver directly again, as timed runs must."""
        for address, _, value, _ in self._entries:
            ctypes.c_void_p.from_address(address).value = value
        self._entries = []

    def _counting(self, original):
        def enqueue(*arguments):
            self.times.append(time.perf_counter_ns())
            return original(*arguments)

        return _FUNCTION(enqueue)


def _platforms():
    runtime = os.environ.get("OPENCV_OPENCL_RUNTIME") or "libOpenCL.so.1"
    library = ctypes.CDLL(runtime)
    count = ctypes.c_uint()
    if library.clGetPlatformIDs(0, None, ctypes.byref(count)) or not count.value:
        return []
    found = (ctypes.c_void_p * count.value)()
    library.clGetPlatformIDs(count, found, None)
    return list(found)


def _writable(address):
    page = address & ~(mmap.PAGESIZE - 1)
    length = ctypes.c_size_t(address + ctypes.sizeof(ctypes.c_void_p) - page)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    if protect(ctypes.c_void_p(page), length, _READ_WRITE):
        raise OSError(ctypes.get_errno(), "the driver's dispatch table cannot be changed")
    return ctypes.c_void_p.from_address(address)


def default_device(cv2):
    """What OpenCV takes for its OpenCL device; None where there is none."""
    if not cv2.ocl.haveOpenCL():
        return None
    device = cv2.ocl.Device_getDefault()
    if not device.name():  # a loader, but no device that OpenCV would take
        return None
    return {
        "name": device.name(),
        "version": device.version(),
        "on_cpu": bool(device.type() & cv2.ocl.DEVICE_TYPE_CPU),
        "fp16": device.isExtensionSupported("cl_khr_fp16"),
    }


def layers_of_forward(cv2, launches, net, forward):
    """One traced forward by layer: [name, type, executed, launches].

    A layer that is fused into another is not executed. OpenCV's trace says when each layer began
    and ended on its own clock; marks that are in the trace and timed here tie the two clocks
    together to about a microsecond, which tells what layer each launch belongs to.
    """
    import numpy as np

    small = np.zeros((4, 4), np.float32)
    marks = []
    for _ in range(_MARKS):
        begin = time.perf_counter_ns()
        cv2.norm(small)
        marks.append((begin, time.perf_counter_ns()))
    launches.times.clear()
    forward()
    times = list(launches.times)
    for _ in range(_FILLERS):
        cv2.norm(small)
    places, regions = _read_trace()
    last = [r for r in regions if "Net::forward(" in places[r[2]]][-1]
    norms = [r for r in regions if "cv::norm(" in places[r[2]] and r[1] < last[0]][-_MARKS:]
    earliest = max(mark[0] - norm[0] for mark, norm in zip(marks, norms))
    latest = min(mark[1] - norm[1] for mark, norm in zip(marks, norms))
    shift = (earliest + latest) // 2
    inside = [r for r in regions if last[0] <= r[0] and r[1] <= last[1]]
    layers = [r for r in inside if "::forwardLayer(" in places[r[2]]]
    bodies = [r for r in inside if "LayerImpl::forward(" in places[r[2]]]
    names = list(net.getLayerNames())
    if len(layers) != len(names) + 1:  # the first one is the net's input
        raise RuntimeError("the trace has %d layers, the net %d" % (len(layers), len(names) + 1))
    found = []
    for (begin, end, _), name in zip(layers[1:], names):
        executed = any(begin <= body[0] <= end for body in bodies)
        count = sum(begin <= t - shift <= end for t in times)
        found.append([name, net.getLayer(net.getLayerId(name)).type, executed, count])
    return found


def _read_trace():
    """The trace so far: {number: text of the place} and [(begin, end, number)], by time."""
    places, begun, regions = {}, {}, []
    with open(_TRACE + ".txt") as file:
        for line in file:
            if line.startswith("l,"):
                _, number, _, _, text = line.split(",", 4)
                places[int(number)] = text
    for path in glob.glob(_TRACE + "-*.txt"):
        with open(path) as file:
            for line in file:
                kind, *rest = line.split(",")
                if kind == "b" and len(rest) == 4:
                    begun[int(rest[3])] = (int(rest[1]), int(rest[2]))
                elif kind == "e" and len(rest) >= 4 and int(rest[3]) in begun:
                    begin, number = begun.pop(int(rest[3]))
                    regions.append((begin, int(rest[1]), number))
    return places, sorted(regions)
