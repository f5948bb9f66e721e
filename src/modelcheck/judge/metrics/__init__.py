"""Task metrics: scores of samples in, outcomes out. One file a task, one table of them all."""

from modelcheck.judge.metrics.base import Metric, Scores, Scoring
from modelcheck.judge.metrics.bounds import mean_bounds, samples_for_mean
from modelcheck.judge.metrics.figures import ClassFlips, Figure, figure_of
from modelcheck.judge.metrics.judgement import (
    MetricCase,
    MetricEvidence,
    check_kind,
    judge_metric,
)
from modelcheck.judge.metrics.spec import (
    MetricSpec,
    checked_together,
    of_function,
    overlaid_metrics,
)
from modelcheck.judge.metrics.table import FUNCTION, KINDS, Asks, Kind
from modelcheck.judge.metrics.wording import estimate, interval

__all__ = [
    "FUNCTION",
    "KINDS",
    "Asks",
    "ClassFlips",
    "Figure",
    "Kind",
    "Metric",
    "MetricCase",
    "MetricEvidence",
    "MetricSpec",
    "Scores",
    "Scoring",
    "check_kind",
    "checked_together",
    "estimate",
    "figure_of",
    "interval",
    "judge_metric",
    "mean_bounds",
    "of_function",
    "overlaid_metrics",
    "samples_for_mean",
]
