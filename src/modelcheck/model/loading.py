"""Safe loading of an ONNX file into a Model.

The file is checked by us, in Python, before any native code sees it: bytes, then protobuf, then
names, tensors and operators. Weights are never copied: they are read-only views of the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from modelcheck.errors import InvalidInput, ModelcheckError, did_you_mean, printable
from modelcheck.model import external, foreign, wire
from modelcheck.model.checks import check_graph
from modelcheck.model.finite import check_finite
from modelcheck.model.model import Model
from modelcheck.model.source import Source, open_regular, read
from modelcheck.units import size

# Protobuf counts the bytes of a message in 31 bits.
MAX_FILE_BYTES = 2**31 - 1


def load(path: Path | str, *, allow_non_finite: bool = False) -> Model:
    """Load and validate an ONNX file.

    Raises InvalidInput when the file is no well-formed model, names what it is when it belongs to
    another framework, and raises Unsupported when it is a model that cv2.dnn cannot run.
    `allow_non_finite` accepts NaN and infinity in weights, for a model whose verdict is the point.
    """
    path = Path(path)
    where = printable(path.name)
    data, source = _read(path, where)
    proto, payloads = _parse(data, path, where)
    outside, files = external.take_in(proto, source, path.parent, where=where)
    payloads = {**payloads, **outside}
    check_graph(proto, where=where, payload_bytes={i: len(p) for i, p in payloads.items()})
    graph = _to_ir(proto, payloads, where)
    model = Model.freeze(graph, name=path.name, source=replace(source, data=files))
    if not allow_non_finite:
        check_finite(model)
    return model


def _read(path: Path, where: str) -> tuple[memoryview, Source]:
    try:
        descriptor = open_regular(path)
    except InvalidInput as error:
        kind = foreign.folder_kind(path) if path.is_dir() else None
        if kind is not None:
            raise kind.error(path) from None
        error.remedy = "Give the path of an .onnx file."
        raise error.at(where) from None
    except FileNotFoundError:
        raise InvalidInput(
            "there is no such file", where=where, remedy=_nearest_file(path)
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"cannot be read: {reason}", where=where) from error
    try:
        return read(descriptor, path)
    except InvalidInput as error:
        raise error.at(where) from None
    finally:
        os.close(descriptor)


def _parse(
    data: memoryview, path: Path, where: str
) -> tuple[onnx.ModelProto, dict[int, memoryview]]:
    """The model without its large weights, and these by index of their initializer."""
    if not len(data):
        raise InvalidInput("is empty", where=where, remedy="Copy or download the file again.")
    kind = foreign.by_magic(data)
    if kind is not None:
        raise kind.error(path)
    try:
        if len(data) > MAX_FILE_BYTES:
            raise InvalidInput(
                f"holds {size(len(data))}; one protobuf file ends at 2 GiB",
                remedy="Save the model with external data (onnx.save with "
                "save_as_external_data=True).",
            )  # fmt: skip
        parts = wire.split(data)
        proto = onnx.ModelProto.FromString(parts.skeleton)
        if not proto.HasField("graph"):
            raise InvalidInput("holds no graph", remedy="Give the path of an .onnx model.")
    except ModelcheckError as error:
        raise (foreign.explain(data, path) or error.at(where)) from None
    except DecodeError as error:
        raise foreign.explain(data, path) or InvalidInput(
            "is corrupt or truncated, or its graphs are nested deeper than protobuf reads",
            where=where, remedy="Copy or download the file again, or export the model again.",
        ) from error  # fmt: skip
    return proto, dict(parts.payloads)


def _to_ir(proto: onnx.ModelProto, payloads: Mapping[int, memoryview], where: str) -> ir.Model:
    arrays = {}
    for index, payload in payloads.items():
        tensor = proto.graph.initializer[index]
        dtype = ir.DataType(tensor.data_type).numpy().newbyteorder("<")
        arrays[tensor.name] = np.frombuffer(payload, dtype).reshape(tuple(tensor.dims))
        # onnx_ir must not look for data that the skeleton lacks.
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", wire.PLACEHOLDER), ("offset", "0"), ("length", str(len(payload))),
        ):  # fmt: skip
            tensor.external_data.add(key=key, value=value)
    try:
        graph = ir.from_proto(proto)
    except Exception as error:
        # Whatever its parser stumbles over in a file that passed our checks is the file's fault.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise InvalidInput(
            f"is malformed: {printable(str(cause) or repr(cause), 200)}",
            where=where, remedy="Export the model again.",
        ) from error  # fmt: skip
    for name, array in arrays.items():
        graph.graph.initializers[name].const_value = ir.Tensor(array, name=name)
    return graph


def _nearest_file(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.glob("*.onnx")]
    except OSError:
        names = []
    return did_you_mean(path.name, names) or "Check the path."
