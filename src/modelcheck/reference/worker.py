"""The child process that runs onnx's native code and onnxruntime.

Run by path:  python -I worker.py FRAMES SERVE MEMORY_BYTES
Libraries are imported while no request waits, or by the first that needs them: each costs 0.1 s.
"""

import importlib.util
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here calls it: 0.05 s for no threads
import numpy as np

_LARGE_BYTES = 1024  # no shape is computed from a constant of this size


def _module(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Sessions:
    """The handlers of the requests, and the onnxruntime sessions they made."""

    def __init__(self):
        self._sessions = {}  # key -> InferenceSession
        self._statistics = {}  # key -> Ranges or Tails

    def check(self, header, arrays):
        """onnx's own checker, with shape inference; it reads the file itself, beyond 2 GiB too."""
        import onnx

        onnx.checker.check_model(header["path"], full_check=True)
        return {}, {}

    def shapes(self, header, arrays):
        """Infer the shape and element type of every value, free inputs fixed to those given."""
        import onnx

        if "skeleton" in arrays:
            model = onnx.ModelProto.FromString(arrays["skeleton"].tobytes())
        else:
            model = onnx.load(header["path"], load_external_data=False)
        graph = model.graph
        for tensor in graph.initializer:
            if len(tensor.raw_data) > _LARGE_BYTES:
                tensor.ClearField("raw_data")
        for value in graph.input:
            if value.name in header["inputs"]:
                _fix(value, header["inputs"][value.name])
        if header["inputs"]:
            # What the file says of the free shapes would contradict the fixed ones.
            del graph.value_info[:]
            for value in graph.output:
                value.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = {}
        for value in [*inferred.input, *inferred.value_info, *inferred.output]:
            tensor = value.type.tensor_type
            if tensor.HasField("shape"):
                dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
                values[value.name] = dims
        return {"shapes": values}, {}

    def load(self, header, arrays):
        """Open a session. `watch` says what `observe` keeps: ranges, tails, histograms, or ''."""
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = header["threads"]
        options.inter_op_num_threads = 1
        # One block for all tensors of a run lives beside what is given out of it: a third more.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        level = "ORT_ENABLE_ALL" if header["optimize"] else "ORT_DISABLE_ALL"
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        # Threads that spin while they wait would take the other child's core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # What the file says, and not what is faster: else roundings move to other places (33 dB),
        # and MatMul with dequantized weights rounds its activations to int8, too (error 0.7 %).
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        key = header["key"]
        session = onnxruntime.InferenceSession(
            header["path"], options, providers=["CPUExecutionProvider"]
        )
        self._sessions[key] = session
        names = [output.name for output in session.get_outputs()]
        if header["watch"] == "ranges":
            self._statistics[key] = Ranges(names)
        elif header["watch"] == "tails":
            self._statistics[key] = Tails(names, header["keep"], header["strides"])
        elif header["watch"] == "histograms":
            self._statistics[key] = Histograms(names)
        return {"inputs": {value.name: value.type for value in session.get_inputs()}}, {}

    def run(self, header, arrays):
        return {}, self._run(header["key"], arrays)

    def observe(self, header, arrays):
        """Run one sample, and keep only what the statistics need of it."""
        key = header["key"]
        session = self._sessions[key]
        binding = session.io_binding()
        for name, array in arrays.items():
            binding.bind_cpu_input(name, array)
        for output in session.get_outputs():
            binding.bind_output(output.name, "cpu")
        session.run_with_iobinding(binding)
        self._statistics[key].add(_OneByOne(session, binding))
        return {}, {}

    def observed(self, header, arrays):
        return {}, self._statistics[header["key"]].result()

    def unload(self, header, arrays):
        self._sessions.pop(header["key"], None)
        self._statistics.pop(header["key"], None)
        return {}, {}

    def _run(self, key, arrays):
        session = self._sessions[key]
        names = [output.name for output in session.get_outputs()]
        results = session.run(names, arrays)
        for name, result in zip(names, results):
            if not isinstance(result, np.ndarray) or result.dtype.kind not in "biuf":
                raise TypeError("output %r is no tensor of numbers" % name)
        return dict(zip(names, results))


class _OneByOne:
    """Outputs by name, as arrays over onnxruntime's memory where it lets them be."""

    def __init__(self, session, binding):
        names = [output.name for output in session.get_outputs()]
        self._values = dict(zip(names, binding.get_outputs()))

    def __getitem__(self, name):
        return self._values[name].numpy()


class Ranges:
    """The element-wise extremes of outputs that come as pairs 'minimum:i' and 'maximum:i'.

    'sum:minimum:i' and 'sum:maximum:i' add up those of the samples, 'samples' counts them.
    'shape:i' is kept from the first sample. Constant memory: a few numbers a tensor.
    """

    def __init__(self, names):
        self._names = names
        self._seen = {}
        self._sums = {n: np.float64(0) for n in names if not n.startswith("shape:")}
        self._samples = 0

    def add(self, outputs):
        self._samples += 1
        for name in self._names:
            value = outputs[name]
            if name in self._sums:
                self._sums[name] += np.float64(value)
            if name not in self._seen:
                self._seen[name] = value
            # np.minimum and np.maximum keep NaN: a tensor that was NaN once stays so.
            elif name.startswith("minimum:"):
                self._seen[name] = np.minimum(self._seen[name], value)
            elif name.startswith("maximum:"):
                self._seen[name] = np.maximum(self._seen[name], value)

    def result(self):
        sums = {"sum:" + name: np.asarray(value) for name, value in self._sums.items()}
        return {**self._seen, **sums, "samples": np.asarray(self._samples)}


class Histograms(Ranges):
    """As Ranges, and how many of the elements 'some:i' lie in bins of equal width.

    Bin k of width w = 2^e holds the values in [k w, (k + 1) w). Where values lie beyond the bins,
    neighbours become one, and w twice as wide: one pass, in constant memory, whatever comes.
    """

    BINS, LOOKED_AT = 4096, 8192

    def __init__(self, names):
        self._some = [name for name in names if name.startswith("some:")]
        self._counts = {name: _Bins(self.BINS) for name in self._some}
        super().__init__([name for name in names if name not in self._counts])

    def add(self, outputs):
        super().add(outputs)
        for name in self._some:
            values = outputs[name].reshape(-1)
            stride = max(1, values.size // self.LOOKED_AT)
            self._counts[name].add(values[::stride])

    def result(self):
        """With 'counts:i', 'first:i' (the k of the first bin) and 'exponent:i'."""
        found = super().result()
        for name, bins in self._counts.items():
            number = name.partition(":")[2]
            found["counts:" + number] = bins.counts
            found["first:" + number] = np.asarray(bins.first)
            found["exponent:" + number] = np.asarray(bins.exponent)
        return found


class _Bins:
    """Counts of values in at most `most` bins; see Histograms."""

    _NARROWEST = 2.0**-126  # of float32; what is nearer to zero lies in one bin with it

    def __init__(self, most):
        self._most = most
        self.counts = np.zeros(0, np.int64)
        self.first = self.exponent = 0

    def add(self, values):
        values = values[np.isfinite(values)].astype(np.float64)
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not self.counts.size:
            width = max(high - low, abs(high), self._NARROWEST) / self._most
            self.exponent = int(np.floor(np.log2(width)))
            self.first = int(np.floor(np.ldexp(low, -self.exponent)))
        while True:
            first = min(self.first, int(np.floor(np.ldexp(low, -self.exponent))))
            last = int(np.floor(np.ldexp(high, -self.exponent)))
            last = max(self.first + self.counts.size - 1, last)
            if last - first < self._most:
                break
            self._halve()
        wider = np.zeros(last - first + 1, np.int64)
        wider[self.first - first :][: self.counts.size] = self.counts
        at = np.floor(np.ldexp(values, -self.exponent)).astype(np.int64) - first
        self.counts = wider + np.bincount(at, minlength=wider.size)
        self.first = first

    def _halve(self):
        """Bins 2k and 2k + 1 become bin k of twice the width."""
        before = self.first % 2
        after = (before + self.counts.size) % 2
        padded = np.pad(self.counts, (before, after))
        self.counts = padded.reshape(-1, 2).sum(axis=1)
        self.first, self.exponent = self.first // 2, self.exponent + 1


class Tails:
    """The smallest and the largest elements of each output, over all samples.

    From the `keep` largest of all elements any quantile above them follows exactly, so no
    histogram, no bin width and no second pass are needed. Of a tensor with a stride s only every
    s-th element is looked at (from another start in each sample), which bounds the memory.
    """

    def __init__(self, names, keep, strides):
        self._keep = dict(zip(names, keep))
        self._strides = dict(zip(names, strides))
        self._low = {name: _Largest(n) for name, n in self._keep.items()}
        self._high = {name: _Largest(n) for name, n in self._keep.items()}
        self._count = dict.fromkeys(names, 0)
        self._samples = 0

    def add(self, outputs):
        for name, low in self._low.items():
            stride = self._strides[name]
            values = outputs[name].reshape(-1)[self._samples % stride :: stride]
            self._count[name] += values.size
            low.add(values, -1)
            self._high[name].add(values, 1)
        self._samples += 1

    def result(self):
        """'low:NAME' ascending, 'high:NAME' descending, 'count:NAME' elements looked at."""
        found = {}
        for name, low in self._low.items():
            found["low:" + name] = -low.sorted()
            found["high:" + name] = self._high[name].sorted()
            found["count:" + name] = np.int64(self._count[name])[None]
        return found


class _Largest:
    """The n largest of sign * values seen."""

    def __init__(self, n):
        self._n = max(int(n), 1)
        self._kept = np.empty(0, np.float32)
        self._threshold = -np.inf

    def add(self, values, sign):
        # Nearly all elements fail this comparison, at memory speed.
        beyond = values > self._threshold if sign > 0 else values < -self._threshold
        kept = np.concatenate([self._kept, sign * values[beyond]])
        if kept.size > self._n:
            kept = np.partition(kept, kept.size - self._n)[-self._n :].copy()  # a view keeps all
            self._threshold = kept.min()
        self._kept = kept

    def sorted(self):
        return np.sort(self._kept)[::-1]


def _import_onnx():
    import onnx  # noqa: F401


def _import_onnxruntime():
    import onnxruntime  # noqa: F401


def _fix(value, shape):
    """Give a graph input its actual shape."""
    tensor_shape = value.type.tensor_type.shape
    tensor_shape.ClearField("dim")
    for n in shape:
        tensor_shape.dim.add(dim_value=n)


if __name__ == "__main__":
    frames, serve = _module(sys.argv[1]), _module(sys.argv[2])
    serve.limit_memory(int(sys.argv[3]))
    sessions = Sessions()
    operations = ("check", "shapes", "load", "run", "observe", "observed", "unload")
    handlers = {name: getattr(sessions, name) for name in operations}
    serve.serve(frames, handlers, [_import_onnx, _import_onnxruntime], ["run", "observe"])
