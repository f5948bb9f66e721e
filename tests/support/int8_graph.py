"""A graph written down node by node, with what int8 networks need: quantizers, integer weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelcheck.model import Model

_OWN = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul")
_MICROSOFT = "com.microsoft"
SPREAD = 4.0  # int8 spans this many standard deviations on either side
STEP = 2 * SPREAD / 255


class Graph:
    """One input 'x', random weights from a seed; every value of a layer has a spread near 1."""

    def __init__(
        self, *shape: int | str, dtype: type = np.float32, opset: int = 17, seed: int = 0
    ) -> None:
        self.shape, self.dtype, self.opset = shape, dtype, opset
        self.nodes: list[onnx.NodeProto] = []
        self._arrays: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(seed)

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """One node; its name is that of its output."""
        name = f"{op_type.lower()}{len(self.nodes)}"
        domain = _MICROSOFT if op_type.startswith("Q") and op_type not in _OWN else ""
        node = helper.make_node(op_type, inputs, [name], name, domain=domain, **attributes)
        self.nodes.append(node)
        return name

    def constant(self, array: Any, dtype: type = np.float32) -> str:
        name = f"c{len(self._arrays)}"
        self._arrays[name] = np.asarray(array, dtype)
        return name

    def normal(self, *shape: int, fan_in: int = 1) -> np.ndarray:
        return self.random.standard_normal(shape) / np.sqrt(fan_in)

    def grid(self, low: float = -SPREAD, high: float = SPREAD, dtype: type = np.int8) -> list[str]:
        """[scale, zero point] of a tensor with these bounds."""
        scale = (high - low) / 255
        zero = np.iinfo(dtype).min - low / scale
        return [self.constant(scale), self.constant(round(zero), dtype)]

    def rounded(
        self, value: str, low: float = -SPREAD, high: float = SPREAD, dtype: type = np.int8
    ) -> str:
        """value -> QuantizeLinear -> DequantizeLinear."""
        grid = self.grid(low, high, dtype)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", value, *grid), *grid)

    def int8_weight(
        self, *shape: int, fan_in: int, axis: int | None = None, dtype: type = np.int8
    ) -> list[str]:
        """[integers, scale, zero point] of a weight; one scale, or one for each index of `axis`."""
        weight = self.normal(*shape, fan_in=fan_in)
        others = tuple(i for i in range(len(shape)) if i != axis)
        scale = np.abs(weight).max(axis=None if axis is None else others) / 127
        along = scale if axis is None else np.expand_dims(scale, others)
        zero = np.full(scale.shape, 0 if dtype is np.int8 else 128)
        steps = np.rint(weight / along) + zero.reshape(-1)[0]
        return [self.constant(steps, dtype), self.constant(scale), self.constant(zero, dtype)]

    def int32_bias(self, size: int, x_scale: float, w_scale: str) -> list[str]:
        """[integers, scale, zero point] of a bias, whose scale is the product of the two."""
        scale = np.asarray(x_scale * self._array(w_scale), np.float32)
        steps = np.rint(self.normal(size) / scale)
        return [
            self.constant(steps, np.int32),
            self.constant(scale),
            self.constant(np.zeros(scale.shape), np.int32),
        ]

    def dequantized(self, constants: Sequence[str], axis: int | None = None) -> str:
        """A DequantizeLinear of constants, along the axis where they have scales for channels."""
        per_channel = axis is not None and self._array(constants[1]).ndim == 1
        return self.op("DequantizeLinear", *constants, **({"axis": axis} if per_channel else {}))

    def qdq_conv(
        self,
        x: str,
        *shape: int,
        dtype: type = np.int8,
        bias: bool = True,
        per_channel: bool = False,
        **attributes: Any,
    ) -> str:
        """A Conv whose weight of this shape, and int32 bias, are dequantized; x should be, too."""
        fan_in, axis = int(np.prod(shape[1:])), 0 if per_channel else None
        weight = self.int8_weight(*shape, fan_in=fan_in, axis=axis, dtype=dtype)
        inputs = [x, self.dequantized(weight, 0)]
        if bias:
            inputs.append(self.dequantized(self.int32_bias(shape[0], STEP, weight[1]), 0))
        return self.op("Conv", *inputs, kernel_shape=shape[2:], **attributes)

    def qlinear_conv(
        self,
        x: Sequence[str],
        *shape: int,
        low: float = -SPREAD,
        bias: bool = True,
        kernel_shape: bool = True,
        **attributes: Any,
    ) -> list[str]:
        """[result, scale, zero point] of a QLinearConv of the same three."""
        weight = self.int8_weight(*shape, fan_in=int(np.prod(shape[1:])))
        inputs = [*x, *weight, *(grid := self.grid(low))]
        if bias:
            x_scale = float(self._array(x[1]))
            inputs.append(self.int32_bias(shape[0], x_scale, weight[1])[0])
        if kernel_shape:
            attributes["kernel_shape"] = shape[2:]
        return [self.op("QLinearConv", *inputs, **attributes), *grid]

    def _array(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def quantized(
        self, value: str, low: float = -SPREAD, high: float = SPREAD, dtype: type = np.int8
    ) -> list[str]:
        """[integers, scale, zero point] of a float value."""
        grid = self.grid(low, high, dtype)
        return [self.op("QuantizeLinear", value, *grid), *grid]

    def conv(self, x: str, *shape: int, **attributes: Any) -> str:
        """A float Conv with a weight of this shape."""
        weight = self.constant(self.normal(*shape, fan_in=int(np.prod(shape[1:]))))
        return self.op("Conv", x, weight, kernel_shape=shape[2:], **attributes)

    def model(self, *outputs: str, rank: int = 4, dtype: int = TensorProto.FLOAT) -> Model:
        """The model of all nodes; its outputs declare their rank, and no sizes."""
        sizes = [f"d{i}" for i in range(rank)]
        x = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            self.nodes, "g",
            [helper.make_tensor_value_info("x", x, self.shape)],
            [helper.make_tensor_value_info(name, dtype, sizes) for name in outputs],
            [numpy_helper.from_array(a, name) for name, a in self._arrays.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(_MICROSOFT, 1)]
        return Model.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))
