"""Fold what is constant and drop what does nothing, by onnxscript's optimizer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir

from modelcheck.errors import ContainedFailure
from modelcheck.model import Model
from modelcheck.transforms.base import Claim, Context, Transform
from modelcheck.transforms.options import checked

# Folded, these would no longer be what they stand for: rounded weights, and numbers drawn anew.
_KEPT = frozenset((
    "QuantizeLinear", "DequantizeLinear", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike", "Bernoulli", "Multinomial",
))  # fmt: skip
_MOST_PASSES = 8  # what one pass drops lets the next one drop more


@checked
def simplify() -> Transform:
    """Fold constants, and drop nodes that do nothing or compute the same twice.

    By the optimizer of onnxscript: constant folding, common subexpressions, no-ops, unused nodes
    and initializers, local functions inlined. Weights in int8 stay so. What is exact in
    onnxruntime need not be on OpenCV: verify it there, as everything else.
    Claim: exact (constants are folded in NumPy).
    """

    def apply(model: Model, context: Context) -> Model:
        for _ in range(_MOST_PASSES):
            before, model = model, _optimized(model)
            if model is before:
                break
        return model

    return Transform("simplify", Claim.EXACT, apply)


def _optimized(model: Model) -> Model:
    """The model after one pass; the very same one where that changes nothing."""
    from onnxscript import optimizer

    edited = model.edit()
    try:
        with _silence():
            # Its shape inference would be onnx's native one.
            optimizer.optimize_ir(edited, onnx_shape_inference=False, should_fold=_may_fold)
    except Exception as error:  # whatever a library raises of a graph that it does not expect
        raise ContainedFailure(
            f"onnxscript's optimizer failed: {type(error).__name__}: {error}".splitlines()[0],
            where="simplify",
            remedy="Leave this step out.",
        ) from error
    changed = Model.freeze(edited, name=model.name)
    return model if changed == model else changed


def _may_fold(node: ir.Node) -> bool | None:
    """False keeps a node; None leaves it to the optimizer."""
    return False if node.op_type in _KEPT else None


@contextmanager
def _silence() -> Iterator[None]:
    """Its log lists every initializer that it leaves alone."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
