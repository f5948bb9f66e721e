"""What runs inside a peer's own environment: one transform of one model by one peer.

    python peers_tools.py PEER MODEL CALIBRATION OUT

CALIBRATION is an .npz whose entry '3:image' is input 'image' of sample 3, in order. numpy and the
peer's own packages only. A refusal is the peer's own exception, on stderr.
"""

import sys

import numpy as np

OPSET = 13  # the first with scales by channel
CONSTANT_WEIGHTS = 4  # the first version of the format with weights that are no inputs


class NothingToLeave(Exception):
    """Leaving these operators in float32 is no other way to quantize this model."""


def quantize_static(model, calibration, out, form, method, leave=()):
    """onnxruntime's static quantization behind its own pre-process, with its defaults.

    int8 throughout in QDQ form, which OpenCV's new engine loads with no other types; QOperator
    takes uint8 activations, the type that onnxruntime itself recommends there. `leave` are
    operators that stay in float32.
    """
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    prepared = out + ".prepared.onnx"
    pre_process(model, calibration, prepared)
    qdq = form == "QDQ"
    known = QDQRegistry if qdq else QLinearOpsRegistry
    if leave and not set(leave) & _operators(prepared):
        raise NothingToLeave("the model has no " + ", ".join(leave))

    class Reader(ort.CalibrationDataReader):
        def __init__(self):
            self.samples = samples_of(calibration)

        def get_next(self):
            return next(self.samples, None)

    def quantize(per_channel):
        ort.quantize_static(
            prepared, out, Reader(),
            quant_format=ort.QuantFormat[form],
            calibrate_method=ort.CalibrationMethod[method],
            op_types_to_quantize=sorted(set(known) - set(leave)) if leave else None,
            per_channel=per_channel,
            activation_type=ort.QuantType.QInt8 if qdq else ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
        )  # fmt: skip

    try:
        quantize(per_channel=True)
    except (ValueError, AttributeError, IndexError) as error:  # how its own faults show
        print(f"by channel it fails, so by tensor: {error}", file=sys.stderr)
        quantize(per_channel=False)


def pre_process(model, calibration, out):
    """onnxruntime's step before quantization, by itself; without symbolic shapes if they fail."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = modern(model, out)
    try:
        quant_pre_process(model, out)
    except Exception as error:
        print(f"symbolic shape inference failed: {error}", file=sys.stderr)
        quant_pre_process(model, out, skip_symbolic_shape=True)


def nncf_quantize(model, calibration, out):
    """NNCF's post-training quantization on its ONNX backend, with its defaults."""
    import nncf
    import onnx

    samples = list(samples_of(calibration))
    read = onnx.load(modern(model, out))
    onnx.save(nncf.quantize(read, nncf.Dataset(samples), subset_size=len(samples)), out)


def slim(model, calibration, out):
    import onnxslim

    onnxslim.slim(model, out)


def simplify(model, calibration, out):
    import onnx
    import onnxsim

    simplified, proven = onnxsim.simplify(model)
    if not proven:
        raise ValueError("onnxsim's own check of what it made failed")
    onnx.save(simplified, out)


def modern(model, out):
    """A copy as quantizers want it: opset 13, and weights that are constants, not default inputs.

    NNCF refuses opsets below 10, and scales by channel came with 13; onnxruntime folds no weight
    that is an input, too, and refuses an opset that is imported twice. Both say so, and whoever
    uses them converts the model first.
    """
    import onnx
    from onnx import version_converter

    read = onnx.load(model)
    weights = {tensor.name for tensor in read.graph.initializer}
    inputs = [value for value in read.graph.input if value.name not in weights]
    opset = max(o.version for o in read.opset_import if o.domain in ("", "ai.onnx"))
    if opset < OPSET:
        try:
            read = version_converter.convert_version(read, OPSET)
        except Exception as error:
            print(f"opset {opset} stays: {error}", file=sys.stderr)
    del read.graph.input[:]
    read.graph.input.extend(inputs)
    once = {one.domain or "": one for one in read.opset_import}
    del read.opset_import[:]
    read.opset_import.extend(once.values())
    read.ir_version = max(read.ir_version, CONSTANT_WEIGHTS)
    onnx.save(read, out + ".modern.onnx")
    return out + ".modern.onnx"


def samples_of(calibration):
    """One {input: array} a sample."""
    with np.load(calibration) as stored:
        names = sorted({name.partition(":")[2] for name in stored.files})
        for i in range(len(stored.files) // len(names)):
            yield {name: stored[f"{i}:{name}"] for name in names}


def _operators(model):
    import onnx

    return {node.op_type for node in onnx.load(model, load_external_data=False).graph.node}


def _static(form, method, leave=()):
    return lambda model, calibration, out: quantize_static(
        model, calibration, out, form, method, leave
    )


PEERS = {
    "onnxslim": slim,
    "onnxsim": simplify,
    "ort-pre-process": pre_process,
    "ort-qdq-minmax": _static("QDQ", "MinMax"),
    "ort-qdq-percentile": _static("QDQ", "Percentile"),
    "ort-qdq-entropy": _static("QDQ", "Entropy"),
    "ort-qdq-minmax-no-gemm": _static("QDQ", "MinMax", ("Gemm",)),
    "ort-qdq-percentile-no-gemm": _static("QDQ", "Percentile", ("Gemm",)),
    "ort-qdq-entropy-no-gemm": _static("QDQ", "Entropy", ("Gemm",)),
    "ort-qoperator-minmax": _static("QOperator", "MinMax"),
    "ort-qoperator-percentile": _static("QOperator", "Percentile"),
    "ort-qoperator-entropy": _static("QOperator", "Entropy"),
    "nncf": nncf_quantize,
}


if __name__ == "__main__":
    PEERS[sys.argv[1]](*sys.argv[2:])
