"""Saving a model: the old file or the whole new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import mmap
import re
from pathlib import Path
from typing import IO

import onnx

from modelcheck.errors import UsageError, printable
from modelcheck.model import wire
from modelcheck.model.atomic import (
    atomic_write,
    check_output,
    check_writable,
    not_written,
    output_lock,
)
from modelcheck.model.model import Model

# Protobuf cannot read messages of 2 GiB; leave room for what the weights are wrapped in.
MAX_INLINE_BYTES = (2 << 30) - (64 << 20)
_PAGE = 4096


def save(model: Model, path: Path | str, *, external_data: bool | None = None) -> None:
    """Write `model` to `path` atomically, durable before it becomes visible.

    `external_data` None keeps the weights inside the file while they fit into 2 GiB. External
    data goes to a fresh file beside it, named after its content, which stands there before the
    model that refers to it does. Raises OutputNotWritten; what stood at `path` before is then
    untouched.
    """
    path = Path(path)
    fits = model.nbytes <= MAX_INLINE_BYTES
    if external_data is False and not fits:
        raise UsageError(
            "its weights do not fit into one file: protobuf ends at 2 GiB",
            where=printable(path.name), remedy="Save it with external data.",
        )  # fmt: skip
    if external_data is True or not fits:
        data_name = _save_external(model, path)
    else:
        data_name = None
        with atomic_write(path) as file:
            wire.join(model.skeleton, model.payloads, file.write)
    _remove_stale_data(path, data_name)


def write_private(model: Model, path: Path) -> None:
    """Write a copy for a child process: not atomic, not durable, in a private folder."""
    if model.nbytes > MAX_INLINE_BYTES:
        save(model, path, external_data=True)
        return
    try:
        with path.open("wb") as file:
            wire.join(model.skeleton, model.payloads, file.write)
    except OSError as error:
        raise not_written(
            path, error, "Make room there, or set TMPDIR to another folder."
        ) from error


def _save_external(model: Model, path: Path) -> str:
    """Write data file and model; returns the name of the data file."""
    if not path.name.isascii() and printable(path.name, 256) != path.name:
        raise UsageError(
            "a model's file name must be UTF-8 text to refer to external data",
            where=printable(path.name), remedy="Choose another name with -o.",
        )  # fmt: skip
    proto = onnx.ModelProto()
    proto.CopyFrom(model.skeleton)
    # The content decides the name, and the layout follows from the content: so a model that is
    # still read while the same one is saved again finds the very same bytes.
    data_path = path.with_name(f"{path.name}.{model.digest[:12]}.data")
    with atomic_write(data_path) as data:
        _write_external(model, proto, data, data_path.name)
    with atomic_write(path) as file:
        file.write(proto.SerializeToString(deterministic=True))
    return data_path.name


def _write_external(model: Model, proto: onnx.ModelProto, data: IO[bytes], name: str) -> None:
    """Move the payloads into `data`, by name, each from a page on; make `proto` point to them."""
    payloads = model.payloads
    offset = 0
    for tensor in sorted(proto.graph.initializer, key=lambda t: t.name):
        if tensor.name not in payloads:
            continue
        padding = -offset % _PAGE
        data.write(b"\0" * padding)
        length = sum(data.write(wire.little_endian(p)) for p in payloads.pieces(tensor.name))
        offset += padding
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        offset += length


def _remove_stale_data(path: Path, keep: str | None) -> None:
    """Remove data files of models that stood at `path` before, unless another model uses them.

    Only files that bear the name we give them; a failure to remove one harms nobody.
    """
    ours = re.compile(re.escape(path.name) + r"\.[0-9a-f]{12}\.data")
    with contextlib.suppress(OSError):
        for stale in path.parent.iterdir():
            if ours.fullmatch(stale.name) and stale.name != keep and not _is_used(stale):
                stale.unlink(missing_ok=True)


def _is_used(data_path: Path) -> bool:
    """Whether any model beside a data file holds its name."""
    return any(_contains(path, data_path.name) for path in data_path.parent.glob("*.onnx"))


def _contains(path: Path, name: str) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(name.encode()) >= 0


__all__ = [
    "MAX_INLINE_BYTES",
    "atomic_write",
    "check_output",
    "check_writable",
    "output_lock",
    "save",
    "write_private",
]
