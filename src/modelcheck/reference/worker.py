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
            self._statistics[key] = Histograms(names, header["lows"], header["highs"])
        return {"inputs": {value.name: value.type for value in session.get_inputs()}}, {}

    def run(self, header, arrays):
        return {}, self._run(header["key"], arrays)

    def observe(self, header, arrays):
        """Run one sample, and keep only what the statistics need of it."""
        self._statistics[header["key"]].add(self._run(header["key"], arrays))
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


class Histograms:
    """How many elements of each output lie in each of equal bins between two known ends.

    Of a large output every s-th element is counted, from another start in each sample: a few
    thousand of each sample tell where to cut a tensor off.
    """

    BINS, LOOKED_AT = 2048, 8192

    def __init__(self, names, lows, highs):
        self._ends = {name: (low, high) for name, low, high in zip(names, lows, highs)}
        self._counts = {name: np.zeros(self.BINS, np.int64) for name in names}
        self._samples = 0

    def add(self, outputs):
        for name, (low, high) in self._ends.items():
            values = outputs[name].reshape(-1)
            stride = max(1, values.size // self.LOOKED_AT) | 1  # odd: no power of two is its rhythm
            values = values[self._samples % stride :: stride]
            bins = (values - np.float32(low)) * np.float32(self.BINS / max(high - low, 1e-30))
            bins = np.nan_to_num(bins).clip(0, self.BINS - 1).astype(np.int64)
            self._counts[name] += np.bincount(bins, minlength=self.BINS)
        self._samples += 1

    def result(self):
        return dict(self._counts)


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
            kept = np.partition(kept, kept.size - self._n)[-self._n :]
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
