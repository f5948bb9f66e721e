"""Every transform, in one literal table. A new one is a file with its factory, and a row here.

The battery of `modelcheck.testing` asks the same questions of every row: that the input stays
unchanged, the output is valid and keeps the signature, the claim holds, the same seed gives the
same result, and whatever else the row promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelcheck.errors import UsageError, did_you_mean, printable
from modelcheck.transforms.base import Claim, Transform
from modelcheck.transforms.equalize import equalize
from modelcheck.transforms.fold_batchnorm import fold_batchnorm
from modelcheck.transforms.fp16 import fp16
from modelcheck.transforms.options import Option, option_table, transform_name
from modelcheck.transforms.prune_weights import prune_weights
from modelcheck.transforms.quantize import quantize
from modelcheck.transforms.quantize_weights import quantize_weights
from modelcheck.transforms.rewrite import rewrite
from modelcheck.transforms.simplify import simplify
from modelcheck.transforms.sparsify import sparsify, sparsity_of

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A transform as the catalogue knows it, and what the battery may hold it to.

    `identity`    options that make it change nothing at all, if there are any
    `idempotent`  whether a second application changes nothing
    `zeros`       (options, all of them) -> the fraction of zeros promised over the weights of all
                  layers that were not left alone; None promises nothing
    `examples`    options that together visit every mode
    `automatic`   what `auto` stands for as the value of an option; the transform never sees it:
                  measuring finds explicit options first (searching/automatic.py)
    """

    factory: Callable[..., Transform]
    claim: Claim
    source: str
    identity: Options | None = None
    idempotent: bool = True
    zeros: Callable[[Options], float] | None = None
    examples: tuple[Options, ...] = ({},)
    automatic: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return transform_name(self.factory)

    @property
    def summary(self) -> str:
        """The first line of the factory's documentation."""
        return (self.factory.__doc__ or "").strip().partition("\n")[0]

    @property
    def options(self) -> tuple[Option, ...]:
        return option_table(self.factory)


_ROWS = (
    Row(
        fold_batchnorm,
        Claim.EXACT,
        source="B. Jacob et al., CVPR 2018, section 3.2; ONNX operators BatchNormalization, Conv",
    ),
    Row(
        simplify,
        Claim.EXACT,
        source="onnxscript.optimizer",
    ),
    Row(
        rewrite,
        Claim.EXACT,
        source="K. Chellapilla et al., High Performance Convolutional Neural Networks for Document "
        "Processing, 2006 (im2col); ONNX operators Conv, Gemm, AveragePool",
        examples=(
            {},
            {"rules": ["explicit-pads", "conv1x1-as-matmul", "conv-as-matmul"]},
            {"rules": ["conv1x1-as-gemm", "conv-as-gemm"]},
            {"rules": ["gemm-as-matmul"]},
            {"rules": ["matmul-as-gemm"]},
            {"rules": ["convtranspose-as-conv", "conv1x1-as-matmul", "conv-as-matmul"]},
            {
                "rules": [
                    "affine-into-conv",
                    "siblings-as-one",
                    "maxpool-in-turns",
                    "transpose-in-4d",
                    "shuffle-into-weights",
                    "channels-in-eights",
                    "pixels-in-eights",
                    "rows-into-channels",
                    "groups-in-eights",
                    "depthwise-in-threes",
                    "activation-apart",
                ]
            },
        ),
    ),
    Row(
        equalize,
        Claim.EXACT,
        source="M. Nagel et al., Data-Free Quantization Through Weight Equalization, ICCV 2019; "
        "G. Xiao et al., SmoothQuant, ICML 2023",
        idempotent=False,  # what was rounded to a power of two may be rounded once more
        examples=({}, {"balance": 0.0}),
    ),
    Row(
        sparsify,
        Claim.LOSSY,
        source="A. Mishra et al., Accelerating Sparse Deep Neural Networks, 2021 (n:m); "
        "S. Narang et al., Block-Sparse Recurrent Neural Networks, 2017 (block)",
        identity={"amount": 0.0},
        zeros=lambda options: sparsity_of(options["pattern"], options["amount"]),
        examples=(
            {},
            {"amount": 0.9, "seed": 7},
            {"pattern": "2:4"},
            {"pattern": "1:2"},
            {"pattern": "block", "amount": 0.3, "block": "2x2"},
        ),
    ),
    Row(
        prune_weights,
        Claim.LOSSY,
        source="S. Han et al., Learning both Weights and Connections, NeurIPS 2015",
        identity={"amount": 0.0},
        zeros=lambda options: 0.0 if options["threshold"] is not None else options["amount"],
        examples=(
            {},
            {"amount": 0.8, "scope": "global"},
            {"threshold": 0.05},
            {"amount": 1.0},
        ),
    ),
    Row(
        quantize,
        Claim.LOSSY,
        source="B. Jacob et al., CVPR 2018; E. Frantar et al., GPTQ, ICLR 2023; "
        "ONNX operators QuantizeLinear, QLinearConv",
        examples=(
            {},
            {"form": "qoperator", "calibration": "percentile"},
            {"calibration": "average", "activation": "uint8"},
            {"per_channel": False, "calibration": "mse"},
            {"calibration": "entropy", "correct_bias": True},
            {"weight_range": "mse", "rounding": "learned"},
            {
                "form": "qoperator",
                "per_channel": False,
                "rounding": "learned",
                "correct_bias": True,
            },
        ),
        automatic={
            "form": "The form that every target computes rightly, the faster one where both are; "
            "layers for which there is none stay in float32.",
            "skip": "Beside `exclude`, leave out the fewest layers with which the limits hold on "
            "every target, the ones that int8 hurts most.",
        },
    ),
    Row(
        quantize_weights,
        Claim.LOSSY,
        source="R. Krishnamoorthi, Quantizing deep convolutional networks, 2018, section 3.1; "
        "ONNX operator DequantizeLinear",
        examples=({}, {"per_channel": False}),
    ),
    Row(
        fp16,
        Claim.PRECISION,
        source="IEEE 754-2019 binary16; P. Micikevicius et al., Mixed Precision Training, 2018",
        examples=({"scope": "weights"}, {"scope": "model"}),
    ),
)

CATALOGUE: Mapping[str, Row] = {row.name: row for row in _ROWS}


@dataclass(frozen=True, slots=True)
class Description:
    """A transform as `modelcheck transforms` prints it."""

    name: str
    claim: Claim
    summary: str
    options: tuple[Option, ...]
    automatic: Mapping[str, str]
    source: str


def describe() -> tuple[Description, ...]:
    """Every transform with its options, in the order of the catalogue."""
    return tuple(
        Description(row.name, row.claim, row.summary, row.options, row.automatic, row.source)
        for row in CATALOGUE.values()
    )


def build(name: str, options: Mapping[str, object] | None = None) -> Transform:
    """The transform of this name with these options.

    Raises UsageError for an unknown name or option, a wrong type or a value out of range.
    """
    row = CATALOGUE.get(name)
    if row is None:
        raise UsageError(
            f"unknown transform '{printable(name)}'",
            remedy=" ".join(
                part
                for part in (did_you_mean(name, CATALOGUE), "`modelcheck transforms` lists them.")
                if part
            ),
        )
    return row.factory(**dict(options or {}))
