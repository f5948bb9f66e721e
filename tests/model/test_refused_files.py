"""Files that are no ONNX model are named as what they are, with the way to ONNX."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from file_cases import refused
from google.protobuf import text_format
from onnx import numpy_helper
from small_models import convnet

from modelcheck.errors import InvalidInput
from modelcheck.model import load


def _zip(*names: str):
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"content")

    return write


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


_GRAPH_DEF = _field(1, _field(1, b"input") + _field(2, b"Placeholder"))
_SAVED_MODEL = b"\x08\x01" + _field(2, _field(1, _field(4, b"serve")))
_CAFFE_MODEL = _field(1, b"AlexNet") + _field(100, _field(1, b"data"))
_SAFETENSORS = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'

# name, content (bytes or a writer), what the message must hold
FILES = [
    ("empty.onnx", b"", ("is empty",)),
    ("page.onnx", b"\n<!DOCTYPE html><html><body>404</body></html>", ("web page", "raw file")),
    (
        "model.onnx",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        ("git-LFS pointer", "git lfs pull"),
    ),
    ("frozen.pb", _GRAPH_DEF, ("TensorFlow GraphDef", "tf2onnx", "--graphdef")),
    ("frozen.onnx", _GRAPH_DEF, ("TensorFlow GraphDef",)),
    ("saved_model.pb", _SAVED_MODEL, ("TensorFlow SavedModel", "--saved-model")),
    ("graph.pbtxt", b'node {\n  name: "x"\n}\n', ("TensorFlow GraphDef",)),
    ("net.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(40), ("TensorFlow Lite", "--tflite")),
    ("net.h5", b"\x89HDF\r\n\x1a\n" + bytes(40), ("HDF5", "Keras", "tf2onnx")),
    ("net.keras", _zip("metadata.json", "config.json"), ("Keras",)),
    ("net.pt", _zip("archive/data.pkl", "archive/version"), ("PyTorch", "torch.onnx.export")),
    ("net.onnx", _zip("net/data.pkl"), ("PyTorch",)),
    ("net.pth", pickle.dumps({"w": [1.0]}, protocol=2), ("pickle", "torch.onnx.export")),
    ("net.caffemodel", _CAFFE_MODEL, ("Caffe",)),
    ("net.prototxt", b'name: "AlexNet"\nlayer {\n}\n', ("Caffe",)),
    ("net.xml", b'<?xml version="1.0"?>\n<net name="n" version="11">', ("OpenVINO",)),
    ("net.bin", b"\xff" * 100, ("by its name", "OpenVINO")),
    ("net.engine", b"ftrt" + bytes(40), ("TensorRT", "the model it came from")),
    ("net.ort", b"\x1c\x00\x00\x00ORTM" + bytes(40), ("onnxruntime's own format",)),
    (
        "net.safetensors",
        struct.pack("<Q", len(_SAFETENSORS)) + _SAFETENSORS + bytes(4),
        ("safetensors", "torch.onnx.export"),
    ),
    ("net.param", b"7767517\n3 3\n", ("ncnn",)),
    ("net.param.bin", struct.pack("<I", 7767517) + bytes(40), ("ncnn",)),
    ("yolo.cfg", b"# comment\n[net]\nwidth=416\n", ("Darknet",)),
    ("yolo.weights", struct.pack("<3iq", 0, 2, 0, 1) + b"\xff" * 64, ("Darknet",)),
    ("net.gguf", b"GGUF" + bytes(40), ("GGUF",)),
    ("net.onnx.gz", b"\x1f\x8b\x08" + bytes(40), ("compressed archive", "Unpack")),
    ("net.zip", _zip("model.onnx"), ("compressed archive",)),
    ("weights.npz", _zip("w.npy"), ("NumPy",)),
    ("w.npy", lambda path: np.save(path, np.zeros(3)), ("NumPy", "--data")),
    ("cat.png", b"\x89PNG\r\n\x1a\n" + bytes(40), ("picture",)),
    (
        "net.onnxtxt",
        lambda path: path.write_text(text_format.MessageToString(convnet())),
        ("text",),
    ),
    (
        "input_0.pb",
        numpy_helper.from_array(np.ones(3, np.float32), "x").SerializeToString(),
        ("single ONNX tensor",),
    ),
]


@pytest.mark.parametrize(
    ("name", "content", "fragments"), FILES, ids=[f"{i}-{f[0]}" for i, f in enumerate(FILES)]
)
def test_file_of_another_kind_is_named_with_the_way_to_onnx(name, content, fragments, tmp_path):
    path = tmp_path / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)

    error = refused(path)

    assert error.exit_code == 3
    for fragment in (name, *fragments):
        assert fragment in str(error)
    assert error.remedy


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_no_model(seed, tmp_path):
    path = tmp_path / "noise.onnx"
    path.write_bytes(np.random.default_rng(seed).bytes(5000))
    assert refused(path).exit_code == 3


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.1, 0.02])
def test_truncated_model_is_refused(kept, tmp_path):
    path = tmp_path / "model.onnx"
    whole = convnet().SerializeToString()
    path.write_bytes(whole[: int(len(whole) * kept)])

    error = refused(path)

    assert error.exit_code == 3
    assert "truncated" in str(error)


def test_model_without_name_extension_is_loaded_all_the_same(tmp_path):
    path = tmp_path / "model.pb"
    path.write_bytes(convnet().SerializeToString())
    assert load(path).parameters == 108 + 4 + 720 + 5 + 1  # the last one in a Constant node


def test_graphs_nested_five_thousand_deep_are_refused(tmp_path):
    graph = b""
    for _ in range(5000):
        attribute = _field(1, b"then_branch") + b"\xa0\x01\x05" + _field(6, graph)
        graph = _field(1, _field(4, b"If") + _field(5, attribute))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x11"))

    error = refused(path)

    assert error.exit_code == 3
    assert "nested" in str(error)


def test_one_file_beyond_two_gibibytes_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "model.onnx"
    head = convnet().SerializeToString()
    length = 2**31
    with path.open("wb") as file:
        file.write(head + _varint(1000 << 3 | 2) + _varint(length))
        file.truncate(file.tell() + length)  # a hole: takes no room on disk

    with pytest.raises(InvalidInput, match="2 GiB") as caught:
        load(path)

    assert "external data" in str(caught.value)


@pytest.mark.parametrize(
    "field", ["name", "op_type", "input", "doc_string", "dim_param", "metadata", "attribute"]
)
def test_text_that_is_not_utf8_is_refused(field, tmp_path):
    model = convnet()
    marker = "MARKER"
    if field in ("name", "op_type", "doc_string"):
        setattr(model.graph.node[1], field, marker)
    elif field == "input":
        model.graph.node[1].input[0] = marker
    elif field == "attribute":
        model.graph.node[0].attribute[0].name = marker
    elif field == "dim_param":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = marker
    else:
        model.metadata_props.add(key="k", value=marker)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(b"MARKER", b"MARK\xff\xfe"))

    error = refused(path)

    assert error.exit_code == 3
    assert "UTF-8" in str(error)


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "dangling link"])
def test_what_is_no_file_is_refused_without_opening_it(kind, tmp_path):
    path = tmp_path / "model.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o140600)
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path = Path("/dev/null")
    with pytest.raises(InvalidInput) as caught:
        load(path)
    expected = {"pipe": "named pipe", "dangling link": "no such file"}.get(kind, kind)
    assert expected in str(caught.value)


def test_saved_model_folder_is_named(tmp_path):
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "saved_model.pb").write_bytes(_SAVED_MODEL)
    with pytest.raises(InvalidInput, match="--saved-model exported"):
        load(tmp_path / "exported")


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "resnet18.onnx").write_bytes(convnet().SerializeToString())
    with pytest.raises(InvalidInput, match=r"Did you mean 'resnet18\.onnx'"):
        load(tmp_path / "resnet81.onnx")


def test_link_to_a_model_is_a_model(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "model.onnx").write_bytes(convnet().SerializeToString())
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real" / "model.onnx")
    assert load(tmp_path / "link.onnx") == load(tmp_path / "real" / "model.onnx")


def test_file_name_with_control_codes_is_shown_escaped(tmp_path):
    path = tmp_path / "evil\x1b[31m\n.onnx"
    path.write_bytes(b"")
    assert "\\x1b[31m\\n.onnx" in str(refused(path))
