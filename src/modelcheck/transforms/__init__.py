"""Transforms: pure functions Model -> Model, and the catalogue of them."""

from modelcheck.transforms.base import (
    Activations,
    Claim,
    Context,
    LeftAlone,
    Transform,
    chain,
    identity,
)
from modelcheck.transforms.catalogue import CATALOGUE, Description, Row, build, describe
from modelcheck.transforms.diff import Change, diff
from modelcheck.transforms.equalize import equalize
from modelcheck.transforms.fold_batchnorm import fold_batchnorm
from modelcheck.transforms.fp16 import fp16
from modelcheck.transforms.options import Option
from modelcheck.transforms.prune_weights import prune_weights
from modelcheck.transforms.quantize import quantize
from modelcheck.transforms.quantize_weights import quantize_weights
from modelcheck.transforms.rewrite import rewrite
from modelcheck.transforms.simplify import simplify
from modelcheck.transforms.sparsify import sparsify

__all__ = [
    "CATALOGUE",
    "Activations",
    "Change",
    "Claim",
    "Context",
    "Description",
    "LeftAlone",
    "Option",
    "Row",
    "Transform",
    "build",
    "chain",
    "describe",
    "diff",
    "equalize",
    "fold_batchnorm",
    "fp16",
    "identity",
    "prune_weights",
    "quantize",
    "quantize_weights",
    "rewrite",
    "simplify",
    "sparsify",
]
