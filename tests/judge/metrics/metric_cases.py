"""Scores of made-up outputs, and cases for the judge of metrics."""

from __future__ import annotations

import numpy as np

from modelcheck.judge.metrics import MetricCase, MetricSpec, Scores


def scored(spec: MetricSpec, expected, actual, labels=None, outputs=("y",)) -> Scores:
    """Run a metric over samples; each is an array, or a tuple of one array an output."""
    scoring = spec.metric().scoring(outputs)
    for i, (x, y) in enumerate(zip(expected, actual, strict=True)):
        wanted, given = (a if isinstance(a, tuple) else (a,) for a in (x, y))
        label = None if labels is None else int(labels[i])
        named = [dict(zip(outputs, a, strict=True)) for a in (wanted, given)]
        scoring.update(*named, i, label)
    return scoring.result()


def scores(values, groups=None, **counts) -> Scores:
    values = np.asarray(values, np.float64)
    groups = (None,) * len(values) if groups is None else tuple(groups)
    return Scores(values, tuple(range(len(values))), groups, **counts)


def case(spec: MetricSpec, total, target_drift=None, constant=(), **options) -> MetricCase:
    """Total scores, those of the original there (default: all good), and of a constant model."""
    total = total if isinstance(total, Scores) else scores(total)
    if target_drift is None:
        good = 0.0 if spec.lower_is_better else 1.0
        target_drift = scores(np.full(len(total.values), good), total.groups)
    elif not isinstance(target_drift, Scores):
        target_drift = scores(target_drift)
    constant = constant if isinstance(constant, Scores) else scores(constant)
    return MetricCase("cpu new", spec, ("y",), total, target_drift, constant, **options)
