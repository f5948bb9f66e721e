"""The table of models that must be refused: how each is made, the exit code, the message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper
from small_models import convnet, info, model_of, set_attribute, tensor

Break = Callable[[], onnx.ModelProto]
INVALID, UNSUPPORTED = 3, 4


@dataclass(frozen=True)
class Bad:
    name: str
    exit_code: int
    fragments: tuple[str, ...]
    build: Break


CASES: list[Bad] = []


def invalid(*fragments: str):
    return _register(INVALID, fragments)


def unsupported(*fragments: str):
    return _register(UNSUPPORTED, fragments)


def _register(exit_code: int, fragments: tuple[str, ...]):
    def keep(build: Break) -> Break:
        CASES.append(Bad(build.__name__, exit_code, fragments, build))
        return build

    return keep


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    """convnet() with a change."""
    model = convnet()
    change(model)
    return model


def with_tensor(name: str, change: Callable[[TensorProto], object]) -> onnx.ModelProto:
    return changed(lambda m: change(tensor(m, name)))


def with_attribute(node_name: str, key: str, value: object) -> onnx.ModelProto:
    return changed(lambda m: set_attribute(m, node_name, key, value))


def one_node(op_type: str, inputs, initializers=(), *, opset=17, **attributes):
    """A model of a single node 'n' that makes 'y', mostly of x: 1x3x8x8."""
    n = helper.make_node(op_type, inputs, ["y"], name="n", **attributes)
    return model_of([n], [info("x", [1, 3, 8, 8])], None, initializers, opset=opset)
