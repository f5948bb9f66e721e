"""Files that are no ONNX model: what they are, and the way to ONNX.

By magic bytes before anything is parsed; by structure and by extension once the bytes have turned
out to be no ONNX model (so an ONNX model may bear any name).

Source: the formats' own headers (HDF5 signature, TFLite flatbuffer identifier TFL3, safetensors
length + JSON, ncnn magic 7767517, the PROTO opcode of pickles, protobuf field numbers of GraphDef,
SavedModel, NetParameter and TensorProto).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from modelcheck.errors import InvalidInput, printable
from modelcheck.model import wire

_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Foreign:
    """A kind of file: what to call it and what to do with it."""

    what: str
    remedy: str

    def error(self, path: Path) -> InvalidInput:
        return InvalidInput(
            f"is {self.what}, not an ONNX model", where=printable(path.name), remedy=self.remedy
        )

    def by_its_name(self, path: Path) -> InvalidInput:
        return InvalidInput(
            f"is not an ONNX model; by its name it is {self.what}",
            where=printable(path.name), remedy=self.remedy,
        )  # fmt: skip


_TORCH_EXPORT = "torch.onnx.export(model.eval(), example_input, 'model.onnx')."
_TORCH_WAY = f"In PyTorch: {_TORCH_EXPORT}"
_TF_WAY = "Convert it with tf2onnx: python -m tf2onnx.convert {} --output model.onnx"
_NO_WAY_BACK = "It was made for one runtime and cannot be turned back: use the model it came from."

HTML = Foreign("a web page", "The download gave a page in place of the file; fetch the raw file.")
LFS = Foreign("a git-LFS pointer", "Run `git lfs pull` to fetch the file it stands for.")
ARCHIVE = Foreign("a compressed archive", "Unpack it, and give the .onnx file inside.")
TEXT = Foreign(
    "an ONNX model as text",
    "Convert it: google.protobuf.text_format.Parse or onnx.parser.parse_model, then onnx.save.",
)
TENSOR = Foreign("a single ONNX tensor", "Give the model; tensors are data for --data (as .npy).")
TORCH = Foreign("a PyTorch file", _TORCH_WAY)
PICKLE = Foreign("a Python pickle (as PyTorch and scikit-learn save)", _TORCH_WAY)
SAFETENSORS = Foreign(
    "a safetensors file (weights without a graph)",
    f"Load the weights into their model, then in PyTorch: {_TORCH_EXPORT}",
)
GRAPH_DEF = Foreign(
    "a TensorFlow GraphDef",
    _TF_WAY.format("--graphdef model.pb --inputs x:0 --outputs y:0"),
)
SAVED_MODEL = Foreign("a TensorFlow SavedModel", _TF_WAY.format("--saved-model FOLDER"))
TFLITE = Foreign("a TensorFlow Lite model", _TF_WAY.format("--tflite model.tflite --opset 13"))
KERAS = Foreign(
    "a Keras model",
    "In Keras 3: model.export('model.onnx', format='onnx'); else save it as a SavedModel and "
    "convert that with tf2onnx.",
)
HDF5 = Foreign("an HDF5 file (as Keras saves .h5)", KERAS.remedy)
CAFFE = Foreign("a Caffe model", "Convert .prototxt and .caffemodel with a Caffe-to-ONNX tool.")
OPENVINO = Foreign("an OpenVINO IR", _NO_WAY_BACK)
TENSORRT = Foreign("a TensorRT engine", _NO_WAY_BACK)
ORT = Foreign("a model in onnxruntime's own format (.ort)", _NO_WAY_BACK)
NCNN = Foreign("an ncnn model", _NO_WAY_BACK)
DARKNET = Foreign(
    "a Darknet network",
    f"Load .cfg and .weights in a PyTorch port of Darknet, then {_TORCH_EXPORT}",
)
GGUF = Foreign("a GGUF file", "Export the original model to ONNX.")
COREML = Foreign("a Core ML model", "Export the model it came from to ONNX.")
PADDLE = Foreign("a PaddlePaddle model", "Convert it with paddle2onnx.")
MXNET = Foreign("an MXNet model", "In MXNet: mx.onnx.export_model(symbol, params, ...).")
TORCH7 = Foreign("a Torch7 model", "Rebuild it in PyTorch. " + _TORCH_WAY)
NUMPY = Foreign("a NumPy file", "It holds arrays, no graph: give it to --data.")
PICTURE = Foreign("a picture", "Give pictures to --data.")

_MAGIC: tuple[tuple[int, bytes, Foreign], ...] = (
    (0, b"version https://git-lfs.github.com/spec", LFS),
    (0, b"\x89HDF\r\n\x1a\n", HDF5),
    (4, b"TFL3", TFLITE),
    (4, b"ORTM", ORT),
    (0, b"ptrt", TENSORRT),
    (0, b"ftrt", TENSORRT),
    (0, b"GGUF", GGUF),
    (0, b"7767517", NCNN),
    (0, struct.pack("<I", 7767517), NCNN),
    (0, b"\x93NUMPY", NUMPY),
    (0, b"\x89PNG\r\n\x1a\n", PICTURE),
    (0, b"\xff\xd8\xff", PICTURE),
    (0, b"\x1f\x8b", ARCHIVE),
    (0, b"BZh", ARCHIVE),
    (0, b"\xfd7zXZ\0", ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", ARCHIVE),
    (257, b"ustar", ARCHIVE),
)

_BY_EXTENSION = {
    ".pb": GRAPH_DEF, ".pbtxt": GRAPH_DEF, ".tflite": TFLITE, ".lite": TFLITE,
    ".h5": HDF5, ".hdf5": HDF5, ".keras": KERAS,
    ".pt": TORCH, ".pth": TORCH, ".ckpt": TORCH, ".pkl": PICKLE, ".t7": TORCH7,
    ".safetensors": SAFETENSORS, ".gguf": GGUF,
    ".caffemodel": CAFFE, ".prototxt": CAFFE,
    ".xml": OPENVINO, ".bin": OPENVINO,
    ".engine": TENSORRT, ".plan": TENSORRT, ".trt": TENSORRT, ".ort": ORT,
    ".param": NCNN, ".weights": DARKNET, ".cfg": DARKNET,
    ".mlmodel": COREML, ".mlpackage": COREML,
    ".pdmodel": PADDLE, ".pdiparams": PADDLE, ".params": MXNET,
    ".npy": NUMPY, ".npz": NUMPY,
    ".textproto": TEXT, ".onnxtxt": TEXT,
}  # fmt: skip

_TEXT_PATTERNS: tuple[tuple[re.Pattern[bytes], Foreign], ...] = (
    (re.compile(rb"<(!doctype html|html|head|body)\b", re.IGNORECASE), HTML),
    (re.compile(rb"(<\?xml[^>]*>\s*)?<net\b"), OPENVINO),
    (re.compile(rb"(#[^\n]*\n\s*)*\[(net|network|convolutional)\]"), DARKNET),
    (re.compile(rb"(#[^\n]*\n\s*)*(ir_version\s*:|<\s*ir_version)"), TEXT),
    (re.compile(rb"(#[^\n]*\n\s*)*(name\s*:\s*\"|layers?\s*\{|input\s*:\s*\")"), CAFFE),
    (re.compile(rb"(#[^\n]*\n\s*)*node\s*\{"), GRAPH_DEF),
)


def by_magic(data: memoryview) -> Foreign | None:
    """What a file is whose first bytes say so beyond doubt."""
    head = bytes(data[:_HEAD_BYTES])
    for offset, magic, foreign in _MAGIC:
        if head.startswith(magic, offset):
            return foreign
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(head)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and head[1:2]:
        return PICKLE
    if len(data) > 9 and head[8:10] in (b'{"', b"{}"):
        (length,) = struct.unpack("<Q", head[:8])
        return SAFETENSORS if length <= len(data) - 8 else None
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((foreign for pattern, foreign in _TEXT_PATTERNS if pattern.match(text)), None)


def explain(data: memoryview, path: Path) -> InvalidInput | None:
    """What a file probably is that turned out to be no ONNX model, or None."""
    fields = _first_fields(data)
    if (100, 2) in fields:
        return CAFFE.error(path)
    if fields.get((2, 2), b"").startswith(b"\n") and (1, 0) in fields:
        return SAVED_MODEL.error(path)  # version, then a MetaGraphDef; ONNX has a producer's name
    if (2, 0) in fields and (9, 2) in fields:
        return TENSOR.error(path)
    if fields.get((1, 2), b"").startswith(b"\n"):
        return GRAPH_DEF.error(path)  # a NodeDef, whose first field is its name
    kind = _BY_EXTENSION.get(path.suffix.lower())
    return kind.by_its_name(path) if kind else None


def folder_kind(path: Path) -> Foreign | None:
    """What a folder is that was given as a model."""
    if (path / "saved_model.pb").exists():
        return Foreign(SAVED_MODEL.what, _TF_WAY.format(f"--saved-model {printable(path.name)}"))
    return COREML if path.suffix == ".mlpackage" else None


def _zip_kind(head: bytes) -> Foreign:
    """By the name of the archive's first member; nothing is unpacked."""
    if len(head) < 30:
        return ARCHIVE
    (length,) = struct.unpack_from("<H", head, 26)
    name = head[30 : 30 + length]
    if name.endswith((b"data.pkl", b"constants.pkl", b".format_version", b"/version")):
        return TORCH
    if name in (b"metadata.json", b"config.json", b"model.weights.h5"):
        return KERAS
    return NUMPY if name.endswith(b".npy") else ARCHIVE


def _first_fields(data: memoryview) -> dict[tuple[int, int], bytes]:
    """(number, wire type) of a message's first fields, with the first bytes of each."""
    found: dict[tuple[int, int], bytes] = {}
    try:
        for index, field in enumerate(wire.fields(data, 0, len(data))):
            found.setdefault(
                (field.number, field.wire_type), bytes(data[field.content : field.content + 2])
            )
            if index > 1000:
                break
    except InvalidInput:
        pass
    return found
