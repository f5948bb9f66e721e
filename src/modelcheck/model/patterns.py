"""What each OpenCV is known to get wrong, refuse or do slowly: one literal table.

Measured on x86-64 with the wheels 4.14.0.94 and 5.0.0.93, against onnxruntime; errors are parts of
the output's scale. A finding is a warning, never a verdict: what a target really does is measured
there. What no engine runs at all (Loop, bfloat16, 4-bit weights) is refused on loading, and not
here. tests/targets/test_known_faults.py runs every row: one that an OpenCV has mended fails there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelcheck.model import int8_faults as int8
from modelcheck.model import matchers as m
from modelcheck.model import matchers_float as f
from modelcheck.model import matchers_int8 as q
from modelcheck.model.scene import Scene

V4, CLASSIC, NEW = "4.14", "5.0 classic", "5.0 new"
ALL = (V4, CLASSIC, NEW)
OLD = (V4, CLASSIC)
V5 = (CLASSIC, NEW)
MEASURED = {V4: "4.14.0", CLASSIC: "5.0.0", NEW: "5.0.0"}


class Severity(StrEnum):
    """`wrong` gives wrong numbers without an error, and is the worst."""

    WRONG = "wrong"
    FAILS = "fails"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A form that some engines do not handle, how to see it, and what to do.

    `when` is what must happen besides, and a graph does not show; '' where nothing must.
    """

    id: str
    what: str
    engines: tuple[str, ...]
    severity: Severity
    remedy: str
    match: m.Matcher
    when: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A pattern found in a model, with the names of the nodes or inputs it was found at."""

    pattern: Pattern
    nodes: tuple[str, ...]


def known_faults(scene: Scene) -> tuple[Finding, ...]:
    """Every pattern of the table that occurs in the model, the worst first."""
    order = list(Severity)
    found = [Finding(p, tuple(nodes)) for p in PATTERNS if (nodes := p.match(scene))]
    return tuple(sorted(found, key=lambda f: order.index(f.pattern.severity)))


def column_of(version: str, engine: str) -> str:
    """Which engine of the table an OpenCV has: '5.1.0' and 'new' -> '5.0 new'."""
    if int(version.split(".", maxsplit=1)[0]) < 5:
        return V4
    return CLASSIC if engine == "classic" else NEW


_FLOAT = "Leave it in float: quantize with exclude=."
_UNROUNDED = "Leave its result unrounded, or the layer in float; `quantize` does so (spare=true)."
_AS_MATMUL = "Write it as MatMul and Add before quantizing, as `quantize` does."
_NEW_ENGINE = "Use the new engine of OpenCV 5."
_PADS = "Write the padding out as pads: rewrite with rules=explicit-pads."
_PAD_FIRST = "Pad before it: rewrite with rules=pad-before-conv."
_IN_TURNS = "Reduce over the last two, then the others: rewrite with rules=reductions-in-turns."
_PLAIN = "Write pads and kernel out: rewrite with rules=convtranspose-plain."
_IN_2D = "Write it over two: rewrite with rules=convtranspose-plain."
_WRITTEN_OUT = "Write it out: rewrite with rules=activation-written-out."
_WRONG, _FAILS, _SLOW = Severity

PATTERNS = (
    # Quantized.
    Pattern(
        int8.TAIL, "an int8 convolution, 1x1 or over one dimension, rounded at once, of pixels "
        "that 8 does not divide: the last ones are wrong (error 1.4)",
        (NEW,), _WRONG, _UNROUNDED, q.conv(int8.TAIL),
    ),
    Pattern(
        int8.SMALL, "a padded int8 convolution of few channels, or depthwise, rounded at once, of "
        "few pixels that 8 does not divide (error 0.9)",
        (NEW,), _WRONG, _UNROUNDED, q.conv(int8.SMALL),
    ),
    Pattern(
        int8.GROUPED, "a grouped int8 convolution, rounded at once, of more than 8 output "
        "channels a group that 8 does not divide (error 1.2)",
        (NEW,), _WRONG, _UNROUNDED, q.conv(int8.GROUPED),
    ),
    Pattern(
        "int8-sigmoid", "a Sigmoid between an int8 convolution and int8 (error 0.8)",
        (NEW,), _WRONG, "Leave the Sigmoid's result unrounded, as `quantize` does.", q.sigmoid,
    ),
    Pattern(
        "int8-arithmetic", "Sub, Div, Max or Min of two int8 tensors, rounded at once "
        "(error 0.7 to 8)",
        (NEW,), _WRONG, "Leave the result unrounded.", q.arithmetic,
    ),
    Pattern(
        "int8-bias-scale", "an int32 bias whose scale is not that of the input times that of the "
        "weight (error 0.2 to 0.4)",
        (NEW,), _WRONG, "Give it that scale, or leave the bias in float.", q.bias_scale,
    ),
    Pattern(
        "qgemm-bias", "QGemm with a bias (error 0.6; refused with uint8 weights)",
        (NEW,), _WRONG, _AS_MATMUL, q.qgemm_bias,
    ),
    Pattern(
        "qlinear-averagepool", "AveragePool in QOperator form that does not count its padding "
        "(error 0.55)",
        ALL, _WRONG, "Leave pooling in float.", q.padded_pool,
    ),
    Pattern(
        "qlinear-add-constant", "QLinearAdd of a constant that begins with a dimension of 1, for "
        "more than one sample",
        OLD, _FAILS, "Take that dimension from the constant.", q.add_constant,
    ),
    Pattern(
        "qlinear-matmul-activations", "QLinearMatMul of two activations",
        OLD, _FAILS, _FLOAT, q.matmul_of_activations,
    ),
    Pattern(
        "qlinearconv-kernel-shape", "QLinearConv without kernel_shape",
        OLD, _FAILS, "Write kernel_shape out.", q.conv_without_kernel,
    ),
    Pattern(
        "qdq-gemm-batch", "Gemm with a dequantized bias, for more than one row: wrong or a crash",
        (V4,), _WRONG, _AS_MATMUL, q.gemm_bias_batch,
    ),
    Pattern(
        "qdq-gemm", "Gemm with int8 weights and a dequantized bias, rounded at once",
        (NEW,), _FAILS, _AS_MATMUL, q.gemm_bias,
    ),
    Pattern(
        "qdq-matmul-bias", "MatMul between dequantizers and an Add of a dequantized constant: an "
        "error, or a wrong shape",
        (V4,), _WRONG, "Leave the constant in float, as `quantize` does.", q.matmul_bias,
    ),
    Pattern(
        "int8-maxpool", "MaxPool of int8 numbers whose result is not rounded",
        (NEW,), _FAILS, "Round the result too, as `quantize` does (spare=true).", q.unrounded_pool,
    ),
    Pattern(
        "shared-dequantizer", "a residual block whose two branches share a DequantizeLinear",
        (NEW,), _FAILS, "Give each branch one of its own, as `quantize` does.",
        q.shared_dequantizer,
    ),
    Pattern(
        "dynamic-quantization", "dynamic quantization",
        ALL, _FAILS, "Quantize statically: `quantize` with calibration data.",
        m.operators("ConvInteger", "MatMulInteger"),
    ),
    Pattern(
        "qdq-conv-unfused", "convolutions between dequantizers: as fast as float at best",
        OLD, _SLOW, "QOperator is faster here: quantize with form=qoperator.",
        q.qdq("Conv"),
    ),
    # Convolution and pooling.
    Pattern(
        "same-lower", "auto_pad SAME_LOWER of an odd number of pixels (error 1)",
        OLD, _WRONG, _PADS, f.same_lower,
    ),
    Pattern(
        "same-strided", "auto_pad whose padding does not begin with (kernel - 1) / 2 pixels, as "
        "SAME_UPPER with stride 2 on an even size (error 1)",
        (NEW,), _WRONG, _PADS, f.same_begins_elsewhere,
    ),
    Pattern(
        "counted-padding", "AveragePool that counts its padding (error 0.8)",
        OLD, _WRONG, "Write it as Pad and AveragePool: rewrite with rules=pad-before-pool.",
        f.counted_padding,
    ),
    Pattern(
        "pointwise-padded", "a 1x1 convolution with padding: memory that is none of its own",
        (NEW,), _WRONG, "Pad before it, or give it a wider kernel with zeros.", f.pointwise_padded,
    ),
    Pattern(
        "pointwise-padded-at-one-end", "a 1x1 convolution with more padding at the end than at the "
        "begin: memory that is none of its own",
        OLD, _WRONG, "Pad before it, or give it a wider kernel with zeros.",
        f.pointwise_padded_at_one_end,
    ),
    Pattern(
        "depthwise-padded-below", "a depthwise 3x3 convolution with at most one row of padding "
        "above and two or more below, where the middle row of a window is padding too: memory that "
        "is none of its own (error 0.3 to infinite)",
        OLD, _WRONG, _PAD_FIRST,
        f.depthwise_padded_below,
    ),
    Pattern(
        "one-dimension-padded-at-one-end", "a convolution or pooling over one dimension with pads "
        "that differ at the two ends: another size",
        OLD, _WRONG, f"{_PAD_FIRST} Pooling: pad before it.", f.one_dimension_padded_at_one_end,
    ),
    Pattern(
        "batchnorm-behind-activation", "BatchNormalization behind the Sigmoid, SiLU, Tanh, Elu, "
        "HardSigmoid, HardSwish, Mish or GELU of a convolution: folded into the convolution, as "
        "though it stood before the activation (error 0.3 to 0.7)",
        (NEW,), _WRONG, "Write it as Mul and Add: rewrite with rules=batchnorm-apart.",
        f.batchnorm_behind_activation,
    ),
    Pattern(
        "reduced-over-three", "a reduction over three axes or more, of which all but the last two "
        "have more than two elements (error 0.03 to 0.5 for means and sums)",
        OLD, _WRONG, _IN_TURNS, f.reduced_over_three,
    ),
    Pattern(
        "reduced-over-three-between", "the same, where an axis that stays lies behind or between "
        "them",
        (NEW,), _WRONG, _IN_TURNS, f.reduced_over_three_between,
    ),
    Pattern(
        "reduced-over-all", "a reduction over all axes, each of them named: a crash",
        OLD, _FAILS, "Name none, which means all: rewrite with rules=reductions-in-turns.",
        f.reduced_over_all,
    ),
    Pattern(
        "dilated-pool", "dilated pooling: the dilation is ignored",
        OLD, _WRONG, _NEW_ENGINE, f.with_dilations("MaxPool", "AveragePool"),
    ),
    Pattern(
        "transposed-size", "ConvTranspose with auto_pad or output_shape: another size",
        ALL, _WRONG, _PLAIN, f.transposed_size,
    ),
    Pattern(
        "transposed-dilated", "dilated ConvTranspose: the dilation is ignored",
        (V4,), _WRONG, _PLAIN, f.with_dilations("ConvTranspose"),
    ),
    Pattern(
        "transposed-1d", "ConvTranspose over one dimension",
        (CLASSIC,), _WRONG, _IN_2D, f.transposed_1d,
    ),
    Pattern(
        "transposed-1d-refused", "ConvTranspose over one dimension",
        (V4,), _FAILS, _IN_2D, f.transposed_1d,
    ),
    Pattern(
        "transposed-asymmetric", "ConvTranspose with pads that differ at the two ends",
        (V4,), _FAILS, _PLAIN, f.transposed_asymmetric,
    ),
    # Other operators.
    Pattern(
        "gelu-constant-first", "a GELU written out (Div, Erf, Add, Mul, Mul) with a constant as "
        "first operand: the process dies",
        ALL, _FAILS, "Put it second: rewrite with rules=constants-second.", f.gelu_constant_first,
    ),
    Pattern(
        "softmax-before-13", "Softmax or LogSoftmax of an opset before 13 over several axes: only "
        "the first is normalized (error 0.4 to 16)",
        ALL, _WRONG, "Flatten before it and Reshape after it.", f.softmax_before_13,
    ),
    Pattern(
        "broadcast-matmul", "MatMul by a stack of constant matrices that is broadcast (error 1.5)",
        ALL, _WRONG, "Repeat the constant for the whole batch.", f.broadcast_matmul,
    ),
    Pattern(
        "matmul-vector-shape", "MatMul by a vector: another shape",
        (V4,), _WRONG, "Use OpenCV 5, with a matrix of one column and Squeeze.",
        f.matmul_by_vector,
    ),
    Pattern(
        "matmul-vector", "MatMul by a vector",
        V5, _FAILS, "Use a matrix of one column, and Squeeze.", f.matmul_by_vector,
    ),
    Pattern(
        "prelu-axis", "PRelu with slopes along another axis than the channels (error 0.2 to 0.6)",
        ALL, _WRONG, "Transpose that axis to the second place and back.", f.prelu_not_by_channel,
    ),
    Pattern(
        "gelu-tanh", "Gelu approximate=tanh: computed with erf instead (error 2e-4)",
        ALL, _WRONG, _WRITTEN_OUT, f.gelu_tanh,
    ),
    Pattern(
        "swish-alpha", "Swish with an alpha other than 1, which is left out (error 0.07 at 1.702)",
        ALL, _WRONG, _WRITTEN_OUT, f.swish_alpha,
    ),
    Pattern(
        "resize-nearest", "Resize to the nearest pixel in a nearest_mode that is ignored "
        "(error 1.8)",
        OLD, _WRONG, "Use the new engine, or asymmetric with floor.", f.resize_nearest,
    ),
    Pattern("resize-cubic", "cubic Resize", OLD, _FAILS, _NEW_ENGINE, f.resize_cubic),
    Pattern("slice-backward", "Slice with a negative step", OLD, _FAILS, _NEW_ENGINE,
            f.backward_slice),
    Pattern("pad-negative", "Pad by a negative number", OLD, _FAILS, "Use Slice.", f.cropping_pad),
    Pattern(
        "only-new", "If, GatherND or LpNormalization",
        OLD, _FAILS, _NEW_ENGINE, m.operators("If", "GatherND", "LpNormalization"),
    ),
    Pattern(
        "cast-to-float16", "activations cast to float16",
        (CLASSIC,), _FAILS, "Store weights in half floats only: fp16 with scope=weights.",
        f.cast_to_float16,
    ),
    # Shapes and sizes.
    Pattern(
        "reshape-after-reshape", "a Reshape with a 0 right behind another Reshape: the 0 is taken "
        "for a size of the first one's input",
        (NEW,), _WRONG, "Write the number in place of the 0: rewrite with rules=explicit-shapes.",
        f.reshape_after_reshape,
    ),
    Pattern(
        "output-of-rank-1", "an output of one dimension: given as two",
        (V4,), _WRONG, "Use OpenCV 5, or give the output two dimensions.", m.outputs_of_rank_1,
    ),
    Pattern(
        "shape-of-free-sizes", "Shape, where sizes are free besides the batch",
        OLD, _FAILS, "Fix the sizes at export, or use the new engine.", m.shapes_of_free_sizes,
    ),
    Pattern("over-2-gib", "weights over 2 GiB", (V4,), _FAILS, "Use OpenCV 5.", m.over_2_gib),
    # What depends on more than the graph.
    Pattern(
        "tanh-large", "Tanh", V5, _WRONG, "Clip its input to ±20.", m.operators("Tanh"),
        when="of more than 44: not a number",
    ),
    Pattern(
        "logsoftmax-wide", "LogSoftmax", ALL, _WRONG, "Clip its input, say to ±40.",
        m.operators("LogSoftmax"), when="of values more than 87 below the largest: infinite",
    ),
    Pattern(
        "softplus-large", "Softplus", ALL, _WRONG, "Clip its input to at most 80.",
        m.operators("Softplus"), when="of more than 88: infinite",
    ),
    Pattern(
        "int64-input", "int64 inputs", ALL, _WRONG, "Feed values below 2^31.", m.int64_inputs,
        when="of 2^31 or more: cut off to int32",
    ),
    Pattern(
        "shape-of-free-batch", "Shape, where the batch is free",
        OLD, _WRONG, "Fix the batch at export, or use the new engine.", m.shapes_of_free_batch,
        when="for more than one sample: the batch is taken for 1",
    ),
    Pattern(
        "reused-net-add", "a sum of two convolutions and a free batch",
        OLD, _WRONG, "Use one Net for one input shape.", m.free_batch_add_of_convolutions,
        when="one Net is used again with another batch size",
    ),
    Pattern(
        "reused-net-matmul", "MatMul of rank 3 and a free batch",
        (CLASSIC,), _FAILS, "Use one Net for one input shape.", m.free_batch_rank_3_matmul,
        when="one Net is used again with a larger batch: the process dies",
    ),
)  # fmt: skip
