"""A child process for tests: onnx's checker, onnxruntime and cv2.dnn on models held in memory.

Run by path:  python -I nets_worker.py FRAMES SERVE MEMORY_BYTES
"""

import importlib.util
import os
import sys
import tempfile


def _module(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(header, arrays):
    import onnx

    onnx.checker.check_model(onnx.ModelProto.FromString(arrays["model"].tobytes()), full_check=True)
    return {}, {}


def onnxruntime(header, arrays):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not header["optimize"]:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(arrays.pop("model").tobytes(), options)
    names = [o.name for o in session.get_outputs()]
    return {"names": names}, dict(zip(names, session.run(names, arrays)))


def opencv(header, arrays):
    import cv2

    cv2.setNumThreads(1)
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(arrays.pop("model").tobytes())
        file.flush()
        net = cv2.dnn.readNetFromONNX(file.name, header["engine"])
    if net.empty():
        raise RuntimeError("empty net")
    for name, array in arrays.items():
        net.setInput(array, name)
    names = header["outputs"]
    return {}, dict(zip(names, net.forward(names)))


if __name__ == "__main__":
    frames, serve = _module(sys.argv[1]), _module(sys.argv[2])
    serve.limit_memory(int(sys.argv[3]))
    serve.serve(frames, {"check": check, "onnxruntime": onnxruntime, "opencv": opencv})
