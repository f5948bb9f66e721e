"""Atomic saving: the old file or the whole new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import onnx

from modelcheck.errors import OutputNotWritten
from modelcheck.model import wire
from modelcheck.model.model import Model

# Protobuf cannot read messages of 2 GiB; leave room for what the weights are wrapped in.
MAX_INLINE_BYTES = (2 << 30) - (64 << 20)


def save(model: Model, path: Path, *, external_data: bool | None = None) -> None:
    """Write `model` to `path` atomically, durable before it becomes visible.

    `external_data` None keeps the weights inside the file while they fit into 2 GiB. External
    data goes to a fresh file beside it, named after its content, and is renamed into place first.
    Raises OutputNotWritten; what stood at `path` before is then untouched.
    """
    external = model.nbytes > MAX_INLINE_BYTES if external_data is None else external_data
    if not external:
        with atomic_write(path) as file:
            wire.join(model.skeleton, model.payloads, file.write)
        return
    proto = onnx.ModelProto()
    proto.CopyFrom(model.skeleton)
    data_path = path.with_name(f"{path.name}.{model.digest[:12]}.data")
    with atomic_write(data_path) as data, atomic_write(path) as file:
        _write_external(model, proto, data, data_path.name)
        file.write(proto.SerializeToString(deterministic=True))


def write_private(model: Model, path: Path) -> None:
    """Write a copy for a child process: not atomic, not durable, in a private folder."""
    if model.nbytes > MAX_INLINE_BYTES:
        save(model, path, external_data=True)
        return
    with path.open("wb") as file:
        wire.join(model.skeleton, model.payloads, file.write)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path`, whole, when the block ends without an exception.

    Where the system can, the file has no name until then, so that even SIGKILL leaves nothing.
    """
    folder = path.parent
    try:
        with _nameless_or_temporary(folder) as (file, publish):
            yield file
            file.flush()
            os.fsync(file.fileno())
            publish(path)
        _sync_folder(folder)
    except OSError as error:
        what = "no space is left" if error.errno == errno.ENOSPC else str(error.strerror or error)
        raise OutputNotWritten(
            f"could not be written: {what}",
            where=str(path),
            remedy="Choose a folder that can be written and has room with -o.",
        ) from error


def check_writable(path: Path) -> None:
    """Raise OutputNotWritten now rather than after an hour's work."""
    try:
        with _nameless_or_temporary(path.parent):
            pass
    except OSError as error:
        raise OutputNotWritten(
            f"its folder cannot be written: {error.strerror}",
            where=str(path),
            remedy="Choose another folder with -o.",
        ) from error


@contextlib.contextmanager
def _nameless_or_temporary(folder: Path) -> Iterator[tuple[IO[bytes], Any]]:
    temporary = folder / f".modelcheck-{os.getpid()}-{secrets.token_hex(4)}.part"
    _sweep(folder)
    try:
        descriptor = os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o666)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    file: IO[bytes]
    with os.fdopen(descriptor, "wb", buffering=1 << 20) as file:

        def publish(path: Path) -> None:
            if not temporary.exists():
                # linkat cannot replace a file, so a name is taken first and moved over it.
                _give_name(descriptor, temporary)
            os.replace(temporary, path)

        try:
            yield file, publish
        finally:
            temporary.unlink(missing_ok=True)


def _give_name(descriptor: int, path: Path) -> None:
    """linkat(AT_SYMLINK_FOLLOW), which os.link uses only when it is given a folder's descriptor."""
    links = os.open("/proc/self/fd", os.O_RDONLY)
    try:
        os.link(str(descriptor), path, src_dir_fd=links, follow_symlinks=True)
    finally:
        os.close(links)


def _sweep(folder: Path) -> None:
    """Remove what a killed run left between taking a name and moving it."""
    for stray in folder.glob(".modelcheck-*-*.part"):
        pid = stray.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            stray.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_external(model: Model, proto: onnx.ModelProto, data: IO[bytes], name: str) -> None:
    """Move the payloads into `data` and make `proto` point to them; each starts on a page."""
    offset = 0
    for tensor in proto.graph.initializer:
        payload = model.payloads.get(tensor.name)
        if payload is None:
            continue
        padding = -offset % 4096
        data.write(b"\0" * padding)
        data.write(wire.little_endian(payload))
        offset += padding
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entries = {"location": name, "offset": offset, "length": payload.nbytes}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        offset += payload.nbytes
        del payload  # a deferred one is let go before the next is computed
