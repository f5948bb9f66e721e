"""Tuning: how a deployment runs a model best, measured and proven on the machine itself."""

from modelcheck.tune.decision import MEASURES
from modelcheck.tune.deployment import as_dict, runtime_of, runtime_toml, script, snippet
from modelcheck.tune.events import Event, Tuned
from modelcheck.tune.plan import DEFAULT_BUDGET_S, SAMPLES, Proven, TunePlan, Tuning
from modelcheck.tune.run import tune
from modelcheck.tune.settings import ServingLimits, Setting
from modelcheck.tune.tried import Standing, Tried

__all__ = [
    "DEFAULT_BUDGET_S",
    "MEASURES",
    "SAMPLES",
    "Event",
    "Proven",
    "ServingLimits",
    "Setting",
    "Standing",
    "Tried",
    "TunePlan",
    "Tuned",
    "Tuning",
    "as_dict",
    "runtime_of",
    "runtime_toml",
    "script",
    "snippet",
    "tune",
]
