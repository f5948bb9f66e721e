"""External data are read from beside the model and from nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from file_cases import refused
from onnx import TensorProto, helper, numpy_helper
from small_models import convnet, info, model_of, tensor, with_external_data

from modelcheck.errors import InvalidInput
from modelcheck.model import Model, load, save

WEIGHTS = "weights.bin"


def _entry(key: str, value: str | None, *, of: str = "gw") -> Callable[[Path], None]:
    """Set, or with None remove, an entry of a weight's external data."""

    def change(folder: Path) -> None:
        path = folder / "model.onnx"
        model = onnx.load(path, load_external_data=False)
        target = tensor(model, of)
        kept = [e for e in target.external_data if e.key != key]
        if value is not None:
            kept.append(onnx.StringStringEntryProto(key=key, value=value))
        del target.external_data[:]
        target.external_data.extend(kept)
        path.write_bytes(model.SerializeToString())

    return change


def _moved(where: str, location: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        target = folder / where
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).rename(target)
        for name in ("w", "gw"):
            _entry("location", location.format(folder=folder), of=name)(folder)

    return change


def _missing(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _truncated(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 1)


def _symlink(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "real.bin")
    (folder / WEIGHTS).symlink_to("real.bin")


def _parent_symlink(folder: Path) -> None:
    _moved("real/w.bin", "linked/w.bin")(folder)
    (folder / "linked").symlink_to("real")


def _hardlink(folder: Path) -> None:
    os.link(folder / WEIGHTS, folder / "second-name")


def _pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def _folder(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def _socket(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mknod(folder / WEIGHTS, 0o140600)


def _both(folder: Path) -> None:
    path = folder / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    tensor(model, "gw").raw_data = bytes(2880)
    path.write_bytes(model.SerializeToString())


BAD = [
    ("missing", _missing, ("'w'", "is missing")),
    ("truncated", _truncated, ("ends early",)),
    ("parent folder", _moved("../outside.bin", "../outside.bin"), ("leads out",)),
    ("parent folder later", _moved("outside.bin", "a/../../outside.bin"), ("leads out",)),
    ("dots inside", _moved("outside.bin", "a/../outside.bin"), ("leads out",)),
    ("absolute", _moved("away.bin", "{folder}/away.bin"), ("absolute path",)),
    ("system file", _entry("location", "/etc/passwd"), ("absolute path",)),
    ("nothing but a dot", _entry("location", "."), ("leads out",)),
    ("symbolic link", _symlink, ("symbolic link",)),
    ("folder that is a link", _parent_symlink, ("symbolic link 'linked'",)),
    ("hard link", _hardlink, ("hard link", "2 names")),
    ("named pipe", _pipe, ("named pipe",)),
    ("folder", _folder, ("a folder",)),
    ("socket", _socket, ("a socket",)),
    ("no location", _entry("location", None), ("no location",)),
    ("empty location", _entry("location", ""), ("no location",)),
    ("location with NUL", _entry("location", "a\0b"), ("cannot be read",)),
    ("offset past the end", _entry("offset", "999999999"), ("ends early",)),
    ("offset just past", _entry("offset", "433"), ("ends early",)),
    ("offset negative", _entry("offset", "-8"), ("offset", "'-8'")),
    ("offset no number", _entry("offset", "NaN"), ("offset", "'NaN'")),
    ("offset of other digits", _entry("offset", "１２"), ("offset",)),
    ("offset overlong", _entry("offset", "9" * 5000), ("offset",)),
    ("length unlike shape", _entry("length", "2876"), ("2,876", "2,880")),
    ("length negative", _entry("length", "-1"), ("length", "'-1'")),
    ("length huge", _entry("length", str(2**62)), ("length",)),
    ("the model itself", _entry("location", "model.onnx"), ("the model file itself",)),
    ("unknown key", _entry("ofset", "0"), ("unknown key 'ofset'", "'offset'")),
    ("dunder key", _entry("__class__", "x"), ("unknown key",)),
    ("raw data too", _both, ("both raw_data and external data",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fragments"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_external_data_out_of_bounds_are_refused(change, fragments, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = with_external_data(folder)
    change(folder)

    error = refused(path)

    assert error.exit_code == 3
    for fragment in ("model.onnx", "initializer", *fragments):
        assert fragment in str(error)
    assert error.remedy


def test_device_as_data_file_is_refused(tmp_path):
    path = with_external_data(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    try:
        os.mknod(tmp_path / WEIGHTS, 0o020600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root makes device files")
    assert "a device" in str(refused(path))


def _plain(folder: Path) -> None: ...


ACCEPTED = [
    ("plain", _plain),
    ("in a folder below", _moved("deep/er/w.bin", "deep/er/w.bin")),
    ("with dots and slashes", _moved("deep/w.bin", "./deep//w.bin")),
    ("without an offset of 0", _entry("offset", None, of="w")),
    ("without a length", _entry("length", None)),
    ("with a checksum", _entry("checksum", "0" * 40)),
    ("with a base path", _entry("basepath", "/somewhere/else")),
]  # fmt: skip


@pytest.mark.parametrize("change", [c[1] for c in ACCEPTED], ids=[c[0] for c in ACCEPTED])
def test_valid_external_data_give_the_model_that_holds_its_weights_inside(change, tmp_path):
    path = with_external_data(tmp_path)
    change(tmp_path)
    assert load(path) == Model.from_proto(convnet())


def test_constants_and_subgraph_weights_may_be_external(tmp_path):
    """Beside initializers, tensors in attributes and in branches may lie outside."""
    (tmp_path / "data").write_bytes(np.arange(8, dtype=np.float32).tobytes())

    def outside(name: str, offset: int) -> TensorProto:
        t = TensorProto(name=name, dims=[4], data_type=TensorProto.FLOAT)
        t.data_location = TensorProto.EXTERNAL
        t.external_data.add(key="location", value="data")
        t.external_data.add(key="offset", value=str(offset))
        return t

    branch = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["t"])], "branch", [], [info("t", [4])],
        [outside("inner", 0)],
    )  # fmt: skip
    constant = helper.make_node("Constant", [], ["k"])
    constant.attribute.append(
        onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=outside("", 16))
    )
    branching = helper.make_node("If", ["c"], ["i"], then_branch=branch, else_branch=branch)
    add = helper.make_node("Add", ["i", "k"], ["y"])
    proto = model_of([branching, constant, add], [info("c", [], TensorProto.BOOL)])
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())

    saved = tmp_path / "saved.onnx"
    save(load(tmp_path / "model.onnx"), saved)

    again = onnx.load(saved)
    found = {
        a.t.name: numpy_helper.to_array(a.t) for a in again.graph.node[1].attribute
    }  # fmt: skip
    assert [list(v) for v in found.values()] == [[4, 5, 6, 7]]
    inner = again.graph.node[0].attribute[0].g.initializer[0]
    assert list(numpy_helper.to_array(inner)) == [0, 1, 2, 3]


def test_weights_are_read_only_views(tmp_path):
    model = load(with_external_data(tmp_path))
    with pytest.raises(ValueError, match="read-only"):
        model.weights["gw"][0] = 1


def test_data_file_that_changes_after_loading_is_noticed(tmp_path):
    model = load(with_external_data(tmp_path))
    model.check_unchanged()
    data = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(data[:-1] + b"x")
    with pytest.raises(InvalidInput, match=r"weights\.bin: changed since"):
        model.check_unchanged()


def test_model_file_that_changes_after_loading_is_noticed(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(convnet(), path)
    model = load(path)
    model.check_unchanged()
    path.write_bytes(path.read_bytes())  # the same bytes, written again, are still a change
    with pytest.raises(InvalidInput, match="changed since"):
        model.check_unchanged()
    path.unlink()
    with pytest.raises(InvalidInput, match="is gone"):
        model.check_unchanged()
