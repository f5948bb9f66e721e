"""The orchestrator: a plan goes in, events come out, the last one with the result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice

from modelcheck.data import Sample, Samples
from modelcheck.errors import InvalidInput, Unsupported
from modelcheck.judge import (
    Blame,
    Check,
    EquivalenceEvidence,
    Outcome,
    SpeedEvidence,
    WorstCaseEvidence,
)
from modelcheck.judge.limits import MIN_AGREEMENT
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.verification.equivalence import Tally, class_outputs, made_by, stream
from modelcheck.verification.events import (
    Event,
    Foreseen,
    Progressed,
    StageStarted,
    Verified,
    Warned,
)
from modelcheck.verification.judging import JudgingStage
from modelcheck.verification.known import (
    CANDIDATE,
    ORIGINAL,
    KnownFault,
    faults_of,
    findings,
    referring,
)
from modelcheck.verification.lane import Arrays, Files, Lane
from modelcheck.verification.metrics import check_metrics, metric_tallies
from modelcheck.verification.placing import macs_by_layer
from modelcheck.verification.plan import Plan, TargetResult, Verification
from modelcheck.verification.recollection import Recollection
from modelcheck.verification.signature import signature_fault, signature_warnings
from modelcheck.verification.speed import SpeedStage
from modelcheck.verification.worst_case import WorstCaseStage, extremes_for


def verify(plan: Plan) -> Iterator[Event]:
    """Judge a candidate against its original (or an original alone) on every target.

    Raises ModelcheckError for what is nobody's verdict: data that do not fit, a reference that
    cannot run. What befalls a target or the candidate becomes a check instead.
    """
    start_s = time.monotonic()
    check_metrics(plan)
    with Workspace() as workspace:
        run = _Run(plan, workspace)
        yield from run.equivalence()
        yield from run.speed()
        result = run.result(time.monotonic() - start_s)
    for warning in result.warnings:
        yield Warned(warning)
    yield Verified(result)


@dataclass
class _Run:
    """The state of one verification, stage after stage."""

    plan: Plan
    workspace: Workspace
    warnings: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    tallies: dict[int, Tally] = field(default_factory=dict)
    checks: dict[int, list[Check]] = field(default_factory=dict)
    kept_inputs: list[Arrays] = field(default_factory=list)
    speeds: dict[int, SpeedEvidence] = field(default_factory=dict)
    known: dict[int, tuple[KnownFault, ...]] = field(default_factory=dict)
    worst_cases: dict[int, WorstCaseEvidence] = field(default_factory=dict)
    recalled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.files = self._write_files()
        self.lanes = [Lane(t, self.files, self.plan.child_limits) for t in self.plan.targets]
        self.checks = {i: [] for i in range(len(self.lanes))}

    def equivalence(self) -> Iterator[Event]:
        """Start everything, stream the samples, probe, judge; then close the processes.

        Where only speed is judged one sample still goes through, to see that the models run.
        """
        plan = self.plan
        samples = plan.samples if plan.judging.equivalence else plan.samples.select(range(1))
        yield StageStarted("starting", None)
        if plan.candidate is not None:
            if fault := signature_fault(plan.original, plan.candidate):
                for lane in self.lanes:
                    lane.fail(Outcome.FAIL, Blame.TRANSFORM, fault)
                return
            self.warnings += signature_warnings(plan.original, plan.candidate)
        with ExitStack() as stack:
            # Where lanes run one at a time, so does the reference, and may have every core.
            threads = os.cpu_count() or 1 if any(lane.solo for lane in self.lanes) else 1
            reference = stack.enter_context(Reference(threads=threads, limits=plan.child_limits))
            for lane in self.lanes:
                stack.callback(lane.close)
            arriving = self._open_all(reference, samples)
            first = list(islice(arriving, 1)) if any(y.alive for y in self.lanes) else []
            yield from self._foresee(reference, first)
            if not first:
                return
            arriving = chain(first, arriving)
            yield from self._prove(reference)
            if not any(lane.alive for lane in self.lanes):
                return
            outputs = [spec.name for spec in plan.original.signature.outputs]
            classes = self._class_outputs()
            alone = plan.candidate is None
            self.tallies = {
                i: Tally(outputs, classes, alone, extremes_for(plan, i), metric_tallies(plan, i))
                for i in range(len(self.lanes))
            }
            yield StageStarted("running", samples.count)
            yield from self._stream(arriving, reference, threads)
            self._keep_inputs()
            if plan.judging.equivalence:
                yield from self._judge(reference)
                yield from self._search_worst_inputs(reference)

    def _stream(
        self, samples: Iterator[Sample], reference: Reference, threads: int
    ) -> Iterator[Event]:
        memory = self.plan.memory if self.plan.judging.equivalence else None
        with Recollection(memory, self.plan, reference, threads) as recollection:
            recollection.originals(self.lanes)
            for done in stream(samples, recollection.reference(), self.lanes, self.tallies):
                yield Progressed(done)
            recollection.finish()
        self.recalled = recollection.recalled

    def _judge(self, reference: Reference) -> Iterator[Event]:
        stage = JudgingStage(
            self.plan, self.files, self.lanes, self.tallies, reference, self.workspace
        )
        yield from stage.run()
        for i, checks in stage.checks.items():
            self.checks[i] += checks
        self.warnings += stage.warnings

    def _search_worst_inputs(self, reference: Reference) -> Iterator[Event]:
        stage = WorstCaseStage(self.plan, reference, self.workspace)
        yield from stage.run(self.lanes, self.tallies)
        self.worst_cases = stage.evidence
        for i, check in stage.checks.items():
            self._add(i, check)
        self.warnings += stage.warnings

    def speed(self) -> Iterator[Event]:
        """Time every target whose models ran; judge where a limit asks for it."""
        plan = self.plan
        if not plan.judging.speed or not self.kept_inputs:
            return
        stage = SpeedStage(plan, self.files, self.lanes, self.kept_inputs)
        yield from stage.run()
        self.speeds = stage.speeds
        for i, checks in stage.checks.items():
            self.checks[i] += checks
        self.warnings += stage.warnings

    def result(self, seconds: float) -> Verification:
        results = []
        for i, lane in enumerate(self.lanes):
            checks = tuple(self.checks[i]) + ((lane.failure,) if lane.failure else ())
            known = self.known.get(i, ())
            checks = tuple(referring(check, known) for check in checks)
            found = (c.evidence for c in checks if isinstance(c.evidence, EquivalenceEvidence))
            results.append(
                TargetResult(
                    settings=lane.settings,
                    checks=checks,
                    opencv=lane.opencv,
                    original=lane.original_placement,
                    candidate=lane.candidate_placement,
                    equivalence=next(found, None),
                    speed=self.speeds.get(i),
                    worst_case=self.worst_cases.get(i),
                    native_log=lane.native_log,
                    known=known,
                    recalled=lane.settings.target.name in self.recalled,
                )
            )
        return Verification(self.plan, tuple(results), tuple(self.warnings), seconds)

    def _write_files(self) -> Files:
        plan, folder = self.plan, self.workspace.path
        write_private(plan.original, folder / "original.onnx")
        candidate = None
        if plan.candidate is not None:
            candidate = folder / "candidate.onnx"
            write_private(plan.candidate, candidate)
        outputs = tuple(spec.name for spec in plan.original.signature.outputs)
        return Files(folder / "original.onnx", candidate, outputs)

    def _open_all(self, reference: Reference, samples: Samples) -> Iterator[Sample]:
        """Open the models in all children, while the first sample is made; returns the samples."""
        arriving = iter(samples)
        with ThreadPoolExecutor(max_workers=len(self.lanes) + 1) as pool:
            for lane in self.lanes:
                lane.start()
            first = pool.submit(list, islice(arriving, 1))
            loads = [pool.submit(lane.load) for lane in self.lanes]
            fault = self._open_reference(reference)
        for load in loads:
            load.result()
        for lane in self.lanes:
            if fault is not None and lane.alive:
                lane.fail(Outcome.FAIL, Blame.TRANSFORM, f"the candidate is invalid: {fault}")
        return _resumed(first, arriving)

    def _open_reference(self, reference: Reference) -> str | None:
        """Let onnx's own checker see both models, and open the original as the reference.

        Returns what the checker has against the candidate.
        """
        exact = as_float32(self.plan.original)
        path = self.files.original
        if exact is not self.plan.original:
            path = self.workspace.path / "float32.onnx"
            write_private(exact, path)
        try:
            reference.check(self.files.original)
        except (InvalidInput, Unsupported) as error:
            error.where = self.plan.original.name  # the user knows no private copy
            raise
        fault = None
        if self.files.candidate is not None:
            try:
                reference.check(self.files.candidate)
            except (InvalidInput, Unsupported) as error:
                fault = error.what
        reference.load(path)
        return fault

    def _foresee(self, reference: Reference, first: Sequence[Sample]) -> Iterator[Event]:
        """Say what is known to go wrong, for the shapes of the first sample where there is one."""
        plan = self.plan
        shapes = _shapes(first[0].arrays) if first else {}
        original = findings(plan.original, shapes, reference)
        made = plan.candidate
        candidate = () if made is None else findings(made, shapes, reference)
        for i, lane in enumerate(self.lanes):
            if lane.opencv is None:
                continue
            target = lane.settings.target
            self.known[i] = faults_of(
                target,
                lane.opencv,
                {
                    ORIGINAL: (original, lane.original_placement),
                    CANDIDATE: (candidate, lane.candidate_placement),
                },
            )
            for fault in self.known[i]:
                if fault.foreseeable:
                    yield Foreseen(target.name, fault)

    def _prove(self, reference: Reference) -> Iterator[Event]:
        """See where models run that were asked to run on another device than the CPU."""
        lanes = [y for y in self.lanes if y.alive and not y.settings.target.device.is_cpu]
        if not lanes:
            return
        yield StageStarted("proving where the models run", len(lanes))
        arrays = next(iter(self.plan.samples)).arrays
        shapes = _shapes(arrays)
        original = macs_by_layer(self.plan.original, reference, shapes)
        made = self.plan.candidate
        candidate = None if made is None else macs_by_layer(made, reference, shapes)
        for done, lane in enumerate(lanes, start=1):
            lane.prove(arrays, original, candidate)
            yield Progressed(done)

    def _class_outputs(self) -> Callable[[Mapping[str, tuple[int, ...]]], frozenset[str]]:
        """Which outputs hold classes, once the first answer of the reference shows their shapes."""
        plan = self.plan
        labels = plan.samples.labels
        limits = (t.limits.equivalence for t in plan.targets)
        terms = (t for limit in limits if limit for all_of in limit.any_of for t in all_of)
        return partial(
            class_outputs,
            made_by=made_by(plan.original),
            declared=any(term.kind == MIN_AGREEMENT for term in terms),
            largest_label=None if labels is None else int(labels.max()),
        )

    def _keep_inputs(self) -> None:
        tally = max(self.tallies.values(), key=lambda t: len(t.kept))
        inputs = [kept.arrays for kept in tally.kept]
        # A net is warmed up for one shape, so only samples of that shape are timed.
        self.kept_inputs = [a for a in inputs if _shapes(a) == _shapes(inputs[0])]

    def _add(self, i: int, check: Check | None) -> None:
        if check is not None:
            self.checks[i].append(check)


def _resumed(first: Future[list[Sample]], rest: Iterator[Sample]) -> Iterator[Sample]:
    """The samples, of which another thread has read the first; what ails it is raised here."""
    yield from first.result()
    yield from rest


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}
