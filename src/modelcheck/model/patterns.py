"""What each OpenCV is known to get wrong, refuse or do slowly: one literal table.

Measured on x86-64 with the wheels 4.14.0.94 and 5.0.0.93, against onnxruntime; errors are
relative. A finding is a warning, never a verdict: what a target really does is measured there.
What no engine runs at all (Loop, bfloat16, 4-bit weights) is refused on loading, and not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelcheck.model import matchers as m
from modelcheck.model.scene import Scene

V4, CLASSIC, NEW = "4.14", "5.0 classic", "5.0 new"
ALL = (V4, CLASSIC, NEW)
OLD = (V4, CLASSIC)


class Severity(StrEnum):
    """`wrong` gives wrong numbers without an error, and is the worst."""

    WRONG = "wrong"
    FAILS = "fails"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A form that some engines do not handle, how to see it, and what to do."""

    id: str
    what: str
    engines: tuple[str, ...]
    severity: Severity
    remedy: str
    match: m.Matcher


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


_LEAVE_OUT = "Leave these layers in float: quantize with exclude=."
_AS_MATMUL = "Write Gemm as MatMul and Add before quantizing, or leave it in float."
_WRONG, _FAILS, _SLOW = Severity

PATTERNS = (
    # Quantized.
    Pattern(
        "quantized-conv-sigmoid", "a quantized convolution read by Sigmoid alone (error 0.85)",
        (NEW,), _WRONG, _LEAVE_OUT, m.quantized_conv_sigmoid,
    ),
    Pattern(
        "quantized-squeeze-excite", "a quantized squeeze-excite block (error 0.56 to 0.70)",
        (NEW,), _WRONG, _LEAVE_OUT, m.quantized_squeeze_excite,
    ),
    Pattern(
        "int8-tail-1x1", "an int8 1x1 convolution without ReLU, H*W not divisible by 8: "
        "its last pixels are wrong",
        (NEW,), _WRONG, "Leave it in float, or choose an input size that 8 divides.",
        m.int8_tail_1x1,
    ),
    Pattern(
        "int8-tail-depthwise", "an int8 depthwise 3x3 convolution on a small map whose H*W is "
        "not divisible by 8 (wrong at 7x7 and 10x10)",
        (NEW,), _WRONG, _LEAVE_OUT, m.int8_tail_depthwise,
    ),
    Pattern(
        "qgemm", "QGemm (2.5 % error a layer)",
        (NEW,), _WRONG, _AS_MATMUL, m.operators("QGemm"),
    ),
    Pattern(
        "qlinear-averagepool", "AveragePool in QOperator form (error 0.43)",
        ALL, _WRONG, "Leave pooling in float.", m.operators("QLinearAveragePool"),
    ),
    Pattern(
        "qlinear-add-constant", "QLinearAdd of a constant",
        OLD, _WRONG, "Leave this Add in float.", m.qlinear_add_constant,
    ),
    Pattern(
        "qlinear-matmul-activations", "QLinearMatMul of two activations (12 % error, 4x slower)",
        (NEW,), _WRONG, _LEAVE_OUT, m.qlinear_matmul_of_activations,
    ),
    Pattern(
        "qlinear-matmul-activations-unsupported", "QLinearMatMul of two activations",
        OLD, _FAILS, _LEAVE_OUT, m.qlinear_matmul_of_activations,
    ),
    Pattern(
        "qdq-gemm-batch", "Gemm between dequantizers: wrong or a crash for N > 1",
        (V4,), _WRONG, _AS_MATMUL, m.qdq("Gemm"),
    ),
    Pattern(
        "qdq-gemm", "Gemm between dequantizers",
        (NEW,), _FAILS, _AS_MATMUL, m.qdq("Gemm"),
    ),
    Pattern(
        "qdq-matmul-add", "MatMul and Add between dequantizers: an error, or a wrong shape",
        (V4,), _WRONG, "Use QOperator form for this version, or leave it in float.",
        m.qdq_matmul_add,
    ),
    Pattern(
        "qdq-uint8-weights", "weights dequantized from uint8",
        (NEW,), _FAILS, "Quantize weights to int8 with zero point 0.", m.qdq_uint8_weights,
    ),
    Pattern(
        "dynamic-quantization", "dynamic quantization",
        ALL, _FAILS, "Quantize statically: `quantize` with calibration data.",
        m.operators("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
    ),
    Pattern(
        "qdq-conv-unfused", "convolutions between dequantizers: as fast as float at best",
        OLD, _SLOW, "QOperator form is faster here: quantize with scheme=qoperator.",
        m.qdq("Conv"),
    ),
    # Floating point.
    Pattern(
        "counted-padding", "AveragePool that counts its padding (error 0.54)",
        OLD, _WRONG, "Pad explicitly: a Pad before an AveragePool without pads.",
        m.counted_padding,
    ),
    Pattern(
        "same-lower-even", "auto_pad SAME_LOWER with an even kernel (error 1.05)",
        ALL, _WRONG, "Write the padding out as pads.", m.same_lower_even,
    ),
    Pattern(
        "float16-input", "float16 inputs: only right if fed float32",
        (CLASSIC,), _FAILS, "Keep inputs float32: `fp16` does so.", m.float16_inputs,
    ),
    # Control flow, shapes, sizes.
    Pattern(
        "if-nonzero", "If or NonZero", OLD, _FAILS,
        "Use the new engine, or export without them.", m.operators("If", "NonZero"),
    ),
    Pattern(
        "free-sizes", "free dimensions besides the batch: mostly not run",
        OLD, _FAILS, "Fix the sizes at export, or use the new engine.", m.free_sizes,
    ),
    Pattern(
        "rank-5-input", "an input of rank 5: the process dies",
        OLD, _FAILS, "Use the new engine.", m.rank_5_inputs,
    ),
    Pattern(
        "int64-input", "int64 inputs: truncated to int32",
        ALL, _WRONG, "Feed values below 2^31.", m.int64_inputs,
    ),
    Pattern(
        "over-2-gib", "weights over 2 GiB", (V4,), _FAILS, "Use OpenCV 5.", m.over_2_gib,
    ),
    Pattern(
        "reused-net-add", "a sum of two convolutions and a free batch: wrong when one Net is used "
        "again with another batch size",
        OLD, _WRONG, "Use one Net for one input shape.", m.free_batch_add_of_convolutions,
    ),
    Pattern(
        "reused-net-matmul", "MatMul of rank 3 and a free batch: the process dies when one Net is "
        "used again with a larger batch",
        (CLASSIC,), _FAILS, "Use one Net for one input shape.", m.free_batch_rank_3_matmul,
    ),
)  # fmt: skip
