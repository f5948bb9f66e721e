"""The child process that runs cv2.dnn. Standard library, numpy and cv2 only; Python 3.8 or newer.

Run by path under any interpreter:  python -I worker.py FRAMES SERVE MEMORY_BYTES
It holds nets by key. A Net never sees two input shapes: cv2 5.0 classic and 4.14 fuse layers
again when a Net is given another batch size, and return wrong numbers or crash.
"""

import ctypes
import hashlib
import importlib.util
import os
import sys
import time

import numpy as np

_ENGINES = {"classic": 1, "new": 2, "auto": 3}
_FORMATS = {0: "classic", 1: "new"}
# Device word -> the ends of cv2.dnn's names for backend and target. The CPU is the default.
DEVICES = {
    "cpu-fp16": ("OPENCV", "CPU_FP16"),
    "opencl": ("OPENCV", "OPENCL"),
    "opencl-fp16": ("OPENCV", "OPENCL_FP16"),
    "cuda": ("CUDA", "CUDA"),
    "cuda-fp16": ("CUDA", "CUDA_FP16"),
}
# A timed run shorter than this is repeated, so that the clock and the call are lost in it.
_SHORTEST_RUN_S = 1e-3
_MOST_CUDADEVICES = 64


def _module(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LoadFailed(Exception):
    """cv2 could not make a net of the file."""


class EmptyNet(LoadFailed):
    """cv2 made a net with nothing in it; the log may say which operators it does not know."""


class Nets:
    """The handlers of the requests, and the nets they made."""

    def __init__(self):
        self._files = {}  # key -> the header of its load request
        self._nets = {}  # key -> (shapes, net)
        self._samples = []
        self._no_cv2 = None
        self._launches = _OPENCL.Launches()
        self._pools = None  # made with the first request about pools, because it needs cv2

    def import_cv2(self):
        """While no request waits. cv2 tells its fault at the first import only: `hello` says it."""
        try:
            import cv2  # noqa: F401
        except Exception as error:
            self._no_cv2 = error

    def hello(self, header, arrays):
        if self._no_cv2 is not None:
            raise self._no_cv2
        import cv2

        return {
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "python": sys.version.split()[0],
            "engines": _engines(cv2),
            "threads": cv2.getNumThreads(),
            "cpus": cv2.getNumberOfCPUs(),
            "build_digest": hashlib.sha256(cv2.getBuildInformation().encode()).hexdigest(),
        }, {}

    def build(self, header, arrays):
        """What this OpenCV was built with, and the OpenCL device it would take."""
        import cv2

        return {
            "information": cv2.getBuildInformation(),
            "features": cv2.getCPUFeaturesLine(),
            "opencl": _OPENCL.default_device(cv2),
            "cuda_devices": _cuda_devices(cv2),
        }, {}

    def load(self, header, arrays):
        """Read the model and say what became of it. A fresh net is read for each input shape."""
        import cv2

        if header["threads"]:
            cv2.setNumThreads(header["threads"])
        key = header["key"]
        if header["device"].startswith("opencl"):
            self._count_launches()
        start = time.perf_counter()
        net = _read(cv2, header)
        self._files[key] = header
        self._nets[key] = (None, net)
        return {
            "engine": _engine_of(net),
            "threads": cv2.getNumThreads(),
            "load_s": time.perf_counter() - start,
        }, {}

    def forward(self, header, arrays):
        before = len(self._launches.times)
        outputs, names = self._forward(header["key"], arrays)
        return {"renamed": names, "launches": len(self._launches.times) - before}, outputs

    def opencl(self, header, arrays):
        """The OpenCL device in use."""
        import cv2

        return {"device": _OPENCL.default_device(cv2)}, {}

    def cuda(self, header, arrays):
        """What the net says of where its layers run, and whether this process uses a device."""
        net = self._nets[header["key"]][1]
        # OpenCV's INFO lines go to C's stdout, which is flushed only when it is full.
        ctypes.CDLL(None).fflush(None)
        return {"dump": net.dump(), "context": _has_cuda_context()}, {}

    def layers(self, header, arrays):
        """Run once more, traced: what each layer did. The environment must ask for the trace."""
        import cv2

        key = header["key"]
        self._forward(key, arrays)  # compiles kernels and tunes them
        self._forward(key, arrays)
        found = _OPENCL.layers_of_forward(
            cv2, self._launches, self._nets[key][1], lambda: self._forward(key, arrays)
        )
        return {"layers": found}, {}

    def prepare(self, header, arrays):
        """Keep one sample for timing. The first call forgets the samples before."""
        if header["first"]:
            self._samples = []
        self._samples.append(arrays)
        return {}, {}

    def warm_up(self, header, arrays):
        """Run each net a few times; say how often a timed run of it has to repeat."""
        repeats, before = {}, len(self._launches.times)
        for key in header["keys"]:
            for _ in range(header["runs"]):
                seconds = self._timed(key, self._samples[0], 1)
            repeats[key] = max(1, int(_SHORTEST_RUN_S / max(seconds, 1e-7)))
        launches = len(self._launches.times) - before
        self._launches.remove()  # what is timed calls the driver directly
        return {"repeats": repeats, "launches": launches}, {}

    def block(self, header, arrays):
        """Time runs of nets in the given order; wall seconds a forward, and CPU over wall."""
        sample = self._samples[header["sample"] % len(self._samples)]
        cpu, wall = time.process_time(), time.perf_counter()
        seconds = [self._timed(key, sample, header["repeats"][key]) for key in header["order"]]
        wall = time.perf_counter() - wall
        return {"seconds": seconds, "cpu_wall": (time.process_time() - cpu) / max(wall, 1e-9)}, {}

    def unload(self, header, arrays):
        self._nets.pop(header["key"], None)
        self._files.pop(header["key"], None)
        return {}, {}

    def pool_sample(self, header, arrays):
        return self._all_pools().sample(header, arrays)

    def pool_load(self, header, arrays):
        """Read the nets of a pool. Their outputs, run side by side, must be proven equal."""
        if header["device"].startswith("opencl"):
            self._count_launches()
        return {"engine": _engine_of(self._all_pools().load(header, arrays))}, {}

    def pool_run(self, header, arrays):
        before = len(self._launches.times)
        fields, outputs = self._all_pools().run(header, arrays)
        return dict(fields, launches=len(self._launches.times) - before), outputs

    def pool_measure(self, header, arrays):
        self._launches.remove()  # what is timed calls the driver directly
        return self._all_pools().measure(header, arrays)

    def pool_unload(self, header, arrays):
        return self._all_pools().unload(header, arrays)

    def _all_pools(self):
        import cv2

        if self._pools is None:
            self._pools = _POOL.Pools(cv2, _read, _output_names, _as_cv2)
        return self._pools

    def first(self, header, arrays):
        """The first forward of a net, timed: it plans memory, packs weights, compiles kernels."""
        before, start = len(self._launches.times), time.perf_counter()
        self._forward(header["key"], arrays)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "launches": len(self._launches.times) - before}, {}

    def measure(self, header, arrays):
        """Time each of the forwards that fit into the seconds given, within the counts given."""
        sample = self._samples[header["sample"] % len(self._samples)]
        cpu, begin = time.process_time(), time.perf_counter()
        seconds = []
        while len(seconds) < header["most"]:
            seconds.append(self._timed(header["key"], sample, 1))
            if len(seconds) >= header["least"] and time.perf_counter() - begin > header["seconds"]:
                break
        wall = time.perf_counter() - begin
        return {"cpu_s": time.process_time() - cpu, "wall_s": wall}, {"seconds": np.array(seconds)}

    def memory(self, header, arrays):
        """The process's resident memory, now and at its peak, in bytes."""
        return {"resident": _status_bytes("VmRSS"), "peak": _status_bytes("VmHWM")}, {}

    def _timed(self, key, sample, repeats):
        net, outputs = self._net_for(key, sample), self._files[key]["outputs"]
        names = _output_names(net, outputs)
        inputs = {name: _as_cv2(value) for name, value in sample.items()}
        start = time.perf_counter()
        for _ in range(repeats):
            for name, value in inputs.items():
                net.setInput(value, name)
            net.forward(names)
        return (time.perf_counter() - start) / repeats

    def _forward(self, key, arrays):
        net, outputs = self._net_for(key, arrays), self._files[key]["outputs"]
        for name, value in arrays.items():
            net.setInput(_as_cv2(value), name)
        names = _output_names(net, outputs)
        results = net.forward(names)
        renamed = [] if names == outputs else names
        return {out: np.asarray(r) for out, r in zip(outputs, results)}, renamed

    def _net_for(self, key, arrays):
        import cv2

        shapes = {name: value.shape for name, value in arrays.items()}
        seen, net = self._nets[key]
        if seen is not None and seen != shapes:
            net = _read(cv2, self._files[key])
        if seen != shapes:
            self._nets[key] = (shapes, net)
        return net

    def _count_launches(self):
        try:
            self._launches.install()
        except (OSError, AttributeError) as error:  # no loader: then cv2 runs on the CPU as well
            print("launches are not counted: %s" % error, file=sys.stderr)


def _read(cv2, asked):
    try:
        if _engines(cv2) == ["auto"]:  # before 5.0 there is one engine and no argument for it
            net = cv2.dnn.readNetFromONNX(asked["path"])
        else:
            net = cv2.dnn.readNetFromONNX(asked["path"], engine=_ENGINES[asked["engine"]])
    except cv2.error as error:
        raise LoadFailed(str(error)) from None
    if net.empty():
        raise EmptyNet("cv2 returned an empty net, which is its way to say 'unsupported operator'")
    if asked["device"] in DEVICES:
        backend, target = DEVICES[asked["device"]]
        net.setPreferableBackend(getattr(cv2.dnn, "DNN_BACKEND_" + backend))
        net.setPreferableTarget(getattr(cv2.dnn, "DNN_TARGET_" + target))
    for name, switch in (("winograd", net.enableWinograd), ("fusion", net.enableFusion)):
        if asked[name] is not None:
            switch(asked[name])
    if net.empty():
        raise EmptyNet("the net is empty once fusion is switched off: this engine cannot do that")
    return net


def _status_bytes(key):
    # Not getrusage: its ru_maxrss starts with the memory of the process that this one was made by.
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key + ":"):
                return 1024 * int(line.split()[1])
    return 0


def _cuda_devices(cv2):
    try:
        return cv2.cuda.getCudaEnabledDeviceCount()
    except (AttributeError, cv2.error):
        return 0


def _has_cuda_context():
    """Whether the primary context, which OpenCV uses, is active on some device."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    flags, active = ctypes.c_uint(), ctypes.c_int()
    for device in range(_MOST_CUDADEVICES):
        failed = library.cuDevicePrimaryCtxGetState(
            device, ctypes.byref(flags), ctypes.byref(active)
        )
        if failed:
            return False
        if active.value:
            return True
    return False


def _engines(cv2):
    return ["auto", "new", "classic"] if hasattr(cv2.dnn, "ENGINE_NEW") else ["auto"]


def _engine_of(net):
    # 4.x has the classic engine only, and no way to ask.
    return (
        _FORMATS.get(net.getModelFormat(), "unknown")
        if hasattr(net, "getModelFormat")
        else "classic"
    )


def _output_names(net, outputs):
    """The names under which this net knows the model's outputs: most often the same.

    A single renamed one is known by what is left over; of several only the order would tell, and
    the classic engine's order is not the model's, so cv2 is left to say that it knows no such name.
    """
    known = list(net.getUnconnectedOutLayersNames())
    lost = [name for name in outputs if name not in known]
    spare = [name for name in known if name not in outputs]
    if len(lost) == len(spare) == 1:
        return [spare[0] if name == lost[0] else name for name in outputs]
    return outputs


def _as_cv2(array):
    """cv2 takes no float16 tensors, and 4.x no bool: give it the same values in a type it takes."""
    import cv2

    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype == np.bool_ and not hasattr(cv2, "CV_Bool"):
        return array.astype(np.uint8)
    return array


_HERE = os.path.dirname(os.path.abspath(__file__))
_OPENCL = _module(os.path.join(_HERE, "worker_opencl.py"))
_POOL = _module(os.path.join(_HERE, "worker_pool.py"))

if __name__ == "__main__":
    frames, serve = _module(sys.argv[1]), _module(sys.argv[2])
    serve.limit_memory(int(sys.argv[3]))
    nets = Nets()
    operations = (
        "hello", "build", "load", "forward", "opencl", "cuda", "layers",
        "prepare", "warm_up", "block", "unload", "first", "measure", "memory",
        "pool_sample", "pool_load", "pool_run", "pool_measure", "pool_unload",
    )  # fmt: skip
    handlers = {name: getattr(nets, name) for name in operations}
    # setInput copies what it is given (tests/targets/test_worker_memory.py).
    serve.serve(frames, handlers, [nets.import_cv2], borrowing=["forward"])
