"""Compute in int8: weights and activations, with ranges measured on calibration samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import onnx_ir as ir
from pydantic import Field

from modelcheck import units
from modelcheck.errors import NotEnoughEvidence
from modelcheck.model import Model
from modelcheck.model.static import Static
from modelcheck.reference.activations import Range
from modelcheck.transforms.base import Activations, Claim, Context, Transform
from modelcheck.transforms.by_channel import mean_by_channel
from modelcheck.transforms.calibration import grid, is_usable, narrowed
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import (
    CannotChange,
    constant,
    is_standard,
    layer_weights,
)
from modelcheck.transforms.layer_products import PRODUCTS
from modelcheck.transforms.opset import raised_to_13
from modelcheck.transforms.options import checked
from modelcheck.transforms.quantize_faults import SAID, WHERE, fault, feeds_int8_sigmoid
from modelcheck.transforms.quantize_forms import Writer, write_qdq, write_qoperator
from modelcheck.transforms.quantize_plan import Layer, Plan, layer_at, plan, upstream
from modelcheck.transforms.quantize_prepare import prepared
from modelcheck.transforms.second_moments import Wanted, second_moments

_INTEGER_OPSET, _PER_CHANNEL_OPSET = 10, 13
# Ways that look at more than the ends of ranges, and the samples that they need for it.
_DISTRIBUTIONS, _FEWEST = ("mse", "entropy"), 4


@checked
def quantize(  # noqa: PLR0913 - each is an option of its own
    *,
    form: Annotated[
        Literal["qdq", "qoperator"],
        Field(
            description="qdq: float layers between QuantizeLinear and DequantizeLinear, which"
            " engines fuse. qoperator: QLinearConv and QLinearMatMul."
        ),
    ] = "qdq",
    calibration: Annotated[
        Literal["minmax", "percentile", "mse", "entropy", "average"],
        Field(
            description="The range of a tensor: all its values; nearly all; what loses least by"
            " squares, or by entropy; the mean of the samples' own extremes."
        ),
    ] = "minmax",
    percentile: Annotated[
        float,
        Field(gt=50, le=100, description="How many % of the values 'percentile' takes in."),
    ] = 99.99,
    per_channel: Annotated[
        bool, Field(description="One scale for each output channel, or one for a whole weight.")
    ] = True,
    weight_range: Annotated[
        Literal["max", "mse"],
        Field(
            description="The range of a channel's weights: all of them, or what loses least by"
            " squares."
        ),
    ] = "max",
    rounding: Annotated[
        Literal["nearest", "learned"],
        Field(
            description="Each weight to its nearest step, or all of a layer so that its results on"
            " the calibration samples change least."
        ),
    ] = "nearest",
    correct_bias: Annotated[
        bool,
        Field(
            description="Make up in the bias for what rounding the weights does to the mean of"
            " each channel of a convolution."
        ),
    ] = False,
    activation: Annotated[
        Literal["int8", "uint8"], Field(description="What activations are rounded to.")
    ] = "int8",
    round_last: Annotated[
        bool,
        Field(
            description="Round the results of the last layers, too, which otherwise leave the"
            " network in float32. 'qoperator' always does."
        ),
    ] = False,
    spare: Annotated[
        bool,
        Field(
            description="Leave layers in float32 that OpenCV 5.0's new engine is known to compute"
            " wrongly in int8."
        ),
    ] = True,
    exclude: Annotated[
        tuple[str, ...], Field(description="Layers to leave out: names or globs.")
    ] = (),
) -> Transform:
    """Compute Conv, ConvTranspose, Gemm and MatMul in int8.

    q_x = clip(round(x / s_x) + z_x),   s_x = (max - min) / 255       one for a tensor
    q_w = clip(round(w / s_w), -127, 127),   s_w = max|w| / 127       one for an output channel
    y = s_x · s_w · (sum (q_x - z_x) · q_w + q_b),   q_b = round(b / (s_x · s_w))   int32
    w: (out, in/group, ...); s_w, b: (out,); min and max over all calibration samples
    Inputs of layers are rounded, and their results (after Relu or Clip, left out of 'qdq' where
    rounding cuts off the same) where another layer comes later. BatchNormalization and constant
    Adds are folded in; Gemm becomes MatMul and Add; the opset becomes 13 where scales for channels
    need it. Left alone, besides what `spare` and `exclude` name: weights that are computed or on
    the left, ranges that are not finite.
    rounding=learned: q_w of little E|(w - s_w · q_w)·x|² (learned_rounding.py), x what the layer of
    the float network reads at some positions of each sample; with correct_bias, about its mean.
    ConvTranspose, and weights whose layers differ in their groups, keep the nearest steps.
    Claim: lossy. Source of correct_bias: M. Nagel et al., ICCV 2019, section 4.2.
    """
    choices = _Choices(
        integer=form == "qoperator",
        calibration=calibration,
        inside=percentile / 100 if calibration == "percentile" else 1.0,
        per_channel=per_channel,
        weight_range=weight_range,
        rounding=rounding,
        correct_bias=correct_bias,
        activation=activation,
        round_last=round_last,
        spare=spare,
        exclude=exclude,
    )

    def apply(model: Model, context: Context) -> Model:
        return _quantized(model, context, choices)

    return Transform("quantize", Claim.LOSSY, apply, calibrates=True)


@dataclass(frozen=True, slots=True)
class _Choices:
    """The options; `inside` is the share of a tensor's values that its range takes in."""

    integer: bool
    calibration: Literal["minmax", "percentile", "mse", "entropy", "average"]
    inside: float
    per_channel: bool
    weight_range: Literal["max", "mse"]
    rounding: Literal["nearest", "learned"]
    correct_bias: bool
    activation: Literal["int8", "uint8"]
    round_last: bool
    spare: bool
    exclude: tuple[str, ...]


def _quantized(model: Model, context: Context, choices: _Choices) -> Model:
    activations = context.calibrated("quantize")
    _check_count(activations, choices)
    try:
        raised = _raised(model, choices)
    except CannotChange as reason:
        for weight in layer_weights(model.edit(), context, exclude=choices.exclude):
            for layer in weight.layers:
                context.leave(layer, str(reason))
        return model
    body = prepared(raised, exclude=choices.exclude)
    edit = Edit(body)
    layers = _layers(edit, context, choices)
    ranges: dict[str, Range] = {}
    while layers:
        chosen = plan(
            layers, integer=choices.integer, round_last=choices.round_last, pool=choices.spare
        )
        missing = [name for name in chosen.calibrated if name not in ranges]
        ranges |= _ranges(activations, body, missing, choices, context.progress)
        usable = _usable(chosen, ranges, context)
        if len(usable) == len(layers):
            break
        layers = usable
    if not layers:
        return model
    sources = dict.fromkeys(chosen.grids.values())
    grids = {value: grid(ranges[str(value.name)], choices.activation) for value in sources}
    writer = Writer(edit, chosen, grids, per_channel=choices.per_channel, spare=choices.spare,
                    fusing=_fusing(edit, chosen.layers, choices),
                    weight_range=choices.weight_range)  # fmt: skip
    if choices.rounding == "learned":
        _learn(body, writer, ranges, choices, context)
    if choices.correct_bias:
        _correct_biases(edit, body, writer, activations)
    (write_qoperator if choices.integer else write_qdq)(writer)
    return edit.done()


def _check_count(activations: Activations, choices: _Choices) -> None:
    """Raise NotEnoughEvidence where a way to calibrate has too few samples to tell anything."""
    learned = choices.rounding == "learned"
    way = "rounding=learned" if learned else f"calibration={choices.calibration}"
    if (learned or choices.calibration in _DISTRIBUTIONS) and len(activations) < _FEWEST:
        raise NotEnoughEvidence(
            f"{way} looks at how values are distributed, which "
            f"{units.plural(len(activations), 'sample')} cannot tell",
            where="calibration",
            remedy=f"Give at least {_FEWEST} for calibration, or use calibration=minmax.",
        )


def _check_variety(model: Model, seen: Mapping[str, Range]) -> None:
    """Raise NotEnoughEvidence where all samples are one and the same number."""
    given = {name: seen[name] for v in model.graph.inputs if (name := str(v.name)) in seen}
    if given and all(r.minimum == r.maximum for r in given.values()):
        name, first = next(iter(given.items()))
        raise NotEnoughEvidence(
            f"the calibration samples hold no other value than {first.minimum:g}",
            where=f"input '{name}'",
            remedy="Give samples like those that the model will see.",
        )


def _ranges(
    activations: Activations,
    model: Model,
    names: Sequence[str],
    choices: _Choices,
    progress: Callable[[float], None],
) -> Mapping[str, Range]:
    """The range that each tensor's grid shall span."""
    if choices.calibration in ("mse", "entropy"):
        criterion: Literal["mse", "entropy"] = "mse" if choices.calibration == "mse" else "entropy"
        seen = activations.histograms(model, names, progress=progress)
        _check_variety(model, {name: histogram.range for name, histogram in seen.items()})
        return {name: narrowed(histogram, criterion) for name, histogram in seen.items()}
    found = activations.ranges(model, names, inside=choices.inside, progress=progress)
    _check_variety(model, found)
    if choices.calibration == "average":
        return {
            name: replace(r, minimum=r.usual[0], maximum=r.usual[1]) if r.usual and r.finite else r
            for name, r in found.items()
        }
    return found


def _learn(
    body: Model, writer: Writer, ranges: Mapping[str, Range], choices: _Choices, context: Context
) -> None:
    """Choose the steps of all weights that learned rounding is made for."""
    by_weight: dict[ir.Value, list[Layer]] = {}
    for layer in writer.plan.layers:
        if layer.node.op_type in PRODUCTS:
            by_weight.setdefault(layer.slot.weight, []).append(layer)
    wanted = [
        Wanted(
            layer.slot,
            str(layer.input.name),
            math.prod(ranges[str(writer.plan.grids[layer.input].name)].shape),
            central=choices.correct_bias and layer.node.op_type == "Conv",
        )
        for layers in by_weight.values()
        for layer in layers
    ]
    activations, random = context.calibrated("quantize"), context.random()
    for done, (weight, moment) in enumerate(second_moments(activations, body, wanted, random)):
        for layer in by_weight[weight]:
            writer.learn(layer, moment)
        context.progress((done + 1) / len(by_weight))


def _correct_biases(edit: Edit, body: Model, writer: Writer, activations: Activations) -> None:
    """b' = b + (W - W')·m, W' the rounded weight, m the mean of each input channel.

    So that E[W'·x + b'] = E[W·x + b] but for what padding takes away at the borders.
    """
    layers = [layer for layer in writer.plan.layers if layer.node.op_type == "Conv"]
    means = mean_by_channel(activations, body, [str(layer.input.name) for layer in layers])
    for layer in layers:
        weight = constant(layer.slot.weight)
        assert weight is not None
        lost = weight.numpy().astype(np.float64) - writer.rounded(layer)
        shift = layer.slot.scale_inputs(lost, means[str(layer.input.name)])
        total = shift.reshape(len(lost), -1).sum(axis=1)
        total = total if layer.bias is None else total + layer.bias
        if np.isfinite(total).all():
            edit.own_constant(layer.node, 2, total.astype(np.float32), "bias")


def _raised(model: Model, choices: _Choices) -> Model:
    """The model at an opset that has what is needed. Raises CannotChange where none can be had."""
    per_channel_nodes = choices.per_channel and not choices.integer
    needed = _PER_CHANNEL_OPSET if per_channel_nodes else _INTEGER_OPSET
    return model if model.opset >= needed else raised_to_13(model)


def _layers(edit: Edit, context: Context, choices: _Choices) -> list[Layer]:
    """The layers to quantize; those that cannot be, or are spared, are left with a reason."""
    layers = []
    dtypes = {ir.DataType.FLOAT}
    for weight in layer_weights(edit.model, context, exclude=choices.exclude, dtypes=dtypes):
        for slot in weight.slots:
            try:
                layers.append(layer_at(slot, integer=choices.integer))
            except CannotChange as reason:
                context.leave(slot.layer, str(reason))
    return _spared(edit, layers, context, choices) if choices.spare else layers


def _spared(edit: Edit, layers: list[Layer], context: Context, choices: _Choices) -> list[Layer]:
    """Those layers that every engine computes rightly."""
    static = Static(edit.graph, edit.opset)
    integer = choices.integer
    inputs = frozenset(layer.input for layer in layers)
    # What is rounded by nobody is given to the caller as it is, and right. Layers that an earlier
    # application has quantized round too.
    earlier = {
        value
        for node in edit.graph
        if is_standard(node, "QuantizeLinear") and (value := node.inputs[0]) is not None
    }
    rounded = upstream(inputs | earlier)
    kept = []
    for layer in layers:
        reason = None
        if integer or choices.round_last or layer.result in rounded:
            reason = fault(layer, static, integer=integer)
        if reason is None and integer and feeds_int8_sigmoid(layer, inputs):
            reason = f"{WHERE} {SAID['int8-sigmoid']}"
        if reason is None:
            kept.append(layer)
        else:
            context.leave(layer.name, reason)
    return kept


def _fusing(edit: Edit, layers: Sequence[Layer], choices: _Choices) -> frozenset[Layer]:
    """Those that an engine computes rightly in integers, however little stands behind them."""
    static = Static(edit.graph, edit.opset)
    return frozenset(
        layer for layer in layers
        if not choices.spare or fault(layer, static, integer=True) is None
    )  # fmt: skip


def _usable(chosen: Plan, ranges: dict[str, Range], context: Context) -> list[Layer]:
    """Those layers whose tensors have ranges that int8 can span."""
    kept = []
    for layer in chosen.layers:
        tensors = [v for v in (layer.input, layer.result) if v in chosen.grids]
        bad = [v for v in tensors if not is_usable(ranges[str(chosen.grids[v].name)])]
        if bad:
            context.leave(layer.name, f"'{bad[0].name}' is not finite on the calibration samples")
        else:
            kept.append(layer)
    return kept
