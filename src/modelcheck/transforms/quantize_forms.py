"""The two ways to write an int8 network in ONNX: QDQ and QOperator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir

from modelcheck.model.uses import only_user
from modelcheck.transforms.calibration import Grid, nearest_steps, weight_scale
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import constant, is_standard, layer_name
from modelcheck.transforms.layer_products import rows_of, weight_of
from modelcheck.transforms.learned_rounding import learned_steps
from modelcheck.transforms.quantize_plan import Layer, Plan, bounds_of, kernel_of

_ROUNDED_UP = 1 + 1e-6  # the end of a grid is its step, a float32, times a number of steps


@dataclass
class Writer:
    """The constants of a plan's layers, written into an edit once each.

    `grids` gives the grid of each calibrated tensor of the plan. `spare`: avoid what OpenCV 5.0's
    new engine computes wrongly. `fusing`: layers that it computes rightly with nothing between them
    and the rounding of their results.
    """

    edit: Edit
    plan: Plan
    grids: Mapping[ir.Value, Grid]
    per_channel: bool
    spare: bool
    fusing: frozenset[Layer] = frozenset()
    weight_range: Literal["max", "mse"] = "max"
    _scales: dict[Layer, np.ndarray] = field(default_factory=dict)
    _int8: dict[tuple[ir.Value, bytes], np.ndarray] = field(default_factory=dict)
    _steps: dict[ir.Value, tuple[ir.Value, ir.Value]] = field(default_factory=dict)
    _stored: dict[tuple[object, ...], list[ir.Value]] = field(default_factory=dict)

    def steps(self, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Scale and zero point of a tensor, as initializers that tensors of one grid share."""
        source = self.plan.grids[value]
        if source not in self._steps:
            grid = self.grids[source]
            self._steps[source] = (
                self.edit.initializer(f"{source.name}.scale", np.asarray(grid.scale)),
                self.edit.initializer(f"{source.name}.zero_point", np.asarray(grid.zero_point)),
            )
        return self._steps[source]

    def weight(self, layer: Layer) -> tuple[list[ir.Value], np.ndarray]:
        """[int8 weight, scale, zero point] of a layer, and the scale as an array.

        Layers that share a weight share these.
        """
        value, axis = layer.slot.weight, self.axis(layer)
        steps, scale = self.int8(layer)
        key = (value, axis, scale.tobytes())
        if key not in self._stored:
            arrays = {"int8": steps, "scale": scale, "zero_point": np.zeros(scale.shape, np.int8)}
            self._stored[key] = self._initializers(value, arrays)
        return self._stored[key], scale

    def rounded(self, layer: Layer) -> np.ndarray:
        """The weight of a layer as its int8 steps stand for it, in float64."""
        steps, scale = self.int8(layer)
        axis = self.axis(layer)
        shape = [-1 if i == axis else 1 for i in range(steps.ndim)] if scale.ndim else []
        return np.asarray(steps.astype(np.float64) * scale.reshape(shape))

    def int8(self, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        """(q, s) with q * s near the weight of a layer, found once: the nearest unless learned."""
        weight, scale = _weight(layer), self._scale(layer)
        key = (layer.slot.weight, scale.tobytes())
        if key not in self._int8:
            self._int8[key] = nearest_steps(weight, scale, self.axis(layer))
        return self._int8[key], scale

    def learn(self, layer: Layer, moment: np.ndarray) -> None:
        """Choose the steps of a layer by the second moment (groups, K, K) of what they meet."""
        weight, scale = _weight(layer), self._scale(layer)
        key = (layer.slot.weight, scale.tobytes())
        if key not in self._int8:
            rows = rows_of(layer.slot, weight)
            scales = np.broadcast_to(scale, rows.shape[0] * rows.shape[1]).reshape(rows.shape[:2])
            steps = learned_steps(rows, scales, moment)
            self._int8[key] = weight_of(layer.slot, steps, weight.shape)

    def _scale(self, layer: Layer) -> np.ndarray:
        """Of the bias that the layer had at first: a corrected one does not move the grid."""
        if layer not in self._scales:
            self._scales[layer] = weight_scale(
                _weight(layer), self.axis(layer), bias=layer.bias, x_scale=self._x_scale(layer),
                chosen_by=self.weight_range,
            )  # fmt: skip
        return self._scales[layer]

    def bias(self, layer: Layer, w_scale: np.ndarray) -> list[ir.Value]:
        """[int32 bias, scale, zero point]: scale = x_scale * w_scale. Empty where there is none."""
        bias = layer.bias
        if bias is None:
            return []
        scale = np.asarray(self._x_scale(layer) * w_scale, np.float32)
        if scale.ndim and scale.size != bias.size:  # the groups of a transposed convolution
            scale = np.tile(scale, bias.size // scale.size)
        limits = np.iinfo(np.int32)
        steps = np.rint(bias.astype(np.float64) / scale).clip(limits.min, limits.max)
        zeros = np.zeros(scale.shape, np.int32)
        value = layer.node.inputs[2]
        assert value is not None
        arrays = {"int32": steps.astype(np.int32), "scale": scale, "zero_point": zeros}
        return self._initializers(value, arrays)

    def axis(self, layer: Layer) -> int | None:
        """Where each index of the weight has a scale of its own."""
        return layer.slot.output_axis if self.per_channel else None

    def _x_scale(self, layer: Layer) -> np.float32:
        return self.grids[self.plan.grids[layer.input]].scale

    def _initializers(self, value: ir.Value, arrays: Mapping[str, np.ndarray]) -> list[ir.Value]:
        return [self.edit.initializer(f"{value.name}.{k}", a) for k, a in arrays.items()]


def _weight(layer: Layer) -> np.ndarray:
    tensor = constant(layer.slot.weight)
    assert tensor is not None
    return tensor.numpy()


def write_qdq(writer: Writer) -> None:
    """A QuantizeLinear and DequantizeLinear around each layer, which itself stays as it is.

    x -> Q -> DQ -> layer -> activation -> Q -> DQ, weights and bias behind a DQ alone. Where the
    rounding cuts off what the activation would, that is left out: OpenCV 5.0's new engine computes
    in integers only without it.
    """
    edit, plan = writer.edit, writer.plan
    for layer in plan.layers:
        _dequantize_constants(writer, layer)
    for value in plan.grids:
        steps = writer.steps(value)
        quantized = edit.node(
            "QuantizeLinear", [value, *steps], f"{value.name}/quantize", like=None
        )
        _round_for_readers(writer, value, [quantized, *steps])
        if plan.round_last and value in plan.results and value.is_graph_output():
            _deliver(edit, value, _dequantized(edit, [quantized, *steps], value))
    for layer in plan.layers:
        if layer in writer.fusing and layer.activation is not None:
            _leave_to_rounding(writer, layer.activation)


def _leave_to_rounding(writer: Writer, activation: ir.Node) -> None:
    """Q(f(x)) = Q(x) for an f that only cuts off what lies beyond the ends of Q's grid."""
    result, (low, high) = activation.outputs[0], bounds_of(activation) or (0.0, 0.0)
    source = writer.plan.grids.get(result)
    alone = only_user(result)
    if source is None or alone is None or alone.op_type != "QuantizeLinear":
        return
    least, most = writer.grids[source].ends
    if least >= low and most <= high * _ROUNDED_UP and activation.inputs[0] is not None:
        writer.edit.set_input(alone, 0, activation.inputs[0])
        writer.edit.remove_unused(activation)


def write_qoperator(writer: Writer) -> None:
    """Each layer becomes a QLinearConv or QLinearMatMul, its activation the end of its grid.

    int8 goes straight from one to the next; whatever else reads a result gets it through a
    DequantizeLinear.
    """
    edit, plan = writer.edit, writer.plan
    int8: dict[ir.Value, ir.Value] = {}
    for value in plan.grids:
        if value in plan.results:
            int8[value] = ir.Value(name=edit.fresh(f"{value.name}/int8"))
        else:
            inputs = [value, *writer.steps(value)]
            int8[value] = edit.node("QuantizeLinear", inputs, f"{value.name}/quantize", like=None)
    for layer in plan.layers:
        weight, scale = writer.weight(layer)
        inputs = [int8[layer.input], *writer.steps(layer.input), *weight]
        inputs += [*writer.steps(layer.result), *writer.bias(layer, scale)[:1]]
        op_type = "QLinearConv" if layer.node.op_type == "Conv" else "QLinearMatMul"
        attributes = dict(layer.node.attributes)
        if op_type == "QLinearConv":
            # Left out, it is that of the weight; OpenCV 4.14 and 5.0 classic crash without.
            kernel = ir.AttrInt64s("kernel_shape", kernel_of(layer))
            attributes["kernel_shape"] = kernel
        name, outputs = layer_name(layer.node), [int8[layer.result]]
        edit.graph.append(
            ir.Node("", op_type, inputs, attributes.values(), outputs=outputs, name=name)
        )
    # From the last on, so that what still reads a result then is no layer.
    for layer in reversed(plan.layers):
        _take_out(edit, layer, [int8[layer.result], *writer.steps(layer.result)])
    for value in plan.grids:
        if value not in plan.results:
            _round_for_readers(writer, value, [int8[value], *writer.steps(value)])


def _round_for_readers(writer: Writer, value: ir.Value, rounded: list[ir.Value]) -> None:
    for use in tuple(value.uses()):
        if use.node is rounded[0].producer():
            continue
        if writer.spare and _is_between_grids(use.node, writer.plan):
            continue
        # One for each reader: OpenCV 5.0's new engine cannot load a residual block whose two
        # branches share one.
        dequantized = _dequantized(writer.edit, rounded, value)
        writer.edit.set_input(use.node, use.idx, dequantized)


def _deliver(edit: Edit, value: ir.Value, heir: ir.Value) -> None:
    """`heir` becomes the output of the model that `value` was, under its name."""
    outputs = edit.graph.outputs
    index = next(i for i, output in enumerate(outputs) if output is value)
    outputs[index] = heir
    heir.name, value.name = value.name, edit.fresh(f"{value.name}/unrounded")


def _is_between_grids(node: ir.Node, plan: Plan) -> bool:
    """OpenCV 5.0's new engine is silently wrong at a Sigmoid between two int8 tensors."""
    return is_standard(node, "Sigmoid") and node.outputs[0] in plan.grids


def _dequantized(
    edit: Edit, inputs: list[ir.Value], like: ir.Value, axis: int | None = None
) -> ir.Value:
    channels = {} if axis is None else {"axis": axis}
    return edit.node("DequantizeLinear", inputs, f"{like.name}/dequantize", like=like, **channels)


def _dequantize_constants(writer: Writer, layer: Layer) -> None:
    edit, node = writer.edit, layer.node
    weight, scale = writer.weight(layer)
    bias = writer.bias(layer, scale)
    for index, inputs, axis in ((1, weight, writer.axis(layer)), (2, bias, 0)):
        if inputs:
            old = node.inputs[index]
            assert old is not None
            per_channel = axis if inputs[1].shape else None
            edit.set_input(node, index, _dequantized(edit, inputs, old, per_channel))
            edit.drop_unused([old])


def _take_out(edit: Edit, layer: Layer, rounded: list[ir.Value]) -> None:
    """Remove a layer and its activation; other readers of its result get the rounded one."""
    result = layer.result
    if result.uses() or result.is_graph_output():
        heir = _dequantized(edit, rounded, result)
        producer = result.producer()
        assert producer is not None
        edit.remove(producer, heir=heir)
    for node in (layer.activation, layer.node):
        if node is not None and node.graph is not None:
            inputs = tuple(node.inputs)
            edit.graph.remove(node, safe=True)
            edit.drop_unused(inputs)
