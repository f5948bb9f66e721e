"""The declared metrics of a target, fed sample by sample beside the comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelcheck.data import Sample
from modelcheck.errors import ModelcheckError, UsageError, did_you_mean, printable
from modelcheck.judge import Check
from modelcheck.judge.metrics import (
    MetricCase,
    MetricSpec,
    Scoring,
    checked_together,
    judge_metric,
)
from modelcheck.judge.metrics.classes import NEEDS_LABELS
from modelcheck.verification.lane import Arrays
from modelcheck.verification.plan import Plan


@dataclass
class MetricTally:
    """One metric on one target: the candidate there, and beside it the original there."""

    spec: MetricSpec
    total: Scoring
    target_drift: Scoring | None  # None: the original is judged alone
    constant: Scoring  # a model that gives the first sample's outputs for every input
    _first: Arrays | None = None

    @classmethod
    def of(cls, spec: MetricSpec, outputs: Sequence[str], *, alone: bool) -> MetricTally:
        """An empty one; `outputs` are the model's."""
        wanted, metric = _resolved(spec, outputs), spec.metric()
        there = None if alone else metric.scoring(wanted)
        return cls(spec, metric.scoring(wanted), there, metric.scoring(wanted))

    def add(
        self, sample: Sample, expected: Arrays, original: Arrays, candidate: Arrays | None
    ) -> None:
        """Raises UsageError where the metric does not fit the outputs."""
        judged = original if candidate is None else candidate
        try:
            self.total.update(expected, judged, sample.index, sample.label)
            if self.target_drift is not None:
                self.target_drift.update(expected, original, sample.index, sample.label)
            if self._first is not None:
                self.constant.update(expected, self._first, sample.index, sample.label)
        except ModelcheckError as error:
            raise error.at(f"metric {self.spec.title}") from None
        self._first = expected if self._first is None else self._first

    def case(self, target: str, *, synthetic: bool, optional: bool) -> MetricCase:
        """What there is to judge."""
        total = self.total.result()
        return MetricCase(
            target=target,
            spec=self.spec,
            outputs=self.total.outputs,
            total=total,
            target_drift=total if self.target_drift is None else self.target_drift.result(),
            constant=self.constant.result(),
            alone=self.target_drift is None,
            synthetic=synthetic,
            optional=optional,
        )


def metric_tallies(plan: Plan, i: int) -> list[MetricTally]:
    """Empty ones for the metrics of a plan's target."""
    outputs = [spec.name for spec in plan.original.signature.outputs]
    specs, alone = plan.targets[i].limits.metrics, plan.candidate is None
    return [MetricTally.of(spec, outputs, alone=alone) for spec in specs]


def judge_metrics(plan: Plan, i: int, tallies: Sequence[MetricTally]) -> list[Check]:
    """A check for each metric of a plan's target."""
    target, synthetic = plan.targets[i].target, plan.samples.synthetic
    cases = [m.case(target.name, synthetic=synthetic, optional=target.optional) for m in tallies]
    return [judge_metric(case) for case in cases]


def check_metrics(plan: Plan) -> None:
    """Whether every declared metric can be judged at all, before anything runs.

    Raises UsageError for an output that the model does not have, and for missing labels.
    """
    outputs = [spec.name for spec in plan.original.signature.outputs]
    for target in plan.targets:
        for spec in checked_together(target.limits.metrics):
            _resolved(spec, outputs)
            if spec.facts.labels and plan.samples.labels is None:
                raise UsageError(
                    "wants labels, and the samples have none",
                    where=f"metric {spec.title}",
                    remedy=NEEDS_LABELS,
                )


def _resolved(spec: MetricSpec, outputs: Sequence[str]) -> tuple[str, ...]:
    """The outputs by their names, the only one where none is named."""
    names = []
    for name in spec.metric().wanted:
        if not name and len(outputs) > 1:
            raise UsageError(
                "looks at one output, and the model has several",
                where=f"metric {spec.title}",
                remedy=f"Name it: output = {_listed(outputs)}.",
            )
        if name and name not in outputs:
            near = did_you_mean(name, outputs)
            raise UsageError(
                f"there is no output '{printable(name)}'",
                where=f"metric {spec.title}",
                remedy=near or f"The model has {_listed(outputs)}.",
            )
        names.append(name or outputs[0])
    return tuple(names)


def _listed(outputs: Sequence[str]) -> str:
    shown = [f"'{printable(name)}'" for name in outputs[:12]]
    return " or ".join(shown) + (" …" if len(outputs) > len(shown) else "")
