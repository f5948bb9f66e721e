"""The orchestrator: admit every model on every target, let them take turns, hand back the rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from modelcheck.bench.measuring import Entry, measure_all
from modelcheck.bench.plan import Bench, BenchPlan, Row
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.verification import Event, Foreseen, Progressed, StageStarted
from modelcheck.verification.known import faults_of, findings

_PERCENT = 100


def bench(
    plan: BenchPlan,
    *,
    emit: Callable[[Event], None],
    before_measuring: Callable[[Sequence[Row]], None] = lambda rows: None,
) -> Bench:
    """Measure all models on all targets.

    What befalls one of them becomes a row with a `failure`; the others go on. `before_measuring`
    sees the rows once it is known where they run, and may raise.
    """
    start_s = time.monotonic()
    with Workspace() as workspace:
        files = []
        for i, subject in enumerate(plan.subjects):
            files.append(workspace.path / f"{i}.onnx")
            write_private(subject.model, files[-1])
        entries = [
            Entry(subject, target, file, plan.child_limits)
            for subject, file in zip(plan.subjects, files, strict=True)
            for target in plan.targets
        ]
        emit(StageStarted("proving where they run", len(entries)))
        for done, entry in enumerate(entries, start=1):
            entry.admit()
            emit(Progressed(done))
            _foresee(entry.row(), emit)
        before_measuring([entry.row() for entry in entries])
        emit(StageStarted("measuring", _PERCENT))
        measure_all(entries, plan, lambda part: emit(Progressed(round(_PERCENT * part))))
    for subject in plan.subjects:
        subject.model.check_unchanged()
    rows = tuple(entry.row() for entry in entries)
    return Bench(plan, rows, time.monotonic() - start_s)


def _foresee(row: Row, emit: Callable[[Event], None]) -> None:
    """Say what is known to go wrong, or to be slow, with a model where it runs."""
    if row.opencv is None:
        return
    model = row.subject.model
    shapes = {name: array.shape for name, array in row.subject.samples[0].items()}
    models = {model.name: (findings(model, shapes), row.placement)}
    for fault in faults_of(row.target, row.opencv, models):
        if fault.foreseeable:
            emit(Foreseen(row.target.name, fault))
