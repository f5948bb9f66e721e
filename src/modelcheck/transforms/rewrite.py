"""The transform `rewrite`, and the table of its rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import onnx_ir as ir
from pydantic import Field

from modelcheck.errors import UsageError
from modelcheck.model import Model
from modelcheck.model.static import Static
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.edit import Edit
from modelcheck.transforms.graph import (
    CannotChange,
    is_standard,
    layer_name,
    matching,
    report_hidden,
)
from modelcheck.transforms.opset import raised_to_13
from modelcheck.transforms.options import checked
from modelcheck.transforms.rules import (
    activation,
    affine,
    batchnorm,
    commuting,
    convolution,
    dense,
    gating,
    grouping,
    layout,
    padding,
    pixels,
    pooling,
    reduction,
    shapes,
    shuffling,
    siblings,
    stacking,
    transposed,
    transposed_plain,
    transposition,
    widening,
    written_out,
)
from modelcheck.transforms.rules.rule import Rule, Site

RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        padding.EXPLICIT_PADS,
        shapes.EXPLICIT_SHAPES,
        padding.PAD_BEFORE_POOL,
        padding.PAD_BEFORE_CONV,
        transposed_plain.PLAIN,
        written_out.WRITTEN_OUT,
        batchnorm.APART,
        reduction.IN_TURNS,
        commuting.CONSTANTS_SECOND,
        layout.CHANNELS_FIRST,
        padding.PAD_INTO_CONV,
        gating.RESIDUAL_INTO_GATE,
        reduction.GLOBAL_AS_MEAN,
        affine.INTO_CONV,
        transposed.AS_CONV,
        transposition.IN_FOUR_AXES,
        pooling.IN_TURNS,
        shuffling.INTO_WEIGHTS,
        widening.IN_EIGHTS,
        pixels.IN_EIGHTS,
        stacking.INTO_CHANNELS,
        grouping.IN_EIGHTS,
        grouping.IN_THREES,
        siblings.AS_ONE,
        activation.APART,
        convolution.POINTWISE,
        convolution.WINDOWED,
        convolution.POINTWISE_GEMM,
        convolution.WINDOWED_GEMM,
        dense.GEMM_AS_MATMUL,
        dense.MATMUL_AS_GEMM,
    )
}
Name = Literal[
    "explicit-pads", "explicit-shapes", "pad-before-pool", "pad-before-conv", "convtranspose-plain",
    "activation-written-out", "batchnorm-apart", "reductions-in-turns", "constants-second",
    "channels-first", "pad-into-conv", "residual-into-gate", "globalpool-as-mean",
    "affine-into-conv",
    "convtranspose-as-conv", "transpose-in-4d", "maxpool-in-turns",
    "shuffle-into-weights", "channels-in-eights", "pixels-in-eights",
    "rows-into-channels", "groups-in-eights", "depthwise-in-threes",
    "siblings-as-one", "activation-apart",
    "conv1x1-as-matmul", "conv-as-matmul", "conv1x1-as-gemm", "conv-as-gemm",
    "gemm-as-matmul", "matmul-as-gemm",
]  # fmt: skip


@checked
def rewrite(
    *,
    rules: Annotated[
        tuple[Name, ...], Field(min_length=1, description="which rules, in this order")
    ] = (
        "explicit-pads",
        "explicit-shapes",
        "pad-before-pool",
        "pad-before-conv",
        "convtranspose-plain",
        "activation-written-out",
        "batchnorm-apart",
        "reductions-in-turns",
        "constants-second",
    ),  # fmt: skip
    only: Annotated[
        tuple[str, ...],
        Field(description="the layers to rewrite, by name or glob; none given: all"),
    ] = (),
    exclude: Annotated[
        tuple[str, ...], Field(description="layers to leave alone, by name or glob")
    ] = (),
) -> Transform:
    """Write layers as other operators that compute the same.

    What engines get wrong, written so that they get it right (the default):
    explicit-pads       auto_pad SAME_* as numbers
    explicit-shapes     a 0 in a Reshape behind a Reshape as the number
    pad-before-pool     AveragePool that counts its padding as Pad and AveragePool
    pad-before-conv     padding that is read wrongly as a Pad: depthwise 3x3, one dimension
    convtranspose-plain  the same pads at both ends, as numbers, no dilation, two dimensions
    activation-written-out  Swish with an alpha, Gelu by tanh, as Mul and Sigmoid or Tanh
    batchnorm-apart     BatchNormalization behind a convolution's activation as Mul and Add
    reductions-in-turns  over many axes over some, then the others
    constants-second    x + a and x · a for a + x and a · x, a scalar constant
    What they run slowly, written so that they run it fast:
    channels-first      arithmetic between transpositions to NHWC and back, in NCHW
    pad-into-conv       zeros before a convolution as its own padding
    residual-into-gate  x + x g as x (1 + g)
    globalpool-as-mean  GlobalAveragePool as ReduceMean
    affine-into-conv    what is multiplied or added channel by channel, into the weights beside it
    convtranspose-as-conv  with a channel for each phase of the output, then put in place
    transpose-in-4d     of other ranks, in one or two turns of four axes
    maxpool-in-turns    a wide window over what a narrower one found
    shuffle-into-weights  channels in the order in which the next layers take them
    channels-in-eights  beside channels of zeros, to a multiple of 8
    pixels-in-eights    of convolutions that 5.0's new engine gets wrong in int8 otherwise
    rows-into-channels  rows of the kernels of a convolution of few channels
    groups-in-eights    of 2 or 4 channels, so many as have 8 together, as one
    depthwise-in-threes 5x5 as four of 3x3
    siblings-as-one     convolutions of one tensor, alike but for their weights
    activation-apart    a Reshape before the activation, so that it is not fused
    conv1x1-as-matmul   Y = W·X + b over H·W pixels: Reshape, MatMul, Add, Reshape
    conv-as-matmul      k×k: Pad, k·k Slices, Concat, and the same product
    conv1x1-as-gemm, conv-as-gemm  of a batch of one: with a Gemm, which takes the bias along
    gemm-as-matmul      Gemm as MatMul and Add
    matmul-as-gemm      MatMul and Add as Gemm
    Which of those pays depends on the engine and the layer (docs/rewrites.md): name the
    layers with `only`. Left alone: shapes that are not known, weights that are computed.
    Claim: exact (the order of sums changes).
    """

    if {"gemm-as-matmul", "matmul-as-gemm"} <= set(rules):
        raise UsageError(
            "'gemm-as-matmul' and 'matmul-as-gemm' undo each other",
            where="rules",
            remedy="Make two steps of them, with `only`.",
        )

    def apply(model: Model, context: Context) -> Model:
        chosen = [RULES[name] for name in rules]
        raised = _raised(model, max(rule.opset for rule in chosen))
        edit = Edit(raised)
        operators = frozenset[str]().union(*(rule.operators for rule in chosen))
        report_hidden(edit.model, operators, context)
        names = [layer_name(node) for node in edit.graph if is_standard(node, *operators)]
        unwanted = matching(exclude, names)
        named = matching(only, names) if only else None

        def wanted(name: str) -> bool:
            """What rules have written is wanted too, unless layers are named."""
            return name not in unwanted and (named is None or name in named)

        for name in names:
            if name in unwanted:
                context.leave(name, "excluded")
        known = frozenset(edit.graph)
        # What was written anew has shapes that the next round knows.
        while True:
            left: list[tuple[str, str]] = []
            found = [_apply_rule(rule, edit, wanted, left) for rule in chosen]
            if not any(found):
                break
        for name, reason in left:
            context.leave(name, reason)
        _keep_shapes(edit, known)
        changed = edit.done()
        return model if changed is raised else changed

    return Transform("rewrite", Claim.EXACT, apply)


def _keep_shapes(edit: Edit, known: frozenset[ir.Node]) -> None:
    """No Reshape that rules wrote may stand before one with a 0, which an engine gets wrong."""
    static = Static(edit.graph, edit.opset)
    for node in [node for node in edit.graph if is_standard(node, "Reshape")]:
        before = node.inputs[0].producer() if node.inputs[0] is not None else None
        if before is not None and before not in known:
            shapes.explicit_shapes(Site(edit, static, node))


def _raised(model: Model, opset: int) -> Model:
    """The model in an opset that has what the rules write, if it can be said there."""
    if model.opset >= opset:
        return model
    try:
        return raised_to_13(model)
    except CannotChange:
        return model


def _apply_rule(
    rule: Rule, edit: Edit, wanted: Callable[[str], bool], left: list[tuple[str, str]]
) -> bool:
    """Whether it wrote any layer anew; what it could not goes to `left`, with the reason."""
    static, changed = Static(edit.graph, edit.opset), False
    shared: dict[str, Any] = {}
    for node in [node for node in edit.graph if is_standard(node, *rule.operators)]:
        if node.graph is None or not wanted(layer_name(node)):  # None: a rule has removed it
            continue
        try:
            if edit.opset < rule.opset:
                raise CannotChange(f"opset {edit.opset} is older than {rule.opset}")
            changed = rule.apply(Site(edit, static, node, wanted, shared)) or changed
        except CannotChange as reason:
            left.append((layer_name(node), f"{rule.name}: {reason}"))
    if changed:
        edit.graph.sort()  # what was written stands at the end; rules read a graph from the front
    return changed
