"""modelcheck: optimize ONNX models for cv2.dnn, and prove that they are still the same model.

Names are imported when they are first used, so that `import modelcheck` is light:

    import modelcheck as mc

    model = mc.load("net.onnx")
    small = mc.chain(mc.fold_batchnorm(), mc.prune_weights(amount=0.5))(model)
    samples = mc.open_samples("images/", model.signature)
    *_, last = mc.verify(mc.Plan(model, small, samples, (mc.TargetSettings(mc.Target()),)))
    last.result.outcome
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "modelcheck.data": ("Preprocessing", "Samples", "open_samples", "split_in_three"),
    "modelcheck.errors": ("ModelcheckError",),
    "modelcheck.gate": ("calibrated",),
    "modelcheck.judge": ("Limits", "Outcome", "parse_limit"),
    "modelcheck.model": ("Model", "Signature", "load", "save"),
    "modelcheck.recipe": ("TargetSettings", "apply_steps", "load_recipe", "parse_metric"),
    "modelcheck.searching": ("Goal", "SearchPlan", "Searched", "search"),
    "modelcheck.targets": ("Target",),
    "modelcheck.transforms": (
        "Claim",
        "Context",
        "Transform",
        "build",
        "chain",
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
    ),
    "modelcheck.verification": ("Plan", "Verification", "verify"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Claim",
    "Context",
    "Goal",
    "Limits",
    "Model",
    "ModelcheckError",
    "Outcome",
    "Plan",
    "Preprocessing",
    "Samples",
    "SearchPlan",
    "Searched",
    "Signature",
    "Target",
    "TargetSettings",
    "Transform",
    "Verification",
    "apply_steps",
    "build",
    "calibrated",
    "chain",
    "equalize",
    "fold_batchnorm",
    "fp16",
    "identity",
    "load",
    "load_recipe",
    "open_samples",
    "parse_limit",
    "parse_metric",
    "prune_weights",
    "quantize",
    "quantize_weights",
    "rewrite",
    "save",
    "search",
    "simplify",
    "sparsify",
    "split_in_three",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'modelcheck' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from modelcheck.data import Preprocessing, Samples, open_samples, split_in_three
    from modelcheck.errors import ModelcheckError
    from modelcheck.gate import calibrated
    from modelcheck.judge import Limits, Outcome, parse_limit
    from modelcheck.model import Model, Signature, load, save
    from modelcheck.recipe import TargetSettings, apply_steps, load_recipe, parse_metric
    from modelcheck.searching import Goal, Searched, SearchPlan, search
    from modelcheck.targets import Target
    from modelcheck.transforms import Claim, Context, Transform, build, chain, identity
    from modelcheck.transforms.equalize import equalize
    from modelcheck.transforms.fold_batchnorm import fold_batchnorm
    from modelcheck.transforms.fp16 import fp16
    from modelcheck.transforms.prune_weights import prune_weights
    from modelcheck.transforms.quantize import quantize
    from modelcheck.transforms.quantize_weights import quantize_weights
    from modelcheck.transforms.rewrite import rewrite
    from modelcheck.transforms.simplify import simplify
    from modelcheck.transforms.sparsify import sparsify
    from modelcheck.verification import Plan, Verification, verify
