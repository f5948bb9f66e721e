"""External data: weights in files beside the model, found without leaving its folder.

A model file names its data files, so a hostile one may name any file of this machine. The rules:
a relative path without `..`, no symbolic link anywhere below the model's folder, a regular file
with one name only (a hard link may stand for a file that this user alone can read), and a span
inside it as long as the tensor's shape says. Opened folder by folder, never through a link, so
that nobody can swap a part of the path in between.

Source: ExternalData.md of ONNX (keys location, offset, length, checksum; basepath is written by
onnx's own set_external_data and means nothing in a file).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from modelcheck.errors import InvalidInput, did_you_mean, printable
from modelcheck.model import wire
from modelcheck.model.checks_tensors import byte_size
from modelcheck.model.source import Source, open_regular, read

_KEYS = ("location", "offset", "length", "checksum", "basepath")
_COPY_HERE = (
    "Put the model and its data file, both as plain files, into one folder; or save the model with "
    "its weights inside."
)
_DOWNLOAD_AGAIN = "Copy or download the model and its data files again."


@dataclass
class DataFiles:
    """The data files of one model: each opened, read or mapped once."""

    model: Source
    folder: Path
    _open: dict[str, tuple[memoryview, Source]] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(source for _, source in self._open.values())

    def content(self, location: str) -> memoryview:
        if location not in self._open:
            self._open[location] = self._read(location)
        return self._open[location][0]

    def _read(self, location: str) -> tuple[memoryview, Source]:
        parts = _safe_parts(location)
        with contextlib.ExitStack() as stack:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, folder)
            for name in parts[:-1]:
                folder = _open_folder(name, folder)
                stack.callback(os.close, folder)
            descriptor = open_regular(parts[-1], folder=folder, follow_symlinks=False)
            stack.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) == (self.model.device, self.model.inode):
                raise InvalidInput("is the model file itself")
            if status.st_nlink > 1:
                raise InvalidInput(
                    f"is a hard link: the file has {status.st_nlink} names", remedy=_COPY_HERE
                )
            return read(descriptor, self.folder.joinpath(*parts))


def take_in(
    proto: onnx.ModelProto, model: Source, folder: Path, *, where: str
) -> tuple[dict[int, memoryview], tuple[Source, ...]]:
    """Resolve every reference to external data in `proto`, which is changed.

    Returns the payloads of large top-level initializers by index, and the files they are in. All
    other tensors get their bytes as raw_data. Raises InvalidInput.
    """
    files = DataFiles(model, folder)
    payloads: dict[int, memoryview] = {}
    for index, kind, tensor in _tensors(proto):
        if index is None:
            tensor.ClearField("metadata_props")  # onnx_ir would write them twice at each saving
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            tensor.ClearField("external_data")  # means nothing here, but another reader may use it
            continue
        place = f"{where}, {kind} '{printable(tensor.name)}'"
        if tensor.HasField("raw_data"):
            raise InvalidInput(
                "has both raw_data and external data", where=place,
                remedy="Export the model again; only one of the two can be meant.",
            )  # fmt: skip
        span = _span(tensor, files, place)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        if index is not None and len(span) >= wire.INLINE_BYTES:
            tensor.raw_data = b""
            payloads[index] = span
        else:
            tensor.raw_data = bytes(span)
    return payloads, files.sources


def _span(tensor: onnx.TensorProto, files: DataFiles, place: str) -> memoryview:
    expected = byte_size(tensor, place)
    entries = _entries(tensor, place)
    location = entries["location"]
    shown = f"{place}: external data '{printable(location)}'"
    try:
        content = files.content(location)
    except InvalidInput as error:
        error.remedy = error.remedy or _COPY_HERE
        raise error.at(shown) from None
    except (OSError, ValueError) as error:
        raise InvalidInput(_reason(error), where=shown, remedy=_DOWNLOAD_AGAIN) from error
    offset = _number(entries, "offset", 0, shown)
    length = _number(entries, "length", expected, shown)
    if length != expected:
        raise InvalidInput(
            f"has a length of {length:,} bytes, but the tensor's shape "
            f"{list(tensor.dims)} takes {expected:,}",
            where=shown, remedy=_DOWNLOAD_AGAIN,
        )  # fmt: skip
    if offset + length > len(content):
        raise InvalidInput(
            f"ends early: bytes {offset:,} to {offset + length:,} are asked of a file of "
            f"{len(content):,}",
            where=shown, remedy=_DOWNLOAD_AGAIN,
        )  # fmt: skip
    return content[offset : offset + length]


def _entries(tensor: onnx.TensorProto, place: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        key, value = entry.key, entry.value
        if key not in _KEYS or not isinstance(value, str):
            raise InvalidInput(
                f"external data has an unknown key '{printable(key)}'", where=place,
                remedy=did_you_mean(printable(key), _KEYS) or f"Known keys: {', '.join(_KEYS)}.",
            )  # fmt: skip
        if key in entries:
            raise InvalidInput(
                f"external data gives '{key}' twice", where=place,
                remedy="Export the model again; only one of the two can be meant.",
            )  # fmt: skip
        entries[key] = value
    if not entries.get("location"):
        raise InvalidInput(
            "external data has no location", where=place, remedy="Export the model again."
        )
    return entries


def _number(entries: dict[str, str], key: str, default: int, shown: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidInput(
            f"its {key} is '{printable(text)}', not a number of bytes",
            where=shown, remedy="Export the model again.",
        )  # fmt: skip
    return int(text)


def _safe_parts(location: str) -> list[str]:
    if location.startswith("/") or os.path.isabs(location):
        raise InvalidInput("is an absolute path; only files in the model's folder are read")
    parts = [part for part in location.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise InvalidInput("leads out of the model's folder; only files in it are read")
    return parts


def _open_folder(name: str, parent: int) -> int:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        raise InvalidInput(f"goes through the symbolic link '{printable(name)}'")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _tensors(proto: onnx.ModelProto) -> Iterator[tuple[int | None, str, onnx.TensorProto]]:
    """Every dense tensor of a model: (index if a top-level initializer, what it is, tensor)."""
    for index, tensor in enumerate(proto.graph.initializer):
        yield index, "initializer", tensor
    yield from _node_tensors(proto.graph.node)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _node_tensors(
    nodes: Iterator[onnx.NodeProto],
) -> Iterator[tuple[None, str, onnx.TensorProto]]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield None, f"the constant of node '{printable(node.name)}'", attribute.t
            for tensor in attribute.tensors:
                yield None, f"a constant of node '{printable(node.name)}'", tensor
            for graph in (attribute.g, *attribute.graphs):
                for tensor in graph.initializer:
                    yield None, "initializer", tensor
                yield from _node_tensors(graph.node)
