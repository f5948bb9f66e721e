"""Bring the channels between two layers to one scale, so that int8 serves them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import onnx_ir as ir
from pydantic import Field

from modelcheck.model import Model
from modelcheck.model.static import Static
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.by_channel import largest_by_channel
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import (
    CannotChange,
    Slot,
    constant,
    is_standard,
    layer_name,
    matching,
    report_hidden,
    slot_of,
)
from modelcheck.transforms.options import checked

_LAYERS = ("Conv", "ConvTranspose")
# f(s·x) = s·f(x) for s > 0, channel by channel.
_HOMOGENEOUS = (
    "Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
    "Identity",
)  # fmt: skip
_ACTIVATIONS = ("Relu", "LeakyRelu", "PRelu")
_LARGEST_EXPONENT = 10
_DEAD = 1e-3  # of the largest channel: no smaller one counts as smaller


@checked
def equalize(
    *,
    balance: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="whose channels become alike: 1 those of the activations, 0 those of the"
            " weights that read them",
        ),
    ] = 0.5,
    exclude: Annotated[
        tuple[str, ...], Field(description="layers whose results stay: names or globs")
    ] = (),
) -> Transform:
    """Give the channels between layers one scale, from calibration samples: before `quantize`.

    y = V·f(W·x + b) = (V·S)·f(S⁻¹·W·x + S⁻¹·b),   S = diag(s), f(s·z) = s·f(z) for s > 0
    s_c = 2^round(log2(a_c^balance / v_c^(1 - balance))), up to one factor for all c
    a_c = max |f(W·x + b)| of channel c on the samples,   v_c = max |V| over what reads it

    A tensor in int8 has one step for all its channels, and so has each row of V: after this no
    channel is much smaller than its step. Through Relu, LeakyRelu, PRelu, pooling and Concat, to
    all convolutions that read it, grouped and depthwise ones too. Left alone: results that
    anything else reads. The factors are powers of two, so no number is rounded otherwise than
    before. Claim: exact.
    Source: M. Nagel et al., Data-Free Quantization, ICCV 2019; G. Xiao et al., SmoothQuant, 2023.
    """

    def apply(model: Model, context: Context) -> Model:
        activations = context.calibrated("equalize")
        edit = Edit(model)
        report_hidden(edit.model, frozenset(_LAYERS), context)
        joints = _joints(edit, context, exclude)
        if not joints:
            return model
        maxima = largest_by_channel(activations, model, [joint.result for joint in joints])
        for joint in joints:
            active = np.asarray(maxima[joint.result], np.float64)
            factor = _factors(active, joint.largest(), balance)
            if np.any(factor != 1):
                _rescale(edit, joint, factor)
        return edit.done()

    return Transform("equalize", Claim.EXACT, apply, calibrates=True)


@dataclass(frozen=True)
class _Reader:
    """A convolution, and the first of its input channels that are those of the joint."""

    slot: Slot
    first: int

    def scaled(self, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """weight (out, in/group, ...) with each input channel of the joint times its factor."""
        whole = np.ones(weight.shape[1] * self.slot.groups)
        whole[self.first : self.first + factor.size] = factor
        return self.slot.scale_inputs(weight, whole)

    def largest(self, weight: np.ndarray, channels: int) -> np.ndarray:
        """max |weight| of each input channel of the joint."""
        groups = self.slot.groups
        split = np.abs(weight).reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return np.asarray(split.max(axis=(1, 3)).reshape(-1)[self.first : self.first + channels])


@dataclass(frozen=True)
class _Joint:
    """A layer, the tensor that it gives after its activation, and all convolutions behind it."""

    slot: Slot
    result: str
    channels: int
    readers: tuple[_Reader, ...]

    def largest(self) -> np.ndarray:
        found = [
            reader.largest(_weight(reader.slot.node), self.channels) for reader in self.readers
        ]
        return np.asarray(np.max(found, axis=0), np.float64)


def _joints(edit: Edit, context: Context, exclude: Sequence[str]) -> list[_Joint]:
    static = Static(edit.graph, edit.opset)
    nodes = [node for node in edit.graph if is_standard(node, *_LAYERS)]
    unwanted = matching(exclude, [layer_name(node) for node in nodes])
    found = []
    for node in nodes:
        name = layer_name(node)
        try:
            if name in unwanted:
                raise CannotChange("excluded")
            found.append(_joint(node, static))
        except CannotChange as reason:
            context.leave(name, str(reason))
    return found


def _joint(node: ir.Node, static: Static) -> _Joint:
    slot, weight = _slot(node), _weight(node)
    if len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None:
        raise CannotChange("its bias is computed, not constant")
    channels = weight.shape[0] if node.op_type == "Conv" else weight.shape[1] * slot.groups
    result = node.outputs[0]
    uses = list(result.uses())
    if len(uses) == 1 and is_standard(uses[0].node, *_ACTIVATIONS):
        result = uses[0].node.outputs[0]
    readers = tuple(_readers(node.outputs[0], 0, static))
    if not readers:
        raise CannotChange("nothing reads its result")
    return _Joint(slot, str(result.name), channels, readers)


def _readers(value: ir.Value, first: int, static: Static) -> list[_Reader]:
    """All convolutions that read a value, through what passes factors on.

    Raises CannotChange where anything else reads it.
    """
    if value.is_graph_output():
        raise CannotChange("its result leaves the model")
    found = []
    for use in value.uses():
        node = use.node
        maker = value.producer()
        if maker is not None and node.graph is not maker.graph:
            raise CannotChange("a branch reads its result")
        if is_standard(node, "Conv") and use.idx == 0:
            found.append(_Reader(_slot(node), first))
        elif is_standard(node, *_HOMOGENEOUS) and use.idx == 0 and len(node.outputs) == 1:
            found += _readers(node.outputs[0], first, static)
        elif is_standard(node, "Concat") and node.attributes.get_int("axis", 0) == 1:
            before = [static.dims(v) for v in node.inputs[: use.idx]]
            sizes = [None if dims is None else dims[1] for dims in before]
            if None in sizes:
                raise CannotChange("how many channels stand before its own is not known")
            found += _readers(node.outputs[0], first + sum(s or 0 for s in sizes), static)
        else:
            raise CannotChange(f"{node.op_type} reads its result, which takes no factors along")
    return found


def _slot(node: ir.Node) -> Slot:
    slot = slot_of(node)
    if slot is None:
        raise CannotChange(f"the weight of '{layer_name(node)}' is no constant")
    _weight(node)
    return slot


def _weight(node: ir.Node) -> np.ndarray:
    tensor = constant(node.inputs[1])
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:  # half floats have too few exponents
        raise CannotChange(f"the weight of '{layer_name(node)}' is no float32 constant")
    return tensor.numpy()


def _factors(active: np.ndarray, weights: np.ndarray, balance: float) -> np.ndarray:
    """Powers of two near active^balance / weights^(1 - balance), their mean exponent near 0."""
    finite = np.isfinite(active).all() and np.isfinite(weights).all()
    if not (finite and active.any() and weights.any()):
        return np.ones(active.size)
    # A channel that is dead gets a factor that keeps its weights from widening the steps of others.
    active, weights = (np.maximum(x, _DEAD * x.max()) for x in (active, weights))
    wanted = balance * np.log2(active) - (1 - balance) * np.log2(weights)
    exponents = np.rint(wanted - wanted.mean())
    return np.asarray(2.0 ** exponents.clip(-_LARGEST_EXPONENT, _LARGEST_EXPONENT))


def _rescale(edit: Edit, joint: _Joint, factor: np.ndarray) -> None:
    """Nothing where a number would become too large, or so small that it loses digits."""
    node, slot = joint.slot.node, joint.slot
    weight, bias = _weight(node), constant(node.inputs[2]) if len(node.inputs) > 2 else None
    changed = [(node, slot.index, weight, slot.scale_outputs(weight, 1 / factor))]
    if bias is not None:
        changed.append((node, 2, bias.numpy(), bias.numpy() / factor))
    for reader in joint.readers:
        read = _weight(reader.slot.node)
        changed.append((reader.slot.node, 1, read, reader.scaled(read, factor)))
    least, most = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    for _, _, before, after in changed:
        sizes = np.abs(after[before != 0])
        if np.any(sizes > most) or np.any(sizes < least):
            return
    for at, index, before, after in changed:
        edit.own_constant(at, index, after.astype(before.dtype), "equalized")
