"""The orchestrator of a diagnosis: a plan goes in, a result comes out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from modelcheck import units
from modelcheck.diagnose.bench import Bench
from modelcheck.diagnose.compensation import contradicted, other_numbers
from modelcheck.diagnose.evidence import Diagnosis, LayerEvidence, noise_of
from modelcheck.diagnose.measure import effects_of, measure_parts
from modelcheck.diagnose.naming import Named, describe, name_layers, verdict
from modelcheck.diagnose.plan import DiagnosisPlan
from modelcheck.diagnose.reduce import reproduce
from modelcheck.diagnose.steps import blame_steps
from modelcheck.diagnose.study import Study, alike
from modelcheck.diagnose.together import find_together
from modelcheck.diagnose.totals import Totals, measure_totals, worst_db
from modelcheck.judge import Outcome
from modelcheck.process import Workspace
from modelcheck.verification import Event, Progressed, StageStarted

# An own SQNR above this is rounding: layers have 100 to 150 dB, a channel off by 0.1 % 70 to 100.
ROUNDING_DB = 90.0
ROUNDING_DB_HALF = 50.0
# So many of the noisiest layers have their effect on the outputs measured.
_MOST_EFFECTS = 32
# Noise in the outputs may be so many times what the layers tell, before something is hidden.
_EXPLAINED = 4.0


def diagnose(plan: DiagnosisPlan, *, emit: Callable[[Event], None]) -> Diagnosis:
    """Find the layers at fault.

    Raises Unsupported where the target cannot run the original, UsageError where the models make
    no pair.
    """
    with (
        Workspace() as workspace,
        Bench(plan.target, workspace, limits=plan.child_limits, threads=plan.threads) as bench,
    ):
        return _Run(plan, bench, emit).result()


@dataclass
class _Run:
    plan: DiagnosisPlan
    bench: Bench
    emit: Callable[[Event], None]
    start_s: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)

    def result(self) -> Diagnosis:
        plan = self.plan
        self.notes += plan.notes
        self.emit(StageStarted("taking the model apart"))
        samples, left_out = alike((s.arrays for s in plan.samples), plan.samples.count)
        if left_out:
            few = units.plural(left_out, "sample")
            self.notes.append(f"{few} of another shape than the first left out")
        opencv = self.bench.opencv()
        study = Study(self.bench, plan.original, plan.candidate, samples)
        totals = measure_totals(study)
        study, layers = self._uncontradicted(study, totals)
        layers, unexplained = self._explain(study, totals, layers)
        named = name_layers(
            layers, rounding=self.rounding, alone=study.alone, refused=bool(totals.refusal)
        )
        total_db = worst_db(totals.total) if totals.total else -math.inf
        outcome, message = self._verdict(totals, named, total_db, unexplained)
        found = Diagnosis(
            target=plan.target,
            opencv=opencv,
            original=plan.original.name,
            candidate=None if plan.candidate is None else plan.candidate.name,
            samples=len(samples),
            layers=tuple(layers),
            total=totals.total,
            total_db=total_db,
            transform_db=None if totals.transform is None else worst_db(totals.transform),
            target_db=None if totals.target is None else worst_db(totals.target),
            rounding_db=self.rounding_db,
            first=named.first,
            worst=named.worst,
            matching=study.matching,
            outcome=outcome,
            message=message,
        )
        if named.worst is not None:
            found = self._followed_up(study, found, named.worst)
        return replace(found, notes=tuple(self.notes), seconds=time.monotonic() - self.start_s)

    @property
    def rounding_db(self) -> float:
        return ROUNDING_DB_HALF if self.plan.target.device.is_half else ROUNDING_DB

    @property
    def rounding(self) -> float:
        """The same as noise over signal."""
        return noise_of(self.rounding_db)

    def _followed_up(self, study: Study, found: Diagnosis, worst: LayerEvidence) -> Diagnosis:
        """With the step at fault, and with the reproduction, where they are asked for."""
        if self.plan.steps:
            self.emit(StageStarted("looking at the recipe's steps", len(self.plan.steps)))
            steps, guilty = blame_steps(study, self.plan, worst, done=self._done)
            found = replace(found, steps=steps, guilty_step=guilty)
        if self.plan.reduce:
            self.emit(StageStarted("reducing"))
            found = replace(found, reproduction=reproduce(study, worst, self.rounding))
        return found

    def _uncontradicted(self, study: Study, totals: Totals) -> tuple[Study, list[LayerEvidence]]:
        """The layers, cut where both models have the same tensors."""
        layers = self._layers(study)
        outputs_db = worst_db(totals.transform)
        if not contradicted(layers, transform=noise_of(outputs_db), rounding=self.rounding):
            return study, layers
        uncut = other_numbers(study, outputs_db=outputs_db)
        self.notes.append(
            f"{units.plural(len(uncut), 'tensor')} of permuted or rescaled channels not cut"
        )
        study = Study(
            self.bench, self.plan.original, self.plan.candidate, study.samples, uncut=uncut
        )
        return study, self._layers(study)

    def _done(self, n: int) -> None:
        self.emit(Progressed(n))

    def _layers(self, study: Study) -> list[LayerEvidence]:
        self.emit(StageStarted("running layers by themselves", len(study.parts)))
        layers = measure_parts(study, rounding_db=self.rounding_db, done=self._done)
        wrong = [y for y in layers if y.origin is not None and not y.trouble]
        wrong.sort(key=lambda layer: (-layer.noise, layer.part.index))
        self.emit(StageStarted("measuring effects on the outputs"))
        effects = effects_of(
            study,
            [layer.part for layer in wrong[:_MOST_EFFECTS]],
            lambda part, feeds: study.bench.on_target(study.candidate_part(part), feeds),
        )
        return [replace(y, effect=effects.get(y.part.index)) for y in layers]

    def _explain(
        self, study: Study, totals: Totals, layers: list[LayerEvidence]
    ) -> tuple[list[LayerEvidence], bool]:
        """The layers, with those that are wrong only together where the others do not tell all."""
        total = noise_of(worst_db(totals.total)) if totals.total else 0.0
        told = sum(layer.effect or 0.0 for layer in layers)
        told = max(told, noise_of(worst_db(totals.transform)), self.rounding)
        if total <= _EXPLAINED * told:
            return layers, False
        hidden = find_together(
            study, layers,
            total=total,
            rounding=self.rounding,
            started=lambda stage: self.emit(StageStarted(stage)),
        )  # fmt: skip
        by_index = {piece.part.index: piece for piece in hidden}
        return [by_index.get(y.part.index, y) for y in layers], not hidden

    def _verdict(
        self, totals: Totals, named: Named, total_db: float, unexplained: bool
    ) -> tuple[Outcome, str]:
        target = self.plan.target.name
        outcome = verdict(named, total_db, self.rounding_db)
        if totals.refusal:
            outcome = Outcome.FAIL
            self.notes.append(f"the candidate does not run as a whole: {totals.refusal}")
        if unexplained:
            self.notes.append(
                f"the outputs ({units.decibels(total_db)}) are more than "
                f"{_EXPLAINED:g} times as wrong as the layers tell, and no piece of up to 13 "
                "layers tells more"
            )
        if named.first is not None and named.worst is not None:
            message = describe(named.worst, target, alone=self.plan.candidate is None)
        elif outcome is Outcome.PASS:
            message = f"no layer differs by more than rounding ({units.decibels(total_db)})."
        elif totals.refusal:
            message = f"the candidate does not run: {totals.refusal}"
        else:
            message = "the outputs differ, and no layer does by itself."
        return outcome, message
