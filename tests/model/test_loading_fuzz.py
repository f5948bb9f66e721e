"""Whatever bytes come, loading gives a Model or says what is wrong: never another exception."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from accepted_models import CASES
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from small_models import convnet

from modelcheck.errors import ModelcheckError
from modelcheck.model import load, save, wire

LARGE = ("ten_thousand_nodes", "names_of_a_megabyte")
BASES = [build for name, build in CASES.items() if name not in LARGE]


@pytest.mark.parametrize("seed", range(300))
def test_model_with_bytes_flipped_cut_or_moved_loads_or_is_refused(seed, tmp_path):
    _load_or_refuse(_mutated_bytes(convnet().SerializeToString(), random.Random(seed)), tmp_path)


@pytest.mark.parametrize("seed", range(300))
def test_model_with_fields_changed_or_removed_loads_or_is_refused(seed, tmp_path):
    rng = random.Random(seed)
    model = BASES[seed % len(BASES)]()
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change_field(model, rng)
    _load_or_refuse(model.SerializeToString(), tmp_path)


def _load_or_refuse(content: bytes, folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(content)
    refusal = None
    try:
        model = load(path)
    except ModelcheckError as error:
        refusal = error
    if refusal is not None:
        assert refusal.exit_code in (3, 4)
        assert "model.onnx" in str(refusal)
        return
    save(model, folder / "again.onnx")
    assert load(folder / "again.onnx") == model
    assert model.signature.outputs


def _spans(data: bytes, start: int, end: int, depth: int = 4) -> Iterator[tuple[int, int]]:
    """Start and end of every field of a message, some levels deep."""
    try:
        found = list(wire.fields(memoryview(data), start, end))
    except ModelcheckError:
        return  # this content is no message
    for field in found:
        yield field.start, field.end
        if field.wire_type == 2 and depth:
            yield from _spans(data, field.content, field.end, depth - 1)


def _mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    spans = list(_spans(data, 0, len(data)))
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        kind = rng.choice(("flip", "byte", "truncate", "delete", "repeat", "zero"))
        start, end = rng.choice(spans)
        if kind == "flip":
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        elif kind == "byte":
            out[rng.randrange(len(out))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == "truncate" and rng.random() < 0.3:
            out = out[: rng.randrange(1, len(out))]
        elif kind == "delete" and (start, end) != (0, len(out)):
            del out[start:end]
        elif kind == "repeat":
            out[end:end] = out[start:end]
        elif kind == "zero":
            out[start:end] = bytes(max(0, min(end, len(out)) - start))
        if not out:
            break
    return bytes(out)


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _messages(inner)


def _change_field(root: onnx.ModelProto, rng: random.Random) -> None:
    """Clear, repeat, remove, empty or overwrite one field somewhere in a model."""
    message = rng.choice(list(_messages(root)))
    present = [field for field, _ in message.ListFields()]
    field = rng.choice(present if present and rng.random() < 0.8 else message.DESCRIPTOR.fields)
    is_message = field.type == FieldDescriptor.TYPE_MESSAGE
    value = getattr(message, field.name)
    if rng.random() < 0.25:
        message.ClearField(field.name)
    elif not hasattr(value, "append") and is_message:
        value.SetInParent()
    elif not hasattr(value, "append"):
        setattr(message, field.name, _hostile(field, rng))
    elif not value and is_message:
        value.add()
    elif not value:
        value.append(_hostile(field, rng))
    elif rng.random() < 0.5:
        value.append(rng.choice(list(value)))
    else:
        del value[rng.randrange(len(value))]


def _hostile(field: FieldDescriptor, rng: random.Random) -> Any:
    small = [0, 1, -1, 2, 3, 7, 100, 2**31 - 1, -(2**31)]
    words = ["x", "w", "y", "Conv", "If", "Constant", "Loop", "axes", "value", "a\x00b"]
    match field.type:
        case FieldDescriptor.TYPE_INT64:
            return rng.choice([*small, 2**40, 2**63 - 1, -(2**63)])
        case FieldDescriptor.TYPE_UINT64:
            return rng.choice([0, 1, 2**64 - 1])
        case FieldDescriptor.TYPE_INT32:
            return rng.choice(small)
        case FieldDescriptor.TYPE_ENUM:
            return rng.choice([v.number for v in field.enum_type.values])
        case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
            return rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e30])
        case FieldDescriptor.TYPE_STRING:
            return rng.choice(["", *words])
        case _:
            return rng.choice([b"", b"\xff\xfe", b"SAME_UPPER", bytes(16)])
