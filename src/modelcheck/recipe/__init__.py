"""Recipes: what to do to a model and what to ask of the result, from TOML and command line."""

from modelcheck.recipe.loading import load_recipe, parse_duration, parse_recipe
from modelcheck.recipe.metrics import parse_metric
from modelcheck.recipe.settings import (
    Baseline,
    CheckKind,
    DataSettings,
    Judging,
    ModelPair,
    Recipe,
    TargetSettings,
)
from modelcheck.recipe.steps import (
    Automatic,
    Candidate,
    Step,
    apply_steps,
    build_step,
    is_automatic,
    parse_step,
)

__all__ = [
    "Automatic",
    "Baseline",
    "Candidate",
    "CheckKind",
    "DataSettings",
    "Judging",
    "ModelPair",
    "Recipe",
    "Step",
    "TargetSettings",
    "apply_steps",
    "build_step",
    "is_automatic",
    "load_recipe",
    "parse_duration",
    "parse_metric",
    "parse_recipe",
    "parse_step",
]
